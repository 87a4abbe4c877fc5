"""The door under measurement: a bare aiohttp handler that checks the signature, with arq's own client or no queue."""

import asyncio

import uvloop
from aiohttp import web
from arq.connections import ArqRedis, RedisSettings, create_pool

from bench.peers.door_settings import PATH, SECRET, options
from ingest.signature import HEADER, verify

_NO_QUEUE = "none"


def main() -> None:
    """Serve until ended; the URL `none` means that nothing is stored."""
    told = options()
    uvloop.run(_serve(told.port, told.url))


async def _serve(port: int, url: str) -> None:
    redis = None if url == _NO_QUEUE else await create_pool(RedisSettings.from_dsn(url))
    app = web.Application()
    app.router.add_post(PATH, _Door(redis).receive)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    await asyncio.Event().wait()


class _Door:
    def __init__(self, redis: ArqRedis | None) -> None:
        self._redis = redis

    async def receive(self, request: web.Request) -> web.Response:
        body = await request.read()
        if not verify(body, request.headers.getall(HEADER, ()), (SECRET,)):
            return web.Response(status=401)
        if self._redis is not None and await self._redis.enqueue_job("open_delivery", body) is None:
            return web.Response(status=503)
        return web.json_response({"status": "stored"}, status=202)


if __name__ == "__main__":
    main()
