"""What comes next for a reward, for every state, flag and kind of provider."""

from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import replace

from rewardpost.changes import Change, Due, End, Keep
from rewardpost.fulfilment import Fulfilment, Hold
from rewardpost.states import ENDS, State
from worker import outcomes, shipping
from worker.providers.protocol import Applied, Cancellation, Guarantee, NotApplied, Order, Progress, Refused, Unknown
from worker.shipping import CancelOrder, Dispatch, FindAddress, LookUp, Policy, Rest, Wait

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
SECOND = timedelta(seconds=1)
QUIET = timedelta(seconds=30)
POLICY = Policy(
    dispatch=True,
    ship_since=NOW - timedelta(days=1),
    holds={},
    provider="fake",
    guarantee=Guarantee.UNIQUE_KEY,
    quiet_time=QUIET,
)
UNASKABLE = replace(POLICY, guarantee=Guarantee.LEDGER)
RECORD = Fulfilment(
    reference="vfy-r_1", state=State.READY, token=3, article="mug", redeemed_at=NOW, provider="fake", attempts=1
)


def record(state: State, **changes: object) -> Fulfilment:
    """Return a record in a state."""
    return replace(RECORD, state=state, **changes)


def decide(state: State, policy: Policy = POLICY, **changes: object) -> object:
    """Return what comes next."""
    return shipping.next_action(record(state, **changes), now=NOW, policy=policy)


@pytest.mark.parametrize("state", sorted(ENDS | {State.NEEDS_ATTENTION, State.SHIPPED, State.SUBMITTED}))
def test_rests_where_nothing_is_to_be_done(state: State) -> None:
    """An ended, shipped or submitted reward, and one that waits for a person, needs nothing."""
    assert decide(state) == Rest()


@pytest.mark.parametrize("state", [State.RECEIVED, State.NEEDS_ADDRESS])
def test_looks_for_an_address_first(state: State) -> None:
    """Before anything else the address is found."""
    assert decide(state) == FindAddress()


def test_dispatches_what_is_ready() -> None:
    """A ready reward without any hold goes to the provider."""
    assert decide(State.READY) == Dispatch()


def test_waits_for_its_time() -> None:
    """A back-off is waited for, whatever woke the job."""
    assert decide(State.READY, due=NOW + SECOND) == Wait(NOW + SECOND)
    assert decide(State.READY, due=NOW) == Dispatch()


@pytest.mark.parametrize(
    ("policy", "changes", "source"),
    [
        (replace(POLICY, dispatch=False), {"released": True}, "dispatch"),
        (replace(POLICY, holds={"everything": "stock-taking"}), {"released": True}, "everything"),
        (replace(POLICY, holds={"provider:fake": "strike"}), {}, "provider:fake"),
        (replace(POLICY, holds={"article:mug": "recall"}), {}, "article:mug"),
        (UNASKABLE, {"redeemed_at": NOW - timedelta(days=2)}, "ship_since"),
        (UNASKABLE, {"redeemed_at": None}, "ship_since"),
    ],
)
def test_holds_instead_of_dispatching(policy: Policy, changes: dict[str, object], source: str) -> None:
    """Each reason to hold sets the flag, leaves the state and ends the job."""
    change = decide(State.READY, policy, **changes)
    assert isinstance(change, Change)
    assert change.record.hold is not None
    assert (change.record.hold.source, change.record.state, change.job) == (source, State.READY, End())


@pytest.mark.parametrize("holds", [{"provider:other": "x"}, {"article:cup": "x"}])
def test_what_is_held_for_others_does_not_hold(holds: dict[str, str]) -> None:
    """A hold of another provider or article does not matter."""
    assert decide(State.READY, replace(POLICY, holds=holds)) == Dispatch()


def test_a_released_reward_passes_ship_since() -> None:
    """What a person has released is old enough to be asked about only once."""
    assert decide(State.READY, redeemed_at=None, released=True) == Dispatch()


def test_a_held_reward_rests() -> None:
    """The flag alone keeps it from being dispatched."""
    assert decide(State.READY, hold=Hold(source="reward", why="x")) == Rest()


@pytest.mark.parametrize("state", [State.RECEIVED, State.NEEDS_ADDRESS, State.READY])
def test_cancels_at_once_before_the_first_call(state: State) -> None:
    """A flag that was set while the job ran elsewhere is carried out without asking anyone."""
    change = decide(state, cancelling="rolled back")
    assert isinstance(change, Change)
    assert change.record.state is State.CANCELLED


def test_another_workers_call_is_waited_for_until_its_deadline() -> None:
    """While a call may be under way nothing is done."""
    action = decide(State.DISPATCHING, deadline=NOW + SECOND)
    assert isinstance(action, Wait)
    assert action.due > NOW + SECOND


@pytest.mark.parametrize("deadline", [NOW - SECOND, None])
def test_a_call_that_nobody_reported_is_unknown_and_never_ready(deadline: datetime | None) -> None:
    """A worker that died during the call leaves an unknown outcome, and its own late word is shut out."""
    change = decide(State.DISPATCHING, deadline=deadline)
    assert isinstance(change, Change)
    assert (change.record.state, change.record.uncertain, change.record.token) == (State.UNKNOWN, True, 4)


def test_looks_only_after_the_quiet_time() -> None:
    """A late request may still land: absence counts only after the deadline and the quiet time."""
    assert decide(State.UNKNOWN, deadline=NOW - QUIET + SECOND) == Wait(NOW + SECOND)
    assert decide(State.UNKNOWN, deadline=NOW - QUIET) == LookUp()


def test_asks_a_person_where_the_provider_cannot_say() -> None:
    """Without a unique key nothing is repeated blindly."""
    change = decide(State.UNKNOWN, replace(POLICY, guarantee=Guarantee.NONE), uncertain=True)
    assert isinstance(change, Change)
    assert (change.record.state, change.record.uncertain) == (State.NEEDS_ATTENTION, True)


def test_a_submitted_reward_is_cancelled_at_the_provider_and_looked_at_again() -> None:
    """Cancelling may free the reference, so it is looked for once more after the quiet time."""
    assert decide(State.SUBMITTED, cancelling="x") == CancelOrder()
    assert decide(State.SUBMITTED, cancelling="x", cancel_sent=True) == LookUp()


@pytest.mark.parametrize(
    ("outcome", "state", "job"),
    [
        (Applied("o1"), State.SUBMITTED, End()),
        (NotApplied("busy"), State.READY, Due(NOW + 2 * SECOND)),
        (NotApplied("busy", 7 * SECOND), State.READY, Due(NOW + 7 * SECOND)),
        (Refused("no such article"), State.UNKNOWN, Keep()),
        (Unknown("time-out"), State.UNKNOWN, Keep()),
    ],
)
def test_each_outcome_has_its_state(outcome: object, state: State, job: object) -> None:
    """Applied, not applied, refused and unknown lead where the diagram says."""
    change = after(record(State.DISPATCHING), outcome)
    assert change is not None
    assert (change.record.state, change.job) == (state, job)


def after(before: Fulfilment, outcome: object, *, token: int = 3, limit: int = 12) -> Change | None:
    """Return what an outcome makes of a record."""
    policy = replace(POLICY, limit=limit)
    return outcomes.after_call(before, token, outcome, now=NOW, back_off=2 * SECOND, policy=policy)  # type: ignore[arg-type] # any of them


def test_the_outcome_of_an_older_claim_is_refused() -> None:
    """A worker that was given up cannot write over what was decided since."""
    assert after(record(State.DISPATCHING), Applied("o1"), token=2) is None
    assert after(record(State.UNKNOWN), Applied("o1")) is None


def test_spent_attempts_go_to_a_person() -> None:
    """The last attempt that spends one ends with a person; one that spends none does not."""
    before = record(State.DISPATCHING, spent=1)
    spending, sparing = NotApplied("busy"), NotApplied("no", spends_attempt=False)
    spent = after(before, spending, limit=2)
    spared = after(before, sparing, limit=2)
    assert spent is not None
    assert spared is not None
    assert (spent.record.state, spared.record.state) == (State.NEEDS_ATTENTION, State.READY)


@pytest.mark.parametrize(
    ("outcome", "state"),
    [
        (Applied("o1"), State.SUBMITTED),
        (NotApplied("busy"), State.CANCELLED),
        (Refused("no"), State.UNKNOWN),
        (Unknown("?"), State.UNKNOWN),
    ],
)
def test_cancelling_waits_until_the_call_has_settled(outcome: object, state: State) -> None:
    """The order's id is never lost to a cancelling, and a reward that was not taken is cancelled at once."""
    change = after(record(State.DISPATCHING, cancelling="x"), outcome)
    assert change is not None
    assert change.record.state is state


LIVE = Order(id="o1", reference="vfy-r_1")
DEAD = Order(id="o2", reference="vfy-r_1", progress=Progress.CANCELLED)


@pytest.mark.parametrize(
    ("orders", "state"),
    [
        ([LIVE], State.SUBMITTED),
        ([LIVE, DEAD], State.SUBMITTED),
        ([], State.READY),
        ([LIVE, replace(LIVE, id="o3")], State.NEEDS_ATTENTION),
        ([DEAD], State.NEEDS_ATTENTION),
    ],
)
def test_a_look_up_settles_an_unknown_outcome(orders: list[Order], state: State) -> None:
    """One live order is ours, none proves absence, and anything else is for a person."""
    before = record(State.UNKNOWN, uncertain=True)
    change = outcomes.after_look_up(before, orders, now=NOW, back_off=SECOND, policy=POLICY)
    assert change.record.state is state
    assert change.record.uncertain is (state is State.NEEDS_ATTENTION)


@pytest.mark.parametrize(
    ("answer", "guarantee", "state", "job"),
    [
        (Cancellation.CANCELLED, Guarantee.LEDGER, State.CANCELLED, End()),
        (Cancellation.CANCELLED, Guarantee.UNIQUE_KEY, State.SUBMITTED, Due(NOW + QUIET)),
        (Cancellation.TOO_LATE, Guarantee.UNIQUE_KEY, State.NEEDS_ATTENTION, End()),
        (Cancellation.UNSUPPORTED, Guarantee.NONE, State.NEEDS_ATTENTION, End()),
        (Cancellation.UNKNOWN, Guarantee.UNIQUE_KEY, State.SUBMITTED, Due(NOW + QUIET)),
    ],
)
def test_each_answer_to_a_cancelling(answer: Cancellation, guarantee: Guarantee, state: State, job: object) -> None:
    """A cancelling ends at once only where nothing outside could differ."""
    before = record(State.SUBMITTED, cancelling="x", provider_order="o1")
    change = outcomes.after_cancel(before, answer, now=NOW, policy=replace(POLICY, guarantee=guarantee))
    assert (change.record.state, change.job) == (state, job)


def test_an_order_that_landed_after_the_cancelling_is_cancelled_as_well() -> None:
    """The second look finds what came late."""
    before = record(State.SUBMITTED, cancelling="x", cancel_sent=True, provider_order="o1")
    again = outcomes.after_cancel_look_up(before, [DEAD, replace(LIVE, id="o9")], now=NOW, policy=POLICY)
    ended = outcomes.after_cancel_look_up(before, [DEAD], now=NOW, policy=POLICY)
    assert (again.record.provider_order, again.record.cancel_sent, again.job) == ("o9", False, Due())
    assert ended.record.state is State.CANCELLED


@pytest.mark.parametrize("guarantee", list(Guarantee))
@pytest.mark.parametrize(
    ("state", "changes"),
    [
        (State.UNKNOWN, {"uncertain": True}),
        (State.SUBMITTED, {"cancelling": "x", "provider_order": "o1"}),
        (State.SUBMITTED, {"cancelling": "x", "provider_order": "o1", "cancel_sent": True}),
    ],
)
def test_another_provider_is_not_asked_about_the_order(
    state: State, changes: dict[str, object], guarantee: Guarantee
) -> None:
    """After PROVIDER has changed, the new one's "no such order" proves nothing: a person is told where to look."""
    policy = replace(POLICY, provider="other", guarantee=guarantee)
    change = decide(state, policy, deadline=NOW - timedelta(days=1), **changes)
    assert isinstance(change, Change)
    assert change.record.state is State.NEEDS_ATTENTION
    assert "PROVIDER is other by now" in change.record.why
