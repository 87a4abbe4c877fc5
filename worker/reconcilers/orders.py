"""What a provider's orders for one reward say against what the ledger knows of it: pure."""

from collections.abc import Sequence
from datetime import datetime

from rewardpost import reference as references
from rewardpost.changes import WORKER, Change, End, Scribe
from rewardpost.findings import Finding, Known
from rewardpost.fulfilment import Fulfilment
from rewardpost.states import BEFORE_DISPATCH, ENDS, State
from worker.providers.protocol import Guarantee, Order, Progress

UNKNOWN_ORDER = "unknown_order"
TWO_ORDERS = "two_orders"
ORDER_FOR_ENDED = "order_for_ended"
UNRECORDED_ORDER = "unrecorded_order"

_NO_PARCEL = frozenset({State.CANCELLED, State.DISCARDED, State.NOT_APPLICABLE, State.TOMBSTONE})
_NOT_SENT = frozenset({Progress.OPEN, Progress.EXCEPTION})
_CAME_TO_NOTHING = frozenset({Progress.RETURNED, Progress.LOST})
_LEFT_TO_ITS_JOB = frozenset({State.DISPATCHING, State.UNKNOWN, State.NEEDS_ATTENTION})


def judge(
    reference: str, orders: Sequence[Order], known: Known, *, provider: str, guarantee: Guarantee
) -> Finding | None:
    """Return what is wrong with the orders of one reward, of any generation; None where nothing is.

    The ledger has to be read after the orders: a call is recorded before it is made.
    """
    live = [order for order in orders if order.live]
    if not live:
        return None
    if known.state is None:
        return _finding(UNKNOWN_ORDER, reference, f"{_named(live)} at {provider}, for a reward that is not known here")
    if known.state in _NO_PARCEL and any(order.progress not in _CAME_TO_NOTHING for order in live):
        return _finding(ORDER_FOR_ENDED, reference, f"{_named(live)} at {provider}, but it ended as {known.state}")
    twins = _twins(live)
    if twins:
        return _finding(TWO_ORDERS, reference, f"{_named(twins)} at {provider}, all of them live")
    record = known.record
    if record is None or not _is_unrecorded(record, guarantee):
        return None
    return _finding(UNRECORDED_ORDER, reference, f"{_named(live)} at {provider}, but no call is recorded for it")


def is_suspicious(orders: Sequence[Order], known: Known, *, provider: str) -> bool:
    """Tell whether a live order is another one than the ledger has: then the provider may hold both."""
    record = known.record
    if record is None or record.state in ENDS or record.provider != provider or record.provider_order is None:
        return False
    return any(
        order.live and order.reference == record.provider_reference and order.id != record.provider_order
        for order in orders
    )


def attention(record: Fulfilment, finding: Finding, orders: Sequence[Order], *, now: datetime) -> Change | None:
    """Return the change by which a person is asked; None where the reward's job looks itself, or nobody can act."""
    if record.state in ENDS or record.state in _LEFT_TO_ITS_JOB:
        return None
    scribe = Scribe(record, by=WORKER, now=now)
    why = f"an audit found {finding.what}"
    if finding.kind != UNRECORDED_ORDER:
        return scribe.move(State.NEEDS_ATTENTION, why).done(End())
    # With the order in the record, nobody sends it again without looking.
    live = next(order for order in orders if order.live)
    return scribe.move(State.NEEDS_ATTENTION, why, provider_order=live.id).done(End())


def _twins(live: Sequence[Order]) -> list[Order]:
    """Return orders of which one at most should be live.

    A later generation is no twin of an order that has left: a person decided to send another parcel.
    """
    by_generation: dict[int, list[Order]] = {}
    for order in live:
        by_generation.setdefault(references.split(order.reference)[1], []).append(order)
    for alike in by_generation.values():
        if len(alike) > 1:
            return alike
    latest = max(by_generation)
    waiting = [order for number, (order,) in by_generation.items() if number < latest and order.progress in _NOT_SENT]
    return [*waiting, *by_generation[latest]] if waiting else []


def _is_unrecorded(record: Fulfilment, guarantee: Guarantee) -> bool:
    if record.state not in BEFORE_DISPATCH or record.attempts or record.provider_order is not None:
        return False
    # An order from before this ledger is looked for before anything is sent.
    finds_it_itself = record.audited and guarantee.can_be_asked and record.state is not State.NEEDS_ADDRESS
    return not (finds_it_itself and record.hold is None)


def _finding(kind: str, reference: str, what: str) -> Finding:
    return Finding(kind=kind, reference=reference, what=what)


def _named(orders: Sequence[Order]) -> str:
    ids = sorted(order.id for order in orders)
    return f"order {ids[0]}" if len(ids) == 1 else f"orders {' and '.join(ids)}"
