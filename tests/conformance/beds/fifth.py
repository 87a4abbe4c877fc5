"""The bed of the fifth provider, which stands for one that somebody adds."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import aiohttp

from rewardpost.addresses import PostalAddress
from tests.conformance.bed import Bed
from tests.conformance.fifth import Shop
from tests.conformance.shop import UNKNOWN_ARTICLE, ShopServer
from tests.fault_proxy import FaultProxy
from worker.providers.protocol import Progress, Provider

AVAILABLE: str | None = None
"""Why the bed cannot be made here; None where it can."""


class _ShopBed:
    unknown_article = UNKNOWN_ARTICLE

    def __init__(self, provider: Provider, faults: FaultProxy, server: ShopServer) -> None:
        self.provider: Provider = provider
        self.faults: FaultProxy = faults
        self._server = server

    async def live(self, reference: str) -> int:
        return sum(taken.order.live for taken in self._server.having(reference))

    async def sent(self, reference: str, tracking: str) -> bool:
        self._server.move(reference, Progress.SHIPPED, tracking)
        return True

    async def delivered(self, reference: str) -> bool:
        self._server.move(reference, Progress.DELIVERED)
        return True

    async def address(self, reference: str) -> PostalAddress:
        (taken,) = self._server.having(reference)
        return taken.parcel.address


@asynccontextmanager
async def open_bed() -> AsyncIterator[Bed]:
    """Open the shop, the proxy before it and the provider, which knows only the proxy."""
    async with ShopServer() as server, FaultProxy(server.url) as faults, aiohttp.ClientSession() as session:
        yield _ShopBed(Shop(session, faults.url, timedelta(seconds=1)), faults, server)
