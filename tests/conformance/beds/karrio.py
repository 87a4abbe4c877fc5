"""The bed of `karrio`: the adapter against a real Karrio server on SQLite, of which the process keeps one."""

import asyncio
import atexit
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from datetime import timedelta
from functools import cache

import aiohttp

from rewardpost.addresses import PostalAddress
from rewardpost.settings import Settings
from tests import karrio_server
from tests.conformance.bed import Bed
from tests.fault_proxy import FaultProxy
from tests.karrio_server import TOKEN, KarrioServer
from worker.providers.karrio import build
from worker.providers.protocol import Provider

AVAILABLE: str | None = karrio_server.missing()
"""Why the bed cannot be made here; None where it can."""

_CALL_TIMEOUT = timedelta(seconds=2)  # Karrio takes a tenth of a second for an order, more on a busy machine


class _KarrioBed:
    def __init__(self, provider: Provider, faults: FaultProxy, server: KarrioServer) -> None:
        self.provider: Provider = provider
        self.faults: FaultProxy | None = faults
        self.unknown_article: str | None = None  # Karrio keeps no list of articles
        self._server = server

    async def live(self, reference: str) -> int:
        return self._server.live(reference)

    async def sent(self, reference: str, tracking: str) -> bool:
        await asyncio.to_thread(self._server.send, reference, tracking)
        return True

    async def delivered(self, reference: str) -> bool:
        await asyncio.to_thread(self._server.move, reference, "delivered")
        return True

    async def address(self, reference: str) -> PostalAddress:
        given = self._server.address(reference)
        return PostalAddress(
            name=given.get("person_name") or "",
            company=given.get("company_name") or "",
            line_1=given.get("address_line1") or "",
            line_2=given.get("address_line2") or "",
            city=given.get("city") or "",
            region=given.get("state_code") or "",
            postal_code=given.get("postal_code") or "",
            country=given.get("country_code") or "",
            phone=given.get("phone_number") or "",
            email=given.get("email") or "",
        )


@asynccontextmanager
async def open_bed() -> AsyncIterator[Bed]:
    """Open the proxy before the emptied server, and the adapter, which knows only the proxy."""
    server = _server()
    server.clear()
    delay = 1.5 * _CALL_TIMEOUT.total_seconds()
    async with FaultProxy(server.url, delay=delay) as faults, aiohttp.ClientSession() as session:
        settings = Settings(karrio_url=faults.url, karrio_token=TOKEN, provider_timeout=_CALL_TIMEOUT)
        yield _KarrioBed(build(settings, session), faults, server)


@cache
def _server() -> KarrioServer:
    stack = ExitStack()
    atexit.register(stack.close)
    return stack.enter_context(KarrioServer())
