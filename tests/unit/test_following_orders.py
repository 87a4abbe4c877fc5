"""What comes next for an order that a provider has or may have: looks, polls, audits and the ways of a parcel."""

from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import replace

from rewardpost import transitions
from rewardpost.changes import Change, Due, End
from rewardpost.fulfilment import Fulfilment, Hold
from rewardpost.states import State
from worker import outcomes, shipping
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
from worker.shipping import Adopt, AskStatus, Dispatch, LookUp, Policy, Rest, Wait

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
DAY = timedelta(days=1)
QUIET = timedelta(seconds=30)
POLL = timedelta(minutes=15)
HOLD = Hold(source="ship_since", why="old")
POLICY = Policy(
    dispatch=True,
    ship_since=NOW - DAY,
    holds={},
    provider="fake",
    guarantee=Guarantee.UNIQUE_KEY,
    quiet_time=QUIET,
    watched_since=NOW - DAY,
    limit=3,
    poll=POLL,
)
RECORD = Fulfilment(
    reference="vfy-r_1",
    state=State.UNKNOWN,
    token=3,
    article="mug",
    redeemed_at=NOW,
    changed_at=NOW,
    provider="fake",
    attempts=1,
)
LIVE = Order(id="o1", reference="vfy-r_1")
DEAD = replace(LIVE, progress=Progress.CANCELLED)


def decide(state: State, policy: Policy = POLICY, **changes: object) -> object:
    """Return what comes next for a record in a state."""
    return shipping.next_action(replace(RECORD, state=state, **changes), now=NOW, policy=policy)


def looked_up(before: Fulfilment, *orders: Order) -> Change:
    """Return what a look-up makes of a record."""
    return outcomes.after_look_up(before, orders, now=NOW, back_off=SECOND, policy=POLICY)


def refused(**changes: object) -> Fulfilment:
    """Return a reward whose call was refused just now."""
    before = replace(RECORD, state=State.DISPATCHING, deadline=NOW + SECOND, **changes)
    change = outcomes.after_call(before, 3, Refused("no such article"), now=NOW, back_off=SECOND, policy=POLICY)
    assert change is not None
    return change.record


def test_a_refusal_is_believed_only_when_the_reference_is_absent() -> None:
    """It may be about an order that is there already, so it is looked for at once, and again after the quiet time."""
    record = refused()
    assert (record.state, record.refusal, record.uncertain) == (State.UNKNOWN, "no such article", True)
    assert shipping.next_action(record, now=NOW, policy=POLICY) == LookUp()

    waiting = looked_up(record).record
    assert waiting.state is State.UNKNOWN
    assert shipping.next_action(waiting, now=NOW + SECOND, policy=POLICY) == Wait(NOW + SECOND + QUIET)

    later = NOW + SECOND + QUIET
    assert shipping.next_action(waiting, now=later, policy=POLICY) == LookUp()
    end = outcomes.after_look_up(waiting, [], now=later, back_off=SECOND, policy=POLICY).record
    assert (end.state, end.why, end.uncertain) == (State.NEEDS_ATTENTION, "refused: no such article", False)
    assert end.refusal is None


def test_a_refusal_about_an_order_that_is_there_is_none() -> None:
    """What an earlier call has left there is ours."""
    change = looked_up(refused(), LIVE)
    assert (change.record.state, change.record.provider_order) == (State.SUBMITTED, "o1")
    assert change.record.refusal is None


def test_a_refusal_is_believed_at_once_where_nobody_can_be_asked() -> None:
    """A receiver without a look-up has said no, and that is all there is to know."""
    before = replace(RECORD, state=State.DISPATCHING)
    policy = replace(POLICY, guarantee=Guarantee.NONE)
    change = outcomes.after_call(before, 3, Refused("no"), now=NOW, back_off=SECOND, policy=policy)
    assert change is not None
    assert change.record.state is State.NEEDS_ATTENTION


@pytest.mark.parametrize(
    "other", [{"article": "cup"}, {"quantity": 2}, {"article": "mug", "quantity": 0}], ids=["article", "two", "none"]
)
def test_an_order_for_something_else_is_for_a_person(other: dict[str, object]) -> None:
    """Our reference with another content is no proof that the reward was sent."""
    assert looked_up(RECORD, replace(LIVE, **other)).record.state is State.NEEDS_ATTENTION
    assert looked_up(RECORD, replace(LIVE, article="mug", quantity=1)).record.state is State.SUBMITTED


def test_what_was_cancelled_meanwhile_ends_cancelled() -> None:
    """A reward that is to be cancelled wants nothing more than a cancelled order."""
    change = looked_up(replace(RECORD, cancelling="rolled back"), DEAD)
    assert (change.record.state, change.record.provider_order) == (State.CANCELLED, "o1")


def test_a_receiver_that_takes_a_reference_once_is_sent_it_again_after_the_quiet_time() -> None:
    """Its promise settles what cannot be looked up, until the attempts are spent."""
    policy = replace(POLICY, guarantee=Guarantee.IDEMPOTENT)
    assert decide(State.UNKNOWN, policy, deadline=NOW) == Wait(NOW + QUIET)
    assert decide(State.UNKNOWN, policy, deadline=NOW - QUIET) == Dispatch()
    spent = decide(State.UNKNOWN, policy, deadline=NOW - QUIET, spent=2, uncertain=True)
    assert isinstance(spent, Change)
    assert (spent.record.state, spent.record.uncertain) == (State.NEEDS_ATTENTION, True)
    held = replace(policy, holds={"everything": "stock-taking"})
    assert decide(State.UNKNOWN, held, deadline=NOW - QUIET) == Wait(NOW + MINUTE)


@pytest.mark.parametrize(
    ("outcome", "state", "uncertain"),
    [
        (Applied("o1"), State.SUBMITTED, False),
        (NotApplied("busy"), State.UNKNOWN, True),
        (Unknown("?"), State.UNKNOWN, True),
        (Refused("no"), State.NEEDS_ATTENTION, True),
    ],
)
def test_only_an_order_settles_what_was_sent_again(outcome: Outcome, state: State, *, uncertain: bool) -> None:
    """That the second call did not arrive says nothing of the first one."""
    policy = replace(POLICY, guarantee=Guarantee.IDEMPOTENT)
    begun = transitions.begin_dispatch(replace(RECORD, uncertain=True), "fake", deadline=NOW, now=NOW)
    assert [entry.after for entry in begun.entries] == [State.READY, State.DISPATCHING]
    assert (begun.record.spent, begun.record.uncertain) == (1, True)
    change = outcomes.after_call(begun.record, 4, outcome, now=NOW, back_off=SECOND, policy=policy)
    assert change is not None
    assert (change.record.state, change.record.uncertain) == (state, uncertain)


def test_what_is_to_be_cancelled_is_never_sent_again() -> None:
    """Where nobody can be asked, a person has to."""
    change = decide(State.UNKNOWN, replace(POLICY, guarantee=Guarantee.IDEMPOTENT), deadline=NOW - DAY, cancelling="x")
    assert isinstance(change, Change)
    assert change.record.state is State.NEEDS_ATTENTION


@pytest.mark.parametrize("guarantee", list(Guarantee))
def test_what_was_redeemed_before_is_looked_for_first(guarantee: Guarantee) -> None:
    """A ledger that was lost may have sent it: where the provider can be asked it is, else a person is."""
    policy = replace(POLICY, guarantee=guarantee)
    action = decide(State.READY, policy, redeemed_at=NOW - 2 * DAY, attempts=0)
    assert isinstance(action, Adopt) is guarantee.can_be_asked
    if isinstance(action, Change):
        assert action.record.hold is not None


def test_nothing_is_looked_for_in_a_shadow_run_and_but_once_after_a_release() -> None:
    """A shadow run makes no call at all; a person's release does not tell what an earlier ledger has sent."""
    shadow = decide(State.READY, replace(POLICY, dispatch=False), redeemed_at=NOW - 2 * DAY)
    assert isinstance(shadow, Change)
    assert shadow.record.hold is not None
    assert shadow.record.hold.source == "dispatch"
    old = {"redeemed_at": NOW - 2 * DAY, "released": True, "attempts": 0}
    assert decide(State.READY, POLICY, **old) == Adopt(None)
    assert decide(State.READY, POLICY, **old, looked=True) == Dispatch()
    assert decide(State.READY, replace(POLICY, guarantee=Guarantee.NONE), **old) == Dispatch()


@pytest.mark.parametrize(
    ("orders", "state", "held"),
    [
        ([], State.READY, True),
        ([LIVE], State.SUBMITTED, False),
        ([DEAD], State.NEEDS_ATTENTION, False),
        ([LIVE, replace(LIVE, id="o2")], State.NEEDS_ATTENTION, False),
        ([replace(LIVE, article="cup")], State.NEEDS_ATTENTION, False),
    ],
)
def test_the_first_look_adopts_or_holds(orders: list[Order], state: State, *, held: bool) -> None:
    """One live order is ours; none leaves the reward held; anything else is for a person."""
    before = replace(RECORD, state=State.READY, provider=None, attempts=0)
    change = outcomes.after_first_look(before, orders, HOLD, now=NOW, policy=POLICY)
    assert (change.record.state, change.record.hold is not None, change.record.attempts) == (state, held, 0)
    assert change.record.state is not State.SUBMITTED or change.record.provider == "fake"


@pytest.mark.parametrize(
    ("guarantee", "redeemed_at", "watched_since", "held"),
    [
        (Guarantee.LEDGER, NOW - MINUTE, NOW - DAY, False),
        (Guarantee.LEDGER, NOW - MINUTE, NOW, True),
        (Guarantee.LEDGER, NOW - MINUTE, None, True),
        (Guarantee.NONE, NOW - MINUTE, NOW, True),
        (Guarantee.IDEMPOTENT, NOW - MINUTE, NOW, False),
        (Guarantee.UNIQUE_KEY, NOW - MINUTE, NOW, False),
    ],
)
def test_what_an_audit_found_is_held_where_an_earlier_ledger_may_have_listed_it(
    guarantee: Guarantee, redeemed_at: datetime, watched_since: datetime | None, *, held: bool
) -> None:
    """Without anyone to ask, only a ledger that was watched all the time knows that it was never sent."""
    policy = replace(POLICY, guarantee=guarantee, watched_since=watched_since)
    action = decide(State.READY, policy, redeemed_at=redeemed_at, audited=True, attempts=0)
    assert (action in {Dispatch(), Adopt(None)}) is not held
    assert (action == Adopt(None)) is guarantee.can_be_asked
    if isinstance(action, Change):
        assert action.record.hold is not None
        assert action.record.hold.source == "audit"
    assert decide(State.READY, policy, redeemed_at=redeemed_at) == Dispatch()


@pytest.mark.parametrize("state", [State.SUBMITTED, State.SHIPPED])
def test_a_provider_that_can_say_is_asked_what_became_of_an_order(state: State) -> None:
    """Others are not, nor is one that is not ours any more."""
    assert decide(state, provider_order="o1") == AskStatus()
    assert decide(state, replace(POLICY, poll=None), provider_order="o1") == Rest()
    assert decide(state, replace(POLICY, provider="other"), provider_order="o1") == Rest()
    assert decide(state) == Rest()


@pytest.mark.parametrize(
    ("stood_still", "wait"),
    [(timedelta(), POLL), (8 * POLL, POLL), (16 * POLL, 2 * POLL), (30 * DAY, 24 * POLL)],
)
def test_older_orders_are_asked_about_less_often(stood_still: timedelta, wait: timedelta) -> None:
    """An eighth of the time without news, within bounds."""
    record = replace(RECORD, state=State.SUBMITTED, provider_order="o1", changed_at=NOW - stood_still)
    assert shipping.next_poll(record, now=NOW, policy=POLICY) == NOW + wait


def test_a_parcel_without_news_for_long_is_given_up() -> None:
    """Then SHIPPED is its end; one that was never sent is asked about for ever."""
    long_ago = NOW - shipping.POLL_LIMIT - DAY
    assert decide(State.SHIPPED, provider_order="o1", changed_at=long_ago) == Rest()
    assert decide(State.SUBMITTED, provider_order="o1", changed_at=long_ago) == AskStatus()


@pytest.mark.parametrize(
    ("state", "progress", "after"),
    [
        (State.SUBMITTED, Progress.OPEN, None),
        (State.SHIPPED, Progress.OPEN, None),
        (State.SHIPPED, Progress.SHIPPED, None),
        (State.SUBMITTED, Progress.SHIPPED, State.SHIPPED),
        (State.SUBMITTED, Progress.DELIVERED, State.DELIVERED),
        (State.SUBMITTED, Progress.RETURNED, State.RETURNED),
        (State.SUBMITTED, Progress.LOST, State.LOST),
        (State.SHIPPED, Progress.DELIVERED, State.DELIVERED),
        (State.SHIPPED, Progress.RETURNED, State.RETURNED),
        (State.SHIPPED, Progress.LOST, State.LOST),
        (State.SUBMITTED, Progress.CANCELLED, State.NEEDS_ATTENTION),
        (State.SHIPPED, Progress.CANCELLED, State.NEEDS_ATTENTION),
        (State.SUBMITTED, Progress.EXCEPTION, State.NEEDS_ATTENTION),
        (State.SHIPPED, Progress.EXCEPTION, State.NEEDS_ATTENTION),
    ],
)
def test_a_parcel_moves_forward_only(state: State, progress: Progress, after: State | None) -> None:
    """Each word of the provider leads along the diagram, or is no news."""
    before = replace(RECORD, state=state, provider_order="o1", tracking=("T1",) if state is State.SHIPPED else ())
    order = replace(LIVE, progress=progress, tracking=before.tracking)
    change = outcomes.after_status(before, order, now=NOW, policy=POLICY)
    assert (None if change is None else change.record.state) is after
    if change is not None:
        assert change.job == (Due(NOW + POLL) if after is State.SHIPPED else End())


def test_tracking_numbers_are_kept_and_added_to() -> None:
    """A second parcel's number stands beside the first one's."""
    before = replace(RECORD, state=State.SHIPPED, provider_order="o1", tracking=("T1",))
    order = replace(LIVE, progress=Progress.SHIPPED, tracking=("T2", "T1"))
    change = outcomes.after_status(before, order, now=NOW, policy=POLICY)
    assert change is not None
    assert (change.record.tracking, change.record.state) == (("T1", "T2"), State.SHIPPED)


@pytest.mark.parametrize("polled", [True, False])
def test_a_taken_order_is_asked_about_where_that_can_be_done(*, polled: bool) -> None:
    """The reward's own job comes again, or has ended."""
    policy = POLICY if polled else replace(POLICY, poll=None)
    before = replace(RECORD, state=State.DISPATCHING)
    change = outcomes.after_call(before, 3, Applied("o1"), now=NOW, back_off=SECOND, policy=policy)
    assert change is not None
    assert change.job == (Due(NOW + POLL) if polled else End())


@pytest.mark.parametrize("answer", [Cancellation.UNKNOWN, Cancellation.CANCELLED])
def test_a_cancelling_is_looked_at_again_and_at_last_given_to_a_person(answer: Cancellation) -> None:
    """Whatever the provider says, only a look shows that nothing is left; an order that comes back has an end too."""
    before = replace(RECORD, state=State.SUBMITTED, cancelling="x", provider_order="o1")
    sent = outcomes.after_cancel(before, answer, now=NOW, policy=POLICY).record
    assert (sent.cancel_sent, sent.due, sent.spent) == (True, NOW + QUIET, 1)
    assert shipping.next_action(sent, now=NOW + QUIET, policy=POLICY) == LookUp()
    spent = outcomes.after_cancel(replace(before, spent=2), answer, now=NOW, policy=POLICY).record
    ended = outcomes.after_cancel_look_up(spent, [], now=NOW, policy=POLICY).record
    in_vain = outcomes.after_cancel_look_up(spent, [LIVE], now=NOW, policy=POLICY).record
    assert (ended.state, in_vain.state) == (State.CANCELLED, State.NEEDS_ATTENTION)


@pytest.mark.parametrize(
    ("progress", "state"),
    [
        (Progress.OPEN, State.SUBMITTED),
        (Progress.EXCEPTION, State.SUBMITTED),
        (Progress.SHIPPED, State.NEEDS_ATTENTION),
        (Progress.DELIVERED, State.NEEDS_ATTENTION),
        (Progress.CANCELLED, State.CANCELLED),
    ],
)
def test_what_left_before_it_could_be_cancelled_is_for_a_person(progress: Progress, state: State) -> None:
    """What has not left is cancelled once more."""
    before = replace(RECORD, state=State.SUBMITTED, cancelling="x", cancel_sent=True, provider_order="o1")
    change = outcomes.after_cancel_look_up(before, [replace(LIVE, progress=progress)], now=NOW, policy=POLICY)
    assert change.record.state is state


@pytest.mark.parametrize(
    ("asked_for", "wait"),
    [(timedelta(), 5 * SECOND), (MINUTE, 15 * SECOND), (timedelta(hours=1), 15 * MINUTE), (DAY, 15 * MINUTE)],
)
def test_a_provider_that_cannot_tell_is_asked_less_and_less_often(asked_for: timedelta, wait: timedelta) -> None:
    """A quarter of the time in vain, within bounds."""
    assert shipping.next_look(NOW - asked_for, now=NOW) == NOW + wait


def test_an_unknown_outcome_names_no_refusal() -> None:
    """Only an answer that said no is one."""
    before = replace(RECORD, state=State.DISPATCHING)
    change = outcomes.after_call(before, 3, Unknown("?"), now=NOW, back_off=SECOND, policy=POLICY)
    assert change is not None
    assert change.record.refusal is None


@pytest.mark.parametrize("guarantee", [Guarantee.UNIQUE_KEY, Guarantee.LOOK_UP])
def test_what_a_person_has_tried_again_is_looked_for_before_it_is_sent(guarantee: Guarantee) -> None:
    """After the quiet time; what is found is taken over, and what is not is sent."""
    policy = replace(POLICY, guarantee=guarantee)
    assert decide(State.READY, policy, uncertain=True, deadline=NOW) == Wait(NOW + QUIET)
    assert decide(State.READY, policy, uncertain=True) == LookUp()
    ready = replace(RECORD, state=State.READY, uncertain=True)
    found, absent = looked_up(ready, LIVE).record, looked_up(ready).record
    assert (found.state, found.provider_order, found.uncertain) == (State.SUBMITTED, "o1", False)
    assert (absent.state, absent.uncertain) == (State.READY, False)
    assert looked_up(ready, DEAD).record.state is State.NEEDS_ATTENTION


def test_a_person_decides_what_nobody_can_be_asked() -> None:
    """Their word stands for the look."""
    change = decide(State.READY, replace(POLICY, guarantee=Guarantee.NONE), uncertain=True)
    assert isinstance(change, Change)
    assert (change.record.state, change.record.uncertain) == (State.READY, False)
    assert decide(State.READY, replace(POLICY, guarantee=Guarantee.IDEMPOTENT), uncertain=True) == Dispatch()


def test_a_rollback_never_ends_what_may_have_been_sent() -> None:
    """It is looked for and cancelled, or a person is told."""
    asked = transitions.roll_back(replace(RECORD, state=State.READY, uncertain=True), now=NOW)
    assert asked is not None
    assert (asked.record.state, asked.job) == (State.READY, Due())
    assert shipping.next_action(asked.record, now=NOW, policy=POLICY) == LookUp()
    told = shipping.next_action(asked.record, now=NOW, policy=replace(POLICY, guarantee=Guarantee.NONE))
    assert isinstance(told, Change)
    assert told.record.state is State.NEEDS_ATTENTION
    absent = looked_up(asked.record).record
    ended = shipping.next_action(absent, now=NOW, policy=POLICY)
    assert isinstance(ended, Change)
    assert ended.record.state is State.CANCELLED


@pytest.mark.parametrize("orders", [[replace(DEAD, id="o0"), LIVE], [LIVE, replace(DEAD, id="o2")]])
def test_the_live_order_is_taken_over_wherever_a_cancelled_one_stands(orders: list[Order]) -> None:
    """A provider that frees a reference by cancelling has both."""
    ready = replace(RECORD, state=State.READY, uncertain=True)
    tried_again = looked_up(ready, *orders).record
    from_before = outcomes.after_first_look(ready, orders, HOLD, now=NOW, policy=POLICY).record
    assert (tried_again.provider_order, from_before.provider_order) == ("o1", "o1")
