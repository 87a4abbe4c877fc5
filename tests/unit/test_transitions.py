"""What webhooks, workers and providers make of a record, and the lines that the journal gets for it."""

from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import replace

from rewardpost import transitions
from rewardpost.addresses import PostalAddress
from rewardpost.changes import Change, Due, End, Keep
from rewardpost.fulfilment import Fulfilment, Hold, Opening, Personal
from rewardpost.states import ENDS, IllegalTransition, State

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
LATER = NOW + timedelta(minutes=1)
RECORD = Fulfilment(reference="vfy-r_1", state=State.READY, article="mug", token=3, attempts=2, spent=1)
OPENING = Opening(
    reference="vfy-r_1",
    redemption="r_1",
    customer="cust_1",
    kind="material",
    article="mug",
    article_name="Mug",
    redeemed_at=NOW,
    received_at=NOW,
    personal=Personal(name="Tess"),
    state=State.RECEIVED,
    why="a mug",
)


def record(state: State, **changes: object) -> Fulfilment:
    """Return a record in a state."""
    return replace(RECORD, state=state, **changes)


def moves(change: Change) -> list[tuple[State | None, State]]:
    """Return the moves that the journal gets."""
    return [(entry.before, entry.after) for entry in change.entries]


@pytest.mark.parametrize(
    ("state", "expected", "job"),
    [
        (State.RECEIVED, [(None, State.RECEIVED)], Due()),
        (State.NOT_APPLICABLE, [(None, State.RECEIVED), (State.RECEIVED, State.NOT_APPLICABLE)], End()),
        (State.NEEDS_ATTENTION, [(None, State.RECEIVED), (State.RECEIVED, State.NEEDS_ATTENTION)], End()),
    ],
)
def test_a_reward_opens_where_its_event_says(
    state: State, expected: list[tuple[State | None, State]], job: object
) -> None:
    """What is to be shipped gets a job at once; the journal begins with the reward in any case."""
    change = transitions.receive(replace(OPENING, state=state), now=NOW)
    assert (change.record.state, moves(change), change.job) == (state, expected, job)
    assert (change.personal, change.record.why) == (OPENING.personal, "a mug")


def test_a_record_holds_nothing_personal() -> None:
    """Name, address and the shop's own id go into a key of their own."""
    change = transitions.receive(OPENING, now=NOW)
    assert "Tess" not in repr(change.record)
    assert "Tess" not in repr(change)


def test_a_reward_can_only_be_opened_into_the_diagram() -> None:
    """A start that the diagram does not have is a fault of the program."""
    with pytest.raises(IllegalTransition):
        transitions.receive(replace(OPENING, state=State.SUBMITTED), now=NOW)


def test_a_rollback_that_comes_first_leaves_a_tombstone() -> None:
    """It names the redemption, and no job follows."""
    change = transitions.roll_back_unknown("vfy-r_1", "r_1", now=NOW)
    assert (change.record.state, change.record.redemption, change.job) == (State.TOMBSTONE, "r_1", End())
    assert moves(change) == [(None, State.TOMBSTONE)]


@pytest.mark.parametrize("state", sorted(set(State) - ENDS))
def test_a_second_rollback_changes_nothing(state: State) -> None:
    """What is being cancelled already is not cancelled again."""
    assert transitions.roll_back(record(state, cancelling="rolled back"), now=NOW) is None


@pytest.mark.parametrize("state", [State.RECEIVED, State.NEEDS_ADDRESS, State.READY])
def test_a_rollback_before_the_first_call_ends_it(state: State) -> None:
    """Nobody has to be asked; a hold goes with it."""
    change = transitions.roll_back(record(state, hold=Hold(source="reward", why="x")), now=NOW)
    assert change is not None
    assert (change.record.state, change.record.hold, change.job) == (State.CANCELLED, None, End())
    assert change.entries[-1].by == "voucherify"


@pytest.mark.parametrize("state", [State.DISPATCHING, State.UNKNOWN, State.SUBMITTED])
def test_a_rollback_during_or_after_a_call_is_left_to_the_job(state: State) -> None:
    """The state stays, so that the order's id is not lost, and the job runs now."""
    change = transitions.roll_back(record(state, provider_order="o1"), now=NOW)
    assert change is not None
    assert (change.record.state, change.record.provider_order, change.job) == (state, "o1", Due())
    assert change.record.flags == {"cancelling": "rolled back at Voucherify"}


def test_the_call_is_recorded_before_it_is_made() -> None:
    """With a new token and its deadline; no token is ever given twice."""
    begun = transitions.begin_dispatch(RECORD, "karrio", deadline=LATER, now=NOW).record
    assert (begun.state, begun.provider, begun.deadline) == (State.DISPATCHING, "karrio", LATER)
    assert (begun.token, begun.attempts) == (RECORD.token + 1, RECORD.attempts + 1)
    assert transitions.outcome_unknown(begun, "reset", now=NOW).record.token == begun.token + 1


def test_a_packing_list_is_never_between_two_states() -> None:
    """Both moves are one change, so no crash can come between them."""
    change = transitions.submit_at_once(RECORD, "manual", "vfy-r_1", now=NOW)
    assert moves(change) == [(State.READY, State.DISPATCHING), (State.DISPATCHING, State.SUBMITTED)]
    assert (change.record.provider_order, change.record.deadline, change.job) == ("vfy-r_1", None, End())


@pytest.mark.parametrize(("by", "job"), [("worker", Keep()), ("tess", Due())])
def test_an_address_makes_it_ready(by: str, job: object) -> None:
    """A worker that found it goes on; a person's word wakes a worker."""
    personal = Personal(address=PostalAddress(name="Tess", line_1="A 1", city="B", country="GI"))
    change = transitions.address_found(record(State.NEEDS_ADDRESS), personal, by=by, now=NOW)
    assert (change.record.state, change.job, change.personal) == (State.READY, job, personal)


def test_an_address_that_is_still_missing_moves_nothing() -> None:
    """A second look that finds none is noted, and the reason kept up to date."""
    change = transitions.address_wanted(record(State.NEEDS_ADDRESS), "address incomplete", now=NOW)
    assert moves(change) == [(State.NEEDS_ADDRESS, State.NEEDS_ADDRESS)]
    assert change.record.why == "address incomplete"


@pytest.mark.parametrize(("spends", "spent"), [(True, 2), (False, 1)])
def test_what_was_certainly_not_applied_is_ready_again(*, spends: bool, spent: int) -> None:
    """It waits for its time; only a fault of the order spends an attempt."""
    change = transitions.not_applied(
        record(State.DISPATCHING, deadline=LATER), "busy", due=LATER, spends=spends, limit=9, now=NOW
    )
    after = change.record
    assert (after.state, after.due, after.spent, after.deadline) == (State.READY, LATER, spent, None)
    assert change.job == Due(LATER)


def test_the_request_of_an_answer_stands_in_the_journal() -> None:
    """The provider's support asks for it."""
    change = transitions.refused(record(State.DISPATCHING), "no such article", now=NOW, request="req-1")
    assert (change.entries[0].request, change.entries[0].attempt) == ("req-1", RECORD.attempts)


@pytest.mark.parametrize(
    ("state", "before", "after"),
    [(State.DISPATCHING, False, True), (State.UNKNOWN, True, True), (State.READY, False, False)],
)
def test_a_person_is_told_whether_a_call_is_open(state: State, *, before: bool, after: bool) -> None:
    """A call that was under way when the work was set aside counts as one whose outcome nobody knows."""
    change = transitions.wants_attention(record(state, uncertain=before), "12 attempts failed", now=NOW)
    assert (change.record.state, change.record.uncertain) == (State.NEEDS_ATTENTION, after)


def test_a_move_forgets_the_time_that_was_waited_for() -> None:
    """A back-off belongs to the state in which it began; a note leaves it."""
    waiting = transitions.wait(record(State.SUBMITTED), LATER, "not yet", now=NOW)
    assert (waiting.record.due, waiting.job) == (LATER, Due(LATER))
    assert transitions.order_cancelled(waiting.record, now=NOW).record.due is None
