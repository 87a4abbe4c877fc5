"""The bed of `webhook` with a status URL and a receiver that takes each reference once."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import timedelta

import aiohttp
import msgspec

from rewardpost.addresses import PostalAddress
from rewardpost.settings import Settings
from tests.conformance.bed import Bed
from tests.fault_proxy import FaultProxy
from tests.order_receiver import UNKNOWN_ARTICLE, OrderReceiver
from worker.providers.protocol import Provider
from worker.providers.webhook import build

AVAILABLE: str | None = None
"""Why the bed cannot be made here; None where it can."""

_SECRET = "whsec_YSBzZWNyZXQgb2YgdGhlIHRlc3Rz"


class _WebhookBed:
    unknown_article = UNKNOWN_ARTICLE

    def __init__(self, provider: Provider, faults: FaultProxy, receiver: OrderReceiver) -> None:
        self.provider: Provider = provider
        self.faults: FaultProxy = faults
        self._receiver = receiver

    async def live(self, reference: str) -> int:
        return len(self._receiver.having(reference))

    async def sent(self, reference: str, tracking: str) -> bool:
        (order,) = self._receiver.having(reference)
        order.state, order.tracking = "shipped", (tracking,)
        return True

    async def delivered(self, reference: str) -> bool:
        (order,) = self._receiver.having(reference)
        order.state = "delivered"
        return True

    async def address(self, reference: str) -> PostalAddress:
        (order,) = self._receiver.having(reference)
        return msgspec.convert(order.parcel["address"], PostalAddress)


def open_bed() -> AbstractAsyncContextManager[Bed]:
    """Open the receiver, the proxy before it and the provider, which knows only the proxy."""
    return opened(status_url=True, removes_duplicates=True)


@asynccontextmanager
async def opened(*, status_url: bool, removes_duplicates: bool) -> AsyncIterator[Bed]:
    """Open the same with a receiver that can do this much, and settings that say so."""
    async with (
        OrderReceiver(_SECRET, removes_duplicates=removes_duplicates) as receiver,
        FaultProxy(receiver.url) as faults,
        aiohttp.ClientSession() as session,
    ):
        settings = Settings(
            provider="webhook",
            provider_timeout=timedelta(seconds=1),
            webhook_out_url=f"{faults.url}/parcels",
            webhook_out_secret=_SECRET,
            webhook_out_status_url=f"{faults.url}/parcels/{{reference}}" if status_url else "",
            webhook_out_removes_duplicates=removes_duplicates,
        )
        yield _WebhookBed(build(settings, session), faults, receiver)
