"""The bed of `manual`: there is no other side, and nothing outside the ledger is called."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp

from rewardpost.settings import Settings
from tests.conformance.bed import Bed
from tests.fault_proxy import FaultProxy
from worker.providers.manual import build
from worker.providers.protocol import Provider

AVAILABLE: str | None = None
"""Why the bed cannot be made here; None where it can."""


class _ManualBed:
    faults: FaultProxy | None = None
    unknown_article: str | None = None

    def __init__(self, provider: Provider) -> None:
        self.provider: Provider = provider

    async def live(self, reference: str) -> int:
        del reference
        return 0

    async def sent(self, reference: str, tracking: str) -> bool:
        del reference, tracking
        return False

    async def delivered(self, reference: str) -> bool:
        del reference
        return False


@asynccontextmanager
async def open_bed() -> AsyncIterator[Bed]:
    """Make the provider."""
    async with aiohttp.ClientSession() as session:
        yield _ManualBed(build(Settings(), session))
