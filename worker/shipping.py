"""What comes next for a reward: pure decisions over its record, the clock, the policy and what a provider said."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

import msgspec

from rewardpost import transitions
from rewardpost.changes import WORKER, Change
from rewardpost.fulfilment import Fulfilment, Hold
from rewardpost.states import BEFORE_DISPATCH, ENDS, State
from worker.providers.protocol import (
    Applied,
    Cancellation,
    Guarantee,
    NotApplied,
    Order,
    Outcome,
    Refused,
    Unknown,
)

LOOK_UP_LIMIT = timedelta(days=2)
"""An unknown outcome older than this is for a person."""


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """What the settings and the operators say about dispatching."""

    dispatch: bool
    """False for a shadow run."""
    ship_since: datetime
    """Rewards redeemed before are held."""
    holds: Mapping[str, str]
    provider: str
    guarantee: Guarantee
    quiet_time: timedelta
    """How long after a call's deadline a look-up that finds nothing proves that nothing came of it."""


class Rest(msgspec.Struct, frozen=True):
    """There is nothing to do until something else happens."""


class Wait(msgspec.Struct, frozen=True):
    """There is nothing to do before a time."""

    due: datetime


class FindAddress(msgspec.Struct, frozen=True):
    """Ask the address sources."""


class Dispatch(msgspec.Struct, frozen=True):
    """Call the provider."""


class LookUp(msgspec.Struct, frozen=True):
    """Ask the provider which orders have this reward's reference."""


class CancelOrder(msgspec.Struct, frozen=True):
    """Ask the provider to cancel the order."""


Action = Rest | Wait | FindAddress | Dispatch | LookUp | CancelOrder | Change


def next_action(record: Fulfilment, *, now: datetime, policy: Policy) -> Action:
    """Return what is to be done for a reward now."""
    if record.state in ENDS or record.state in {State.NEEDS_ATTENTION, State.SHIPPED}:
        return Rest()
    if record.cancelling is not None and record.state in BEFORE_DISPATCH:
        return transitions.cancelled_before_dispatch(record, now=now)
    if record.due is not None and record.due > now:
        return Wait(record.due)
    match record.state:
        case State.RECEIVED | State.NEEDS_ADDRESS:
            return FindAddress()
        case State.READY:
            return _ready(record, now=now, policy=policy)
        case State.DISPATCHING:
            return _dispatching(record, now=now)
        case State.UNKNOWN:
            return _unknown(record, now=now, policy=policy)
        case _:  # SUBMITTED
            return _submitted(record, now=now, policy=policy)


def hold_for(record: Fulfilment, policy: Policy) -> Hold | None:
    """Return what forbids a dispatch, the widest reason first."""
    if not policy.dispatch:
        return Hold(source="dispatch", why="shadow run (DISPATCH=hold)")
    for source in transitions.scopes(record, policy.provider):
        if source in policy.holds:
            return Hold(source=source, why=policy.holds[source])
    if record.released:
        return None
    if record.redeemed_at is None:
        return Hold(source="ship_since", why="nothing says when it was redeemed")
    if record.redeemed_at < policy.ship_since:
        return Hold(source="ship_since", why=f"redeemed before SHIP_SINCE ({policy.ship_since:%Y-%m-%d %H:%M} UTC)")
    return None


def _ready(record: Fulfilment, *, now: datetime, policy: Policy) -> Action:
    if record.hold is not None:
        return Rest()
    hold = hold_for(record, policy)
    if hold is not None:
        at_large = hold.source in policy.holds
        return transitions.put_on_hold(record, hold, by=WORKER, now=now, at_large=at_large)
    return Dispatch()


def _dispatching(record: Fulfilment, *, now: datetime) -> Action:
    # Not ours: this job's own call reports before it asks again. Another worker's call may run until its deadline.
    if record.deadline is not None and now <= record.deadline:
        return Wait(record.deadline + timedelta(milliseconds=1))
    return transitions.outcome_unknown(record, "the worker ended during the call", now=now)


def _unknown(record: Fulfilment, *, now: datetime, policy: Policy) -> Action:
    if record.provider != policy.provider:
        why = f"{record.provider} may have the order ({record.why}), but PROVIDER is {policy.provider} by now"
        return transitions.wants_attention(record, why, now=now)
    if policy.guarantee is not Guarantee.UNIQUE_KEY:
        why = f"{record.provider} cannot say whether it has the order ({record.why})"
        return transitions.wants_attention(record, why, now=now)
    if record.deadline is None or now >= record.deadline + policy.quiet_time:
        return LookUp()
    return Wait(record.deadline + policy.quiet_time)


def _submitted(record: Fulfilment, *, now: datetime, policy: Policy) -> Action:
    if record.cancelling is None:
        return Rest()
    if record.provider != policy.provider:
        why = f"to be cancelled, but PROVIDER is {policy.provider} by now: cancel it at {record.provider} by hand"
        return transitions.wants_attention(record, why, now=now)
    return LookUp() if record.cancel_sent else CancelOrder()


def after_call(
    record: Fulfilment, token: int, outcome: Outcome, *, now: datetime, limit: int, back_off: timedelta
) -> Change | None:
    """Return what an outcome makes of the record; None when the claim behind the call is no longer the latest."""
    if record.state is not State.DISPATCHING or record.token != token:
        return None
    match outcome:
        case Applied(order=order, request=request):
            return transitions.submitted(record, order, now=now, request=request)
        case NotApplied(why=why, retry_after=retry_after, spends_attempt=spends_attempt, request=request):
            due = now + (retry_after if retry_after is not None else back_off)
            return transitions.not_applied(
                record, why, due=due, spends=spends_attempt, limit=limit, now=now, request=request
            )
        case Refused(why=why, request=request):
            return transitions.refused(record, why, now=now, request=request)
        case Unknown(why=why, request=request):
            return transitions.outcome_unknown(record, why, now=now, request=request)


def after_look_up(
    record: Fulfilment, orders: Sequence[Order], *, now: datetime, limit: int, back_off: timedelta
) -> Change:
    """Return what the orders found under this reward's reference make of an unknown outcome."""
    live = [order for order in orders if order.live]
    if len(live) > 1:
        return transitions.wants_attention(record, f"{len(live)} live orders have its reference", now=now)
    if live:
        return transitions.submitted(record, live[0].id, now=now, why="found at the provider")
    if orders:
        return transitions.wants_attention(record, "only a cancelled order has its reference", now=now)
    return transitions.not_applied(
        record, "proven absent at the provider", due=now + back_off, spends=True, limit=limit, now=now
    )


def after_cancel(record: Fulfilment, cancellation: Cancellation, *, now: datetime, policy: Policy) -> Change:
    """Return what the provider's answer to a cancelling makes of a submitted reward."""
    match cancellation:
        case Cancellation.CANCELLED if policy.guarantee is Guarantee.LEDGER:
            return transitions.order_cancelled(record, now=now)
        case Cancellation.CANCELLED:
            return transitions.cancel_confirmed(record, now + policy.quiet_time, now=now)
        case Cancellation.TOO_LATE:
            return transitions.wants_attention(record, "to be cancelled, but the provider says it is too late", now=now)
        case Cancellation.UNSUPPORTED:
            why = f"to be cancelled, but {record.provider} cannot be told: cancel its order by hand"
            return transitions.wants_attention(record, why, now=now)
        case Cancellation.UNKNOWN:
            return transitions.wait(record, now + policy.quiet_time, "the cancelling's outcome is unknown", now=now)


def after_cancel_look_up(record: Fulfilment, orders: Sequence[Order], *, now: datetime) -> Change:
    """Return what a look after the quiet time makes of a cancelled order: a late submit may have landed after it."""
    live = [order for order in orders if order.live]
    if not live:
        return transitions.order_cancelled(record, now=now)
    return transitions.live_again(record, live[0].id, now=now)
