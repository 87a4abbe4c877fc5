"""The provider `manual`: a packing list in our own ledger, which a person works off; needs no account."""

from collections.abc import Sequence
from datetime import datetime, timedelta

import aiohttp

from rewardpost.settings import Settings
from worker.providers.protocol import (
    Applied,
    Cancellation,
    CannotTell,
    Finding,
    Guarantee,
    Order,
    Outcome,
    Page,
    Parcel,
)


class Manual:
    """Nothing outside the ledger is called: a submitted reward is a line on the packing list."""

    name = "manual"
    guarantee = Guarantee.LEDGER
    call_timeout = timedelta(seconds=1)
    look_up_lag = timedelta()
    reports_status = False
    lists_orders = False

    async def submit(self, parcel: Parcel, deadline: datetime) -> Outcome:  # noqa: ARG002 - nothing is called that could be late
        """Accept every parcel; our reference is the order."""
        return Applied(order=parcel.reference)

    async def find(self, reference: str) -> Sequence[Order]:  # noqa: ARG002 - there is no second place to look in
        """Return nothing: there is no order outside the ledger."""
        return []

    async def status(self, order: str, reference: str) -> Order:  # noqa: ARG002 - a person says when the parcel left
        """Raise `CannotTell`: a person says when the parcel left."""
        raise CannotTell("a person says when the parcel left")

    async def page(self, since: datetime, after: str | None) -> Page:  # noqa: ARG002 - there is no second place
        """Return nothing: there is no order outside the ledger."""
        return Page(orders=(), next=None)

    async def cancel(self, order: str, reference: str) -> Cancellation:  # noqa: ARG002 - the ledger's own state takes it off the list
        """Agree: leaving `submitted` takes the parcel off the packing list."""
        return Cancellation.CANCELLED

    async def check(self) -> Sequence[Finding]:
        """Say that it can always be used."""
        return [Finding(ok=True, what="parcels go on the packing list: rewardpost packing-list")]

    async def close(self) -> None:
        """Do nothing: nothing is open."""


def build(_settings: Settings, _session: aiohttp.ClientSession) -> Manual:
    """Return the provider; it needs no settings."""
    return Manual()
