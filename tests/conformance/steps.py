"""Steps that scenarios share: parcels of their own, one submit, waiting for what the other side shows."""

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta

import pytest

from rewardpost.addresses import PostalAddress
from rewardpost.reference import PREFIX
from tests.conformance.bed import Bed
from tests.conformance.faults import proxy_of, writes
from tests.fault_proxy import Fault
from worker.providers.protocol import Applied, Cancellation, CannotTell, Order, Outcome, Parcel, Progress

PATIENCE = timedelta(seconds=20)
"""How long a condition at the other side is waited for."""

ADDRESS = PostalAddress(
    name="Tess Testperson", line_1="Probestrasse 7", city="Musterstadt", postal_code="10117", country="DE"
)

GARBAGE = (b"", b"null", b"{}", b'"text"', b'{"', b"<html>Welcome</html>", b"\xff\xfe", b"[" * 50_000)
"""Bodies that no provider's interface means anything by."""


def new_reference() -> str:
    """Return a reference that nobody has used."""
    return f"{PREFIX}r_{secrets.token_hex(8)}"


def new_parcel(
    *, reference: str = "", article: str = "mug", article_name: str = "A mug", address: PostalAddress = ADDRESS
) -> Parcel:
    """Return a parcel, under a reference that nobody has used unless one is given."""
    name = reference or new_reference()
    return Parcel(
        reference=name,
        redemption=name.removeprefix(PREFIX),
        customer="cust_1",
        article=article,
        article_name=article_name,
        address=address,
    )


async def submit(bed: Bed, parcel: Parcel, fault: Fault | None = None) -> Outcome:
    """Submit once, with a fault on the way; one write is one request."""
    if fault is not None:
        proxy_of(bed).plan.append(fault)
    before = writes(bed.faults) if bed.faults is not None else 0
    outcome = await bed.provider.submit(parcel, datetime.now(UTC) + bed.provider.call_timeout)
    if bed.faults is not None:
        assert bed.faults.plan == []
        assert writes(bed.faults) <= before + 1
    return outcome


async def until(count: Callable[[], Awaitable[int]], expected: int) -> None:
    """Wait until there are so many."""
    async with asyncio.timeout(PATIENCE.total_seconds()):
        while await count() != expected:
            await asyncio.sleep(0.05)


async def found(bed: Bed, reference: str, *, live: int) -> Sequence[Order]:
    """Look until so many live orders are found: an order may stay invisible for the lag that is declared."""
    async with asyncio.timeout((bed.provider.look_up_lag + PATIENCE).total_seconds()):
        while True:
            orders = await bed.provider.find(reference)
            assert all(order.reference == reference for order in orders)
            if sum(order.live for order in orders) == live:
                return orders
            await asyncio.sleep(0.05)


async def status_is(bed: Bed, order: str, reference: str, progress: Progress) -> Order:
    """Ask until the order has come so far."""
    async with asyncio.timeout((bed.provider.look_up_lag + PATIENCE).total_seconds()):
        while True:
            found = await bed.provider.status(order, reference)
            if found.progress is progress:
                return found
            await asyncio.sleep(0.05)


async def order_to_cancel(bed: Bed, parcel: Parcel) -> str:
    """Order what is to be cancelled, where the provider can be told; an order of its own shows whether."""
    probe = new_parcel()
    outcome = await submit(bed, probe)
    assert isinstance(outcome, Applied)
    if await bed.provider.cancel(outcome.order, probe.reference) is Cancellation.UNSUPPORTED:
        pytest.skip("it cannot be told to cancel")
    outcome = await submit(bed, parcel)
    assert isinstance(outcome, Applied)
    return outcome.order


async def sent(bed: Bed, reference: str, tracking: str) -> None:
    """Let the other side send the order, where it can be made to."""
    if not await bed.sent(reference, tracking):
        pytest.skip("the other side cannot be made to send")


async def all_pages(bed: Bed, since: datetime) -> Sequence[Order]:
    """Read all pages of the orders since a time."""
    listed: list[Order] = []
    after: str | None = None
    for _ in range(1000):
        page = await bed.provider.page(since, after)
        listed += page.orders
        after = page.next
        if after is None:
            return listed
    raise AssertionError("the pages have no end")


async def lists_nothing(bed: Bed, since: datetime) -> None:
    """Expect of a provider without a list that it says so, or lists nothing."""
    try:
        page = await bed.provider.page(since, None)
    except CannotTell:
        return
    assert (page.orders, page.next) == ((), None)


async def cannot_tell(bed: Bed, order: str, reference: str) -> None:
    """Expect that nothing which can be asked is answered."""
    asked: list[Callable[[], Awaitable[object]]] = [lambda: bed.provider.find(reference)]
    if bed.provider.reports_status:
        asked.append(lambda: bed.provider.status(order, reference))
    if bed.provider.lists_orders:
        asked.append(lambda: bed.provider.page(datetime.now(UTC) - timedelta(hours=1), None))
    for ask in asked:
        with pytest.raises(CannotTell):
            await ask()


async def ready(bed: Bed) -> None:
    """Wait until the provider asks again: it may keep the wait of a limit that was reached before."""
    if bed.provider.guarantee.can_be_asked:
        async with asyncio.timeout(PATIENCE.total_seconds()):
            while True:
                try:
                    await bed.provider.find(new_reference())
                except CannotTell:
                    await asyncio.sleep(0.05)
                else:
                    return
