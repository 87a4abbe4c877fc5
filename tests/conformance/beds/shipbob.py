"""The bed of `shipbob`: the real adapter against a fake that keeps orders as ShipBob's document says."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import aiohttp

from rewardpost.addresses import PostalAddress
from tests.conformance.bed import Bed
from tests.fault_proxy import FaultProxy
from tests.shipbob_fake import CHANNEL, TOKEN, ShipBobFake
from worker.providers.protocol import Provider
from worker.providers.shipbob import ShipBob

AVAILABLE: str | None = None
"""Why the bed cannot be made here; None where it can."""


class _ShipBobBed:
    def __init__(self, provider: ShipBob, faults: FaultProxy, fake: ShipBobFake) -> None:
        self.provider: Provider = provider
        self.faults: FaultProxy | None = faults
        self.unknown_article: str | None = None  # ShipBob takes any, and lets the order wait as an exception
        self._fake = fake

    async def live(self, reference: str) -> int:
        return self._fake.live(reference)

    async def address(self, reference: str) -> PostalAddress:
        (order,) = self._fake.with_reference(reference)
        recipient = order["recipient"]
        address = recipient["address"]
        return PostalAddress(
            name=recipient["name"],
            line_1=address["address1"],
            line_2=address.get("address2", ""),
            company=address.get("company_name", ""),
            city=address["city"],
            region=address.get("state", ""),
            postal_code=address.get("zip_code", ""),
            country=address["country"],
            phone=recipient.get("phone_number", ""),
            email=recipient.get("email", ""),
        )

    async def sent(self, reference: str, tracking: str) -> bool:
        return self._fake.move(reference, "Completed", detail="InTransit", tracking=tracking)

    async def delivered(self, reference: str) -> bool:
        return self._fake.move(reference, "Completed", detail="Delivered", delivered="2026-03-02T10:00:00Z")


@asynccontextmanager
async def open_bed() -> AsyncIterator[Bed]:
    """Open the fake, the proxy before it and the adapter, which knows only the proxy."""
    async with ShipBobFake() as fake, FaultProxy(fake.url) as faults, aiohttp.ClientSession() as session:
        provider = ShipBob(session, url=faults.url, token=TOKEN, channel_id=CHANNEL, call_timeout=timedelta(seconds=1))
        provider.look_up_lag = timedelta()  # the fake has none
        yield _ShipBobBed(provider, faults, fake)
