"""What comes next for a reward: pure decisions over its record, the clock, the policy and what a provider said."""

from collections.abc import Mapping
from datetime import datetime, timedelta

import msgspec

from rewardpost import transitions
from rewardpost.changes import WORKER, Change
from rewardpost.fulfilment import Fulfilment, Hold
from rewardpost.states import BEFORE_DISPATCH, ENDS, State
from worker.providers.protocol import (
    Guarantee,
)

LOOK_UP_LIMIT = timedelta(days=2)
"""An unknown outcome older than this is for a person."""
SHIP_SINCE = "ship_since"
"""What holds a reward that was redeemed too early."""
POLL_LIMIT = timedelta(days=60)
"""After so long without news a parcel that has left is not asked about any more; then SHIPPED is its end."""

_POLL_SHARE = 8  # an order is asked about again after an eighth of the time that it has stood still,
_RAREST_POLL = 24  # but at least once in so many of the first waits
_HELD_PAUSE = timedelta(minutes=1)
_SOONEST_LOOK = timedelta(seconds=5)
_LATEST_LOOK = timedelta(minutes=15)
_LOOK_SHARE = 4


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
    limit: int = 12
    """So many attempts are made before a person is asked."""
    watched_since: datetime | None = None
    """Since when this ledger has been watched without a gap; what was redeemed before may be missing in it."""
    poll: timedelta | None = None
    """How soon the provider is first asked what became of an order; None where it cannot say."""


class Rest(msgspec.Struct, frozen=True):
    """There is nothing to do until something else happens."""


class Wait(msgspec.Struct, frozen=True):
    """There is nothing to do before a time."""

    due: datetime


class FindAddress(msgspec.Struct, frozen=True):
    """Ask the address sources."""


class Dispatch(msgspec.Struct, frozen=True):
    """Call the provider; out of UNKNOWN too where it takes a reference once, however often it is sent."""


class LookUp(msgspec.Struct, frozen=True):
    """Ask the provider which orders have this reward's reference."""


class Adopt(msgspec.Struct, frozen=True):
    """Ask the provider whether it has an order already, from before this ledger; else hold, or go on."""

    hold: Hold | None
    """None where a person has released it."""


class CancelOrder(msgspec.Struct, frozen=True):
    """Ask the provider to cancel the order."""


class AskStatus(msgspec.Struct, frozen=True):
    """Ask the provider what became of the order."""


Action = Rest | Wait | FindAddress | Dispatch | LookUp | Adopt | CancelOrder | AskStatus | Change


def next_action(record: Fulfilment, *, now: datetime, policy: Policy) -> Action:
    """Return what is to be done for a reward now."""
    if record.state in ENDS or record.state is State.NEEDS_ATTENTION:
        return Rest()
    if record.cancelling is not None and record.state in BEFORE_DISPATCH and not record.uncertain:
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
        case State.SUBMITTED if record.cancelling is not None:
            return _cancelling(record, now=now, policy=policy)
        case _:  # SUBMITTED, SHIPPED
            return Rest() if next_poll(record, now=now, policy=policy) is None else AskStatus()


def _may_be_from_before(record: Fulfilment, policy: Policy) -> bool:
    is_old = record.audited or record.redeemed_at is None or record.redeemed_at < policy.ship_since
    return is_old and policy.guarantee.can_be_asked and not record.looked and not record.attempts


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
        return Hold(source=SHIP_SINCE, why="nothing says when it was redeemed")
    if record.redeemed_at < policy.ship_since:
        return Hold(source=SHIP_SINCE, why=f"redeemed before SHIP_SINCE ({policy.ship_since:%Y-%m-%d %H:%M} UTC)")
    return _hold_for_audited(record, policy)


def _hold_for_audited(record: Fulfilment, policy: Policy) -> Hold | None:
    """Return what forbids to send a reward whose webhook may have been handled by a ledger that was lost."""
    since = policy.watched_since
    if not record.audited or policy.guarantee.can_be_asked or policy.guarantee is Guarantee.IDEMPOTENT:
        return None
    if since is not None and record.redeemed_at is not None and record.redeemed_at >= since:
        return None
    seen = f"{since:%Y-%m-%d %H:%M} UTC" if since is not None else "now"
    return Hold(
        source="audit",
        why=f"no webhook is known here, this ledger has been watched since {seen} only, and {policy.provider} cannot "
        "say whether it was sent before",
    )


def next_poll(record: Fulfilment, *, now: datetime, policy: Policy) -> datetime | None:
    """Return when to ask again what became of an order; None where it cannot be asked, or no news is to be expected."""
    if policy.poll is None or record.provider != policy.provider or record.provider_order is None:
        return None
    stood_still = now - (record.changed_at or now)
    if record.state is State.SHIPPED and stood_still > POLL_LIMIT:
        return None
    return now + min(max(stood_still / _POLL_SHARE, policy.poll), policy.poll * _RAREST_POLL)


def first_poll(now: datetime, policy: Policy) -> datetime | None:
    """Return when to ask for the first time after news of an order; None where it cannot be asked."""
    return None if policy.poll is None else now + policy.poll


def next_look(since: datetime, *, now: datetime) -> datetime:
    """Return when to ask again after a provider could not tell, by how long it has been asked in vain."""
    return now + min(max((now - since) / _LOOK_SHARE, _SOONEST_LOOK), _LATEST_LOOK)


def _ready(record: Fulfilment, *, now: datetime, policy: Policy) -> Action:
    if record.uncertain and policy.guarantee.can_be_asked and record.provider == policy.provider:
        return _after_quiet_time(record, LookUp(), now=now, policy=policy)
    if record.cancelling is not None:
        why = f"to be cancelled, but {record.provider} may have the order: look there, and cancel it by hand"
        return transitions.wants_attention(record, why, now=now)
    if record.hold is not None:
        return Rest()
    if record.uncertain and policy.guarantee is not Guarantee.IDEMPOTENT:
        return transitions.absent(record, "sent again on a person's word", now=now)
    hold = hold_for(record, policy)
    if _may_be_from_before(record, policy) and (hold is None or hold.source == SHIP_SINCE):
        return Adopt(hold)
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
    if not (policy.guarantee.can_be_asked or _can_be_sent_again(record, policy)):
        why = f"{record.provider} cannot say whether it has the order ({record.why})"
        return transitions.wants_attention(record, why, now=now)
    if record.refusal is not None and record.due is None and policy.guarantee.can_be_asked:
        return LookUp()  # it may be about an order that is there already: then there is nothing to wait for
    if policy.guarantee.can_be_asked:
        return _after_quiet_time(record, LookUp(), now=now, policy=policy)
    next_call = Wait(now + _HELD_PAUSE) if hold_for(record, policy) is not None else Dispatch()
    return _after_quiet_time(record, next_call, now=now, policy=policy)


def _after_quiet_time(record: Fulfilment, action: Action, *, now: datetime, policy: Policy) -> Action:
    """Put off what would not see, or would double, a late request that may still land."""
    if record.deadline is not None and now < record.deadline + policy.quiet_time:
        return Wait(record.deadline + policy.quiet_time)
    return action


def _can_be_sent_again(record: Fulfilment, policy: Policy) -> bool:
    return policy.guarantee is Guarantee.IDEMPOTENT and record.cancelling is None and record.spent + 1 < policy.limit


def _cancelling(record: Fulfilment, *, now: datetime, policy: Policy) -> Action:
    if record.provider != policy.provider:
        why = f"to be cancelled, but PROVIDER is {policy.provider} by now: cancel it at {record.provider} by hand"
        return transitions.wants_attention(record, why, now=now)
    return LookUp() if record.cancel_sent else CancelOrder()
