"""Scenarios of everything but `submit`: look-ups, status, pages, cancelling, the self-check."""

import secrets
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest

from rewardpost.reference import PREFIX
from tests.conformance.bed import Bed
from tests.conformance.faults import always, answering, proxy_of, writes
from tests.conformance.steps import (
    GARBAGE,
    all_pages,
    cannot_tell,
    found,
    lists_nothing,
    new_parcel,
    new_reference,
    order_to_cancel,
    ready,
    sent,
    status_is,
    submit,
)
from tests.fault_proxy import Fault
from tests.misbehaviours import answers
from worker.providers.protocol import Applied, Cancellation, CannotTell, Finding, Progress


async def never_seen_is_absent(bed: Bed) -> None:
    """A reference that nobody sent is proven absent."""
    assert not await bed.provider.find(new_reference())


async def look_up_in_doubt(bed: Bed) -> None:
    """No fault and no garbage is taken for "there is none": not on the look-up, not on the status, not on a page."""
    parcel = new_parcel()
    outcome = await submit(bed, parcel)
    assert isinstance(outcome, Applied)
    for fault in (Fault.STATUS_429, Fault.STATUS_502, Fault.STATUS_503, Fault.LOSE_REQUEST, Fault.LOSE_ANSWER):
        async with always(bed, fault):
            await cannot_tell(bed, outcome.order, parcel.reference)
        await ready(bed)
    for status in (400, 401, 403, 404, 500):
        for body in (b"{}", b"[]", b""):
            async with answering(bed, answers(status, body)):
                await cannot_tell(bed, outcome.order, parcel.reference)
    for garbage in GARBAGE:
        async with answering(bed, answers(200, garbage)):
            await cannot_tell(bed, outcome.order, parcel.reference)
    await found(bed, parcel.reference, live=1)


async def nobody_to_ask(bed: Bed) -> None:
    """A provider that cannot be asked says so; it never says that there is none."""
    with pytest.raises(CannotTell):
        await bed.provider.find(new_reference())
    with pytest.raises(CannotTell):
        await bed.provider.status("1", new_reference())
    assert not bed.provider.reports_status


async def cancelled(bed: Bed) -> None:
    """An order that was cancelled is not live any more, neither at the other side nor by the look-up."""
    parcel = new_parcel()
    order = await order_to_cancel(bed, parcel)
    assert await bed.provider.cancel(order, parcel.reference) is Cancellation.CANCELLED
    assert await bed.live(parcel.reference) == 0
    await found(bed, parcel.reference, live=0)
    again = await bed.provider.cancel(order, parcel.reference)
    assert again in {Cancellation.CANCELLED, Cancellation.UNKNOWN}
    assert await bed.live(parcel.reference) == 0


async def cancel_answer_lost(bed: Bed) -> None:
    """Nobody knows whether it was cancelled, the look-up tells, and nobody has asked for it twice."""
    parcel = new_parcel()
    order = await order_to_cancel(bed, parcel)
    before = writes(proxy_of(bed))
    async with always(bed, Fault.LOSE_ANSWER):
        assert await bed.provider.cancel(order, parcel.reference) is Cancellation.UNKNOWN
    assert writes(proxy_of(bed)) <= before + 1
    await found(bed, parcel.reference, live=await bed.live(parcel.reference))


async def cancel_request_lost(bed: Bed) -> None:
    """A cancelling that did not arrive is not said to have: the order lives on."""
    parcel = new_parcel()
    order = await order_to_cancel(bed, parcel)
    async with always(bed, Fault.LOSE_REQUEST):
        assert await bed.provider.cancel(order, parcel.reference) is Cancellation.UNKNOWN
    assert await bed.live(parcel.reference) == 1


async def cancel_too_late(bed: Bed) -> None:
    """What has left cannot be cancelled, and the provider says so."""
    parcel = new_parcel()
    order = await order_to_cancel(bed, parcel)
    await sent(bed, parcel.reference, "00340434161094042557")
    assert await bed.provider.cancel(order, parcel.reference) is Cancellation.TOO_LATE
    assert await bed.live(parcel.reference) == 1


async def cancel_unsupported(bed: Bed) -> None:
    """A provider that cannot be told leaves the order as it is, and says that a person has to."""
    parcel = new_parcel()
    outcome = await submit(bed, parcel)
    assert isinstance(outcome, Applied)
    before = proxy_of(bed).seen.total()
    cancellation = await bed.provider.cancel(outcome.order, parcel.reference)
    if cancellation is not Cancellation.UNSUPPORTED:
        pytest.skip("it can be told to cancel")
    assert await bed.live(parcel.reference) == 1
    assert proxy_of(bed).seen.total() == before


async def status_moves_on(bed: Bed) -> None:
    """An order is open, then shipped with its tracking number, then delivered; the look-up says the same."""
    parcel = new_parcel()
    outcome = await submit(bed, parcel)
    assert isinstance(outcome, Applied)
    if not bed.provider.reports_status:
        with pytest.raises(CannotTell):
            await bed.provider.status(outcome.order, parcel.reference)
        return
    opened = await status_is(bed, outcome.order, parcel.reference, Progress.OPEN)
    assert (opened.id, opened.reference, opened.tracking) == (outcome.order, parcel.reference, ())
    tracking = f"0034{secrets.randbelow(10**16):016}"
    await sent(bed, parcel.reference, tracking)
    shipped = await status_is(bed, outcome.order, parcel.reference, Progress.SHIPPED)
    assert tracking in shipped.tracking
    assert shipped.live
    if not await bed.delivered(parcel.reference):
        pytest.skip("the other side cannot be made to say that it was delivered")
    delivered = await status_is(bed, outcome.order, parcel.reference, Progress.DELIVERED)
    assert tracking in delivered.tracking
    assert [order.progress for order in await bed.provider.find(parcel.reference)] == [Progress.DELIVERED]


async def unknown_order_has_no_status(bed: Bed) -> None:
    """An order that is not there is not said to be cancelled or open."""
    with pytest.raises(CannotTell):
        await bed.provider.status("987654321", new_reference())


async def pages_list_our_orders(bed: Bed) -> None:
    """All of our orders since a time, cancelled ones too, each once, and nobody else's."""
    since = datetime.now(UTC) - timedelta(minutes=1)
    if not bed.provider.lists_orders:
        await lists_nothing(bed, since)
        return
    ours = [new_parcel() for _ in range(3)]
    orders = {}
    for parcel in ours:
        outcome = await submit(bed, parcel)
        assert isinstance(outcome, Applied)
        orders[parcel.reference] = outcome.order
    dropped = ours[1].reference
    was_cancelled = await bed.provider.cancel(orders[dropped], dropped) is Cancellation.CANCELLED
    foreign = new_parcel(reference=f"other-{secrets.token_hex(6)}")
    await submit(bed, foreign)
    listed = await all_pages(bed, since)
    assert foreign.reference not in {order.reference for order in listed}
    assert all(order.reference.startswith(PREFIX) for order in listed)
    found = {order.id: order for order in listed if order.reference in orders}
    assert len([order for order in listed if order.reference in orders]) == len(found) == 3
    assert {order.reference: order.id for order in found.values()} == orders
    live = {order.reference for order in found.values() if order.live}
    assert live == orders.keys() - ({dropped} if was_cancelled else set())


async def check_says_whether_it_could_be_used(bed: Bed) -> None:
    """The self-check is content while the other side answers, and says what to do while it does not."""
    findings = await bed.provider.check()
    assert findings
    assert [finding for finding in findings if not finding.ok] == []
    if bed.faults is not None:
        async with always(bed, Fault.LOSE_REQUEST):
            wrong: Sequence[Finding] = [finding for finding in await bed.provider.check() if not finding.ok]
        assert wrong
        assert all(finding.todo for finding in wrong)


async def check_writes_nothing(bed: Bed) -> None:
    """`doctor` may be called at any time: nothing but reads goes out."""
    before = writes(proxy_of(bed))
    await bed.provider.check()
    assert writes(proxy_of(bed)) == before


async def nothing_is_outside_the_ledger(bed: Bed) -> None:
    """There is no second place: nothing is found, listed or asked there, and cancelling is agreed to at once."""
    parcel = new_parcel()
    assert await submit(bed, parcel) == Applied(order=parcel.reference)
    assert not await bed.provider.find(parcel.reference)
    assert await bed.provider.cancel(parcel.reference, parcel.reference) is Cancellation.CANCELLED
    assert (bed.provider.reports_status, bed.provider.lists_orders) == (False, False)
    await lists_nothing(bed, datetime.now(UTC))


async def call_ends_in_time(bed: Bed) -> None:
    """What is declared about time is finite: the core computes deadlines and quiet times with it."""
    assert timedelta() < bed.provider.call_timeout <= timedelta(seconds=60)
    assert timedelta() <= bed.provider.look_up_lag <= timedelta(days=1)
