"""What a provider's answers make of a reward: pure decisions over its record, the clock and the policy."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from rewardpost import transitions
from rewardpost.changes import Change
from rewardpost.fulfilment import Fulfilment, Hold
from rewardpost.states import State
from worker.providers.protocol import (
    Applied,
    Cancellation,
    Guarantee,
    NotApplied,
    Order,
    Outcome,
    Progress,
    Refused,
    Unknown,
)
from worker.shipping import Policy, first_poll


def after_call(
    record: Fulfilment, token: int, outcome: Outcome, *, now: datetime, back_off: timedelta, policy: Policy
) -> Change | None:
    """Return what an outcome makes of the record; None when the claim behind the call is no longer the latest."""
    if record.state is not State.DISPATCHING or record.token != token:
        return None
    match outcome:
        case Applied(order=order, request=request):
            return transitions.submitted(record, order, now=now, request=request, look_again=first_poll(now, policy))
        case NotApplied(why=why, retry_after=retry_after, spends_attempt=spends_attempt, request=request):
            due = now + (retry_after if retry_after is not None else back_off)
            if record.uncertain:  # this call, but an earlier one may have arrived
                return transitions.outcome_unknown(record, why, now=now, request=request, due=due)
            return transitions.not_applied(
                record, why, due=due, spends=spends_attempt, limit=policy.limit, now=now, request=request
            )
        case Refused(why=why, request=request) if policy.guarantee.can_be_asked:
            return transitions.outcome_unknown(record, f"refused: {why}", now=now, request=request, refusal=why)
        case Refused(why=why) if record.uncertain:
            why = f"refused: {why}; an earlier call may have arrived"
            return transitions.wants_attention(record, why, now=now)
        case Refused(why=why, request=request):
            return transitions.refused(record, why, now=now, request=request)
        case Unknown(why=why, request=request):
            return transitions.outcome_unknown(record, why, now=now, request=request)


def after_look_up(
    record: Fulfilment, orders: Sequence[Order], *, now: datetime, back_off: timedelta, policy: Policy
) -> Change:
    """Return what the orders found under this reward's reference make of an unknown outcome."""
    doubt = _doubt(record, orders)
    if doubt is not None:
        return transitions.wants_attention(record, doubt, now=now)
    if record.state is State.READY:
        absent = transitions.absent(record, "proven absent at the provider", now=now)
        return _adopted(record, orders, now=now, policy=policy) or absent
    live = [order for order in orders if order.live]
    if live:
        look_again = first_poll(now, policy)
        return transitions.submitted(record, live[0].id, now=now, why="found at the provider", look_again=look_again)
    if orders:  # cancelled, as is wanted
        return transitions.cancelled_already(record, orders[0].id, now=now)
    if record.deadline is not None and now < record.deadline + policy.quiet_time:
        # Refused, and not there: what was sent before may still land.
        due = record.deadline + policy.quiet_time
        return transitions.wait(record, due, "not at the provider yet; looked for once more later", now=now)
    if record.refusal is not None:
        return transitions.refused(record, record.refusal, now=now)
    return transitions.not_applied(
        record, "proven absent at the provider", due=now + back_off, spends=True, limit=policy.limit, now=now
    )


def _adopted(record: Fulfilment, orders: Sequence[Order], *, now: datetime, policy: Policy) -> Change | None:
    """Take over what is there for a ready reward: the live order, not a cancelled one that stands beside it."""
    ours = next((order for order in orders if order.live), orders[0] if orders else None)
    return transitions.adopted(record, policy.provider, ours.id, now=now) if ours is not None else None


def after_first_look(
    record: Fulfilment, orders: Sequence[Order], hold: Hold | None, *, now: datetime, policy: Policy
) -> Change:
    """Return what is found makes of a reward that an earlier ledger may have sent; else it is held or goes on."""
    doubt = _doubt(record, orders)
    if doubt is not None:
        return transitions.wants_attention(record, doubt, now=now)
    return _adopted(record, orders, now=now, policy=policy) or transitions.never_sent(record, hold, now=now)


def after_cancel(record: Fulfilment, cancellation: Cancellation, *, now: datetime, policy: Policy) -> Change:
    """Return what the provider's answer to a cancelling makes of a submitted reward."""
    match cancellation:
        case Cancellation.CANCELLED if policy.guarantee is Guarantee.LEDGER:
            return transitions.order_cancelled(record, now=now)
        case Cancellation.TOO_LATE:
            return transitions.wants_attention(record, "to be cancelled, but the provider says it is too late", now=now)
        case Cancellation.UNSUPPORTED:
            why = f"to be cancelled, but {record.provider} cannot be told: cancel its order by hand"
            return transitions.wants_attention(record, why, now=now)
        case _:
            confirmed = cancellation is Cancellation.CANCELLED
            return transitions.cancel_sent(record, now + policy.quiet_time, confirmed=confirmed, now=now)


def after_cancel_look_up(record: Fulfilment, orders: Sequence[Order], *, now: datetime, policy: Policy) -> Change:
    """Return what a look after the quiet time makes of a cancelled order: a late submit may have landed after it."""
    live = [order for order in orders if order.live]
    if not live:
        return transitions.order_cancelled(record, now=now)
    if live[0].progress in _HAS_LEFT:
        why = f"to be cancelled, but the provider says it is {live[0].progress}"
        return transitions.wants_attention(record, why, now=now)
    if record.spent >= policy.limit:
        why = f"to be cancelled, but {record.provider} was told {record.spent} times in vain: do it by hand"
        return transitions.wants_attention(record, why, now=now)
    return transitions.live_again(record, live[0].id, now=now)


def after_status(record: Fulfilment, order: Order, *, now: datetime, policy: Policy) -> Change | None:
    """Return what the provider's word on an order makes of a submitted or shipped reward; None where it is no news."""
    tracking = (*record.tracking, *(number for number in order.tracking if number not in record.tracking))
    match order.progress:
        case Progress.CANCELLED:
            return transitions.wants_attention(record, f"{record.provider} has cancelled its order", now=now)
        case Progress.EXCEPTION:
            why = f"{record.provider} cannot go on: {order.why or 'it does not say why'}"
            return transitions.wants_attention(record, why, now=now)
    ways = _WAYS[order.progress] if record.state is State.SUBMITTED else _WAYS[order.progress][1:]
    if not ways and tracking == record.tracking:
        return None
    return transitions.went_on(record, ways, tracking=tracking, now=now, look_again=first_poll(now, policy))


_HAS_LEFT = frozenset({Progress.SHIPPED, Progress.DELIVERED, Progress.RETURNED, Progress.LOST})
_SHIPPED = (State.SHIPPED, "handed to the carrier")
_WAYS: Mapping[Progress, tuple[tuple[State, str], ...]] = {
    Progress.OPEN: (),
    Progress.SHIPPED: (_SHIPPED,),
    Progress.DELIVERED: (_SHIPPED, (State.DELIVERED, "delivered")),
    Progress.RETURNED: (_SHIPPED, (State.RETURNED, "returned to the sender")),
    Progress.LOST: (_SHIPPED, (State.LOST, "lost on its way")),
}


def _doubt(record: Fulfilment, orders: Sequence[Order]) -> str | None:
    """Return why a person has to look at the orders that have this reward's reference."""
    live = [order for order in orders if order.live]
    if len(live) > 1:
        return f"{len(live)} live orders have its reference"
    if orders and not live and record.cancelling is None:
        return "only a cancelled order has its reference"
    if any(order.article not in {None, record.article} or order.quantity not in {None, 1} for order in live):
        return "the order with its reference is for something else"
    return None
