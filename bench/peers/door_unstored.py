"""The door under measurement: our own application, whole, with a store that keeps nothing and answers at once."""

import asyncio
import sys

import uvloop
from aiohttp import web

from bench.peers.door_settings import SECRET, options
from ingest.app import create_app
from rewardpost import logs
from rewardpost.delivery import Delivery
from rewardpost.queue import Receipt
from rewardpost.settings import Settings


class _Nowhere:
    """A store that keeps nothing, and a server that is always well."""

    problem: str | None = None

    def store(self, delivery: Delivery) -> asyncio.Future[Receipt]:
        del delivery
        answer: asyncio.Future[Receipt] = asyncio.get_running_loop().create_future()
        answer.set_result(Receipt.STORED)
        return answer

    async def abandon(self) -> None:
        """Have nothing to give up."""


def main() -> None:
    """Serve until ended."""
    told = options()
    logs.configure("json", stream=sys.stdout)
    uvloop.run(_serve(told.port))


async def _serve(port: int) -> None:
    nowhere = _Nowhere()
    settings = Settings(voucherify_webhook_secrets=(SECRET,))
    runner = web.AppRunner(create_app(settings, nowhere, nowhere), access_log=None, auto_decompress=False)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    main()
