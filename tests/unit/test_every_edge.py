"""Every edge of the diagram is gone along by something that really happens, and by nothing else."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import replace

from rewardpost import interventions, transitions
from rewardpost.addresses import PostalAddress
from rewardpost.changes import Change
from rewardpost.fulfilment import Fulfilment, Opening, Personal
from rewardpost.states import EDGES, State
from worker import outcomes, shipping
from worker.providers.protocol import Applied, Guarantee, NotApplied, Order, Progress, Refused, Unknown
from worker.shipping import Policy

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
DAY = timedelta(days=1)
SECOND = timedelta(seconds=1)
ADDRESS = PostalAddress(name="Tess", line_1="Probestrasse 7", city="Musterstadt", country="DE")
POLICY = Policy(
    dispatch=True,
    ship_since=NOW - DAY,
    holds={},
    provider="fake",
    guarantee=Guarantee.UNIQUE_KEY,
    quiet_time=SECOND,
    poll=SECOND,
)
UNASKABLE = replace(POLICY, guarantee=Guarantee.NONE)
RECORD = Fulfilment(
    reference="vfy-r_1", state=State.RECEIVED, token=3, article="mug", redeemed_at=NOW, changed_at=NOW, provider="fake"
)
LIVE = Order(id="o1", reference="vfy-r_1")

Way = Callable[[Fulfilment], Change | None]
S = State


def opened(state: State) -> Change:
    """Return what opens a reward in a state."""
    opening = Opening(
        reference="vfy-r_1",
        redemption="r_1",
        customer="cust_1",
        kind="material",
        article="mug",
        article_name="",
        redeemed_at=NOW,
        received_at=NOW,
        personal=Personal(),
        state=state,
        why="because",
    )
    return transitions.receive(opening, now=NOW)


def decided(record: Fulfilment, policy: Policy = POLICY) -> Change:
    """Return the change that a worker decides on by itself."""
    action = shipping.next_action(record, now=NOW, policy=policy)
    assert isinstance(action, Change)
    return action


def called(outcome: Applied | NotApplied | Refused | Unknown, policy: Policy = POLICY) -> Way:
    """Return the way of a call that ends like this."""
    return lambda record: outcomes.after_call(record, 3, outcome, now=NOW, back_off=SECOND, policy=policy)


def looked_up(*orders: Order) -> Way:
    """Return the way of a look-up that finds this."""
    return lambda record: outcomes.after_look_up(record, orders, now=NOW, back_off=SECOND, policy=POLICY)


def told(progress: Progress) -> Way:
    """Return the way of a provider's word on an order."""
    return lambda record: outcomes.after_status(record, replace(LIVE, progress=progress), now=NOW, policy=POLICY)


def address_found(record: Fulfilment) -> Change:
    """Find the address."""
    return transitions.address_found(record, Personal(address=ADDRESS), by="worker", now=NOW)


def cancelled(record: Fulfilment) -> Change:
    """Cancel as an operator."""
    return interventions.cancel(record, "no", by="tess", now=NOW)


def set_aside(record: Fulfilment) -> Change:
    """Spend all attempts of the job."""
    return transitions.wants_attention(record, "12 attempts are spent", now=NOW)


def retried(record: Fulfilment) -> Change:
    """Try again as an operator."""
    return interventions.retry(record, has_address=True, by="tess", now=NOW)


WAYS: Mapping[tuple[State | None, State], Way] = {
    (None, S.RECEIVED): lambda _: opened(S.RECEIVED),
    (None, S.TOMBSTONE): lambda _: transitions.roll_back_unknown("vfy-r_1", "r_1", now=NOW),
    (S.RECEIVED, S.NOT_APPLICABLE): lambda _: opened(S.NOT_APPLICABLE),
    (S.RECEIVED, S.NEEDS_ATTENTION): lambda _: opened(S.NEEDS_ATTENTION),
    (S.RECEIVED, S.NEEDS_ADDRESS): lambda record: transitions.address_wanted(record, "none", now=NOW),
    (S.RECEIVED, S.READY): address_found,
    (S.RECEIVED, S.CANCELLED): lambda record: transitions.roll_back(record, now=NOW),
    (S.NEEDS_ADDRESS, S.READY): address_found,
    (S.NEEDS_ADDRESS, S.NEEDS_ATTENTION): set_aside,
    (S.NEEDS_ADDRESS, S.CANCELLED): cancelled,
    (S.READY, S.DISPATCHING): lambda record: transitions.begin_dispatch(record, "fake", deadline=NOW, now=NOW),
    (S.READY, S.NEEDS_ATTENTION): set_aside,
    (S.READY, S.CANCELLED): cancelled,
    (S.DISPATCHING, S.SUBMITTED): called(Applied("o1")),
    (S.DISPATCHING, S.READY): called(NotApplied("busy")),
    (S.DISPATCHING, S.UNKNOWN): called(Unknown("time-out")),
    (S.DISPATCHING, S.NEEDS_ATTENTION): called(Refused("no"), UNASKABLE),
    (S.UNKNOWN, S.SUBMITTED): looked_up(LIVE),
    (S.UNKNOWN, S.READY): looked_up(),
    (S.UNKNOWN, S.NEEDS_ATTENTION): lambda record: decided(record, UNASKABLE),
    (S.SUBMITTED, S.SHIPPED): lambda record: interventions.shipped(record, "T1", by="tess", now=NOW),
    (S.SUBMITTED, S.DELIVERED): told(Progress.DELIVERED),
    (S.SUBMITTED, S.CANCELLED): lambda record: outcomes.after_cancel_look_up(record, [], now=NOW, policy=POLICY),
    (S.SUBMITTED, S.NEEDS_ATTENTION): told(Progress.EXCEPTION),
    (S.SHIPPED, S.DELIVERED): told(Progress.DELIVERED),
    (S.SHIPPED, S.RETURNED): told(Progress.RETURNED),
    (S.SHIPPED, S.LOST): told(Progress.LOST),
    (S.SHIPPED, S.NEEDS_ATTENTION): told(Progress.EXCEPTION),
    (S.NEEDS_ATTENTION, S.READY): retried,
    (S.NEEDS_ATTENTION, S.SUBMITTED): lambda record: retried(replace(record, provider_order="o1")),
    (S.NEEDS_ATTENTION, S.SHIPPED): lambda record: interventions.shipped(record, "T1", by="tess", now=NOW),
    (S.NEEDS_ATTENTION, S.CANCELLED): cancelled,
    (S.NEEDS_ATTENTION, S.DISCARDED): lambda record: interventions.discard(record, "no", by="tess", now=NOW),
    (S.NEEDS_ATTENTION, S.NEEDS_ADDRESS): lambda record: interventions.retry(
        record, has_address=False, by="tess", now=NOW
    ),
}
# DELIVERED straight from SUBMITTED is gone along in two moves: every parcel that arrives was handed over first.
_IN_TWO_MOVES = {(S.SUBMITTED, S.DELIVERED)}


def test_there_is_a_way_for_each_edge() -> None:
    """An edge that nothing goes along would be a promise that nobody keeps."""
    assert set(WAYS) == {(before, after) for before, targets in EDGES.items() for after in targets}


@pytest.mark.parametrize(("before", "after"), list(WAYS), ids=str)
def test_every_edge_is_gone_along(before: State | None, after: State) -> None:
    """What really happens leads from one state to the other, and the journal says so."""
    record = replace(RECORD, state=before or State.RECEIVED)
    change = WAYS[before, after](record)
    assert change is not None
    assert change.record.state is after
    moves = [(entry.before, entry.after) for entry in change.entries if entry.before is not entry.after]
    assert all(move in WAYS for move in moves)
    assert (before, after) in moves or (before, after) in _IN_TWO_MOVES
