"""Providers and address sources with behaviour, kept in memory, for tests of what is decided about them."""

from collections.abc import Sequence
from datetime import datetime, timedelta

import msgspec

from rewardpost.addresses import AddressDraft
from worker.address_sources.protocol import Answer, Customer, Found
from worker.providers.protocol import (
    Applied,
    Cancellation,
    CannotTell,
    Finding,
    Guarantee,
    NotApplied,
    Order,
    Outcome,
    Page,
    Parcel,
    Progress,
    Refused,
    Unknown,
)

DRAFT = AddressDraft(
    name="Tess Testperson", line_1="Probestrasse 7", city="Musterstadt", postal_code="10117", country="DE"
)


class FakeProvider:
    """A provider that takes orders as its guarantee says, and does what the script of a test tells it call by call.

    A step is `ok`, `lost request` (nothing happens, nobody knows), `lost answer` (it happens, nobody knows), `busy`
    (certainly nothing), `refuse`, or `raise`.
    """

    name = "fake"
    call_timeout = timedelta(seconds=5)
    look_up_lag = timedelta(0)
    reports_status = False
    lists_orders = True

    def __init__(self, guarantee: Guarantee = Guarantee.UNIQUE_KEY, steps: Sequence[str] = ()) -> None:
        self.guarantee = guarantee
        self.orders: list[Order] = []
        self.calls = 0
        self._steps = list(steps)

    @property
    def live(self) -> list[str]:
        """References of the orders that would be sent."""
        return [order.reference for order in self.orders if order.live]

    async def submit(self, parcel: Parcel, deadline: datetime) -> Outcome:
        """Act as the script says; `ok` when it is over."""
        del deadline
        self.calls += 1
        return self.act(self._steps.pop(0) if self._steps else "ok", parcel.reference)

    def act(self, step: str, reference: str) -> Outcome:
        """Do what a step says to an order with this reference."""
        match step:
            case "lost request":
                return Unknown("the request was lost")
            case "busy":
                return NotApplied("busy", timedelta(0))
            case "refuse":
                return Refused("the article is unknown")
            case "raise":
                raise RuntimeError("nobody foresaw this")
        if reference in self.live:
            if self.guarantee is Guarantee.UNIQUE_KEY:
                return Refused("there is one with this reference")
            if self.guarantee is Guarantee.IDEMPOTENT:
                return Applied(next(order.id for order in self.orders if order.reference == reference))
        self.orders.append(Order(id=f"o{len(self.orders) + 1}", reference=reference))
        return Unknown("the answer was lost") if step == "lost answer" else Applied(self.orders[-1].id)

    async def find(self, reference: str) -> Sequence[Order]:
        """Return all orders with this reference, where the guarantee allows to say."""
        if not (self.guarantee.can_be_asked or self.guarantee is Guarantee.LEDGER):
            raise CannotTell("it cannot be asked")
        return [order for order in self.orders if order.reference == reference]

    async def status(self, order: str, reference: str) -> Order:
        """Return the order of this id."""
        del reference
        for known in self.orders:
            if known.id == order:
                return known
        raise CannotTell("it has no such order")

    async def page(self, since: datetime, after: str | None) -> Page:
        """Return all orders."""
        del since, after
        return Page(orders=tuple(self.orders), next=None)

    async def cancel(self, order: str, reference: str) -> Cancellation:
        """Cancel an order that is there."""
        del reference
        if self.guarantee is Guarantee.NONE:
            return Cancellation.UNSUPPORTED
        self.orders = [
            msgspec.structs.replace(known, progress=Progress.CANCELLED) if known.id == order else known
            for known in self.orders
        ]
        return Cancellation.CANCELLED

    async def check(self) -> Sequence[Finding]:
        """Find nothing."""
        return []

    async def close(self) -> None:
        """Have nothing to give back."""


class FakeSource:
    """An address source that gives one answer after another, and then the last one for ever."""

    name = "fake"

    def __init__(self, *answers: Answer) -> None:
        self._answers = list(answers) or [Found(DRAFT)]

    async def find(self, customer: Customer) -> Answer:
        """Give the next answer."""
        del customer
        return self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]

    async def check(self) -> Sequence[Finding]:
        """Find nothing."""
        return []

    async def close(self) -> None:
        """Have nothing to give back."""
