"""What a person can do to a reward, state by state, and what is refused."""

from datetime import UTC, datetime

import pytest
from msgspec.structs import replace

from rewardpost import interventions, transitions
from rewardpost.addresses import PostalAddress
from rewardpost.changes import Due, End, Keep
from rewardpost.fulfilment import Fulfilment, Hold, Personal
from rewardpost.interventions import Refused
from rewardpost.states import ENDS, State

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
ADDRESS = PostalAddress(name="Tess", line_1="Probestrasse 7", city="Musterstadt", country="DE")
RECORD = Fulfilment(reference="vfy-r_1", state=State.READY, article="mug")


def record(state: State, **changes: object) -> Fulfilment:
    """Return a record in a state."""
    return replace(RECORD, state=state, **changes)


@pytest.mark.parametrize("state", sorted(set(State) - {State.SUBMITTED, State.NEEDS_ATTENTION}))
def test_only_what_is_submitted_or_looked_at_can_be_shipped(state: State) -> None:
    """A tracking number for anything else is refused, and the message says what would be accepted."""
    with pytest.raises(Refused, match="submitted"):
        interventions.shipped(record(state), "", by="tess", now=NOW)


def test_shipping_keeps_all_tracking_numbers() -> None:
    """A second parcel's number is added to the first."""
    first = interventions.shipped(record(State.SUBMITTED), "A1", by="tess", now=NOW).record
    second = interventions.shipped(first, "B2", by="tess", now=NOW).record
    assert (second.state, second.tracking) == (State.SHIPPED, ("A1", "B2"))


def test_what_is_being_cancelled_is_not_shipped() -> None:
    """A rollback that is under way keeps the packer from sending it."""
    with pytest.raises(Refused, match="cancelled"):
        interventions.shipped(record(State.SUBMITTED, cancelling="x"), "A1", by="tess", now=NOW)


def test_an_address_sends_the_reward_on_its_way() -> None:
    """The reward that waited for it becomes ready, with the address as its snapshot."""
    change = interventions.set_address(record(State.NEEDS_ADDRESS), Personal(), ADDRESS, by="tess", now=NOW)
    assert change.personal is not None
    assert (change.record.state, change.job, change.personal.address) == (State.READY, Due(), ADDRESS)


def test_an_address_does_not_send_what_may_have_been_sent() -> None:
    """While a call's outcome is open, an address must not lead to a second parcel."""
    with pytest.raises(Refused, match="settled first"):
        interventions.set_address(
            record(State.NEEDS_ATTENTION, uncertain=True), Personal(), ADDRESS, by="tess", now=NOW
        )


@pytest.mark.parametrize(("has_address", "state"), [(True, State.READY), (False, State.NEEDS_ADDRESS)])
def test_retry_takes_up_what_needs_attention(*, has_address: bool, state: State) -> None:
    """It goes on where it can, with its attempts unspent, under the same reference."""
    before = record(State.NEEDS_ATTENTION, spent=12, uncertain=True, generation=2)
    change = interventions.retry(before, has_address=has_address, by="tess", now=NOW)
    assert (change.record.state, change.record.spent, change.job) == (state, 0, Due())
    assert change.record.provider_reference == before.provider_reference


@pytest.mark.parametrize("state", sorted(ENDS | {State.SUBMITTED, State.SHIPPED, State.DISPATCHING}))
def test_retry_refuses_what_has_been_sent_or_ended(state: State) -> None:
    """There is nothing to try again."""
    with pytest.raises(Refused):
        interventions.retry(record(state), has_address=True, by="tess", now=NOW)


def test_nothing_is_sent_again_while_it_is_to_be_cancelled() -> None:
    """A person has to take the cancelling back, or to end it."""
    before = record(State.NEEDS_ATTENTION, cancelling="rolled back")
    with pytest.raises(Refused):
        interventions.retry(before, has_address=True, by="tess", now=NOW)
    with pytest.raises(Refused):
        interventions.set_address(before, Personal(), ADDRESS, by="tess", now=NOW)


def test_an_order_that_stands_is_followed_again_and_never_sent_again() -> None:
    """A provider without a unique key would take a second order for the same reward."""
    before = record(State.NEEDS_ATTENTION, provider_order="o1")
    change = interventions.retry(before, has_address=True, by="tess", now=NOW)
    assert (change.record.state, change.record.provider_order, change.job) == (State.SUBMITTED, "o1", Due())
    with pytest.raises(Refused):
        interventions.set_address(before, Personal(), ADDRESS, by="tess", now=NOW)


def test_a_retry_forgets_nothing_that_is_unknown() -> None:
    """What may have been sent is looked for first, and not before the quiet time is over."""
    before = record(State.NEEDS_ATTENTION, uncertain=True, deadline=NOW)
    change = interventions.retry(before, has_address=True, by="tess", now=NOW)
    assert (change.record.uncertain, change.record.deadline) == (True, NOW)


def test_retry_refuses_a_reward_without_an_article() -> None:
    """Nobody knows what to send."""
    with pytest.raises(Refused, match="article"):
        interventions.retry(record(State.NEEDS_ATTENTION, article=None), has_address=True, by="tess", now=NOW)


@pytest.mark.parametrize("state", sorted(set(State) - ENDS - {State.SHIPPED}))
def test_cancel_is_possible_until_it_has_left(state: State) -> None:
    """Before a call and on a person's own word at once, otherwise as a flag that the job carries out."""
    change = interventions.cancel(record(state), "changed mind", by="tess", now=NOW)
    flagged = state in {State.DISPATCHING, State.UNKNOWN, State.SUBMITTED}
    assert change.record.state is (state if flagged else State.CANCELLED)
    assert change.record.cancelling == "changed mind"
    assert change.job == (Due() if flagged else End())


@pytest.mark.parametrize("state", sorted(ENDS | {State.SHIPPED}))
def test_cancel_is_refused_when_it_is_too_late(state: State) -> None:
    """What has left or ended cannot be cancelled."""
    with pytest.raises(Refused):
        interventions.cancel(record(state), "x", by="tess", now=NOW)


def test_discard_closes_what_needs_attention_only() -> None:
    """Everything else has another way."""
    assert interventions.discard(record(State.NEEDS_ATTENTION), "x", by="tess", now=NOW).record.state == "discarded"
    with pytest.raises(Refused):
        interventions.discard(record(State.READY), "x", by="tess", now=NOW)


def test_release_undoes_a_hold_and_nothing_else() -> None:
    """The hold goes, the reward runs again; what is not held is refused."""
    held = interventions.hold(record(State.READY), "wait", by="tess", now=NOW).record
    released = interventions.release(held, "go", by="tess", now=NOW, for_good=True)
    assert held.hold == Hold(source="reward", why="wait")
    assert (released.record.hold, released.record.released, released.job) == (None, True, Due())
    with pytest.raises(Refused):
        interventions.release(released.record, "go", by="tess", now=NOW, for_good=True)


@pytest.mark.parametrize("state", sorted(ENDS))
def test_a_rollback_leaves_what_has_ended(state: State) -> None:
    """Nothing is left to cancel."""
    assert transitions.roll_back(record(state), now=NOW) is None


def test_a_rollback_that_is_too_late_is_told() -> None:
    """The parcel has left: the state stays, and the flag and the journal say so."""
    change = transitions.roll_back(record(State.SHIPPED), now=NOW)
    assert change is not None
    assert (change.record.state, "too late" in change.entries[0].why) == (State.SHIPPED, True)
    assert "cancelling" in change.record.flags


@pytest.mark.parametrize("ask", ["rollback", "operator"])
def test_an_order_that_is_known_is_cancelled_at_the_provider(ask: str) -> None:
    """The reward's job does it; once that was in vain, the person has the last word."""
    before = record(State.NEEDS_ATTENTION, provider_order="o1", spent=5, cancel_sent=True)
    if ask == "rollback":
        change = transitions.roll_back(before, now=NOW)
        assert change is not None
    else:
        change = interventions.cancel(before, "no", by="tess", now=NOW)
    assert (change.record.state, change.record.spent, change.job) == (State.SUBMITTED, 0, Due())
    assert (change.record.cancelling is not None, change.record.cancel_sent) == (True, False)
    in_vain = replace(change.record, state=State.NEEDS_ATTENTION)
    assert interventions.cancel(in_vain, "no", by="tess", now=NOW).record.state is State.CANCELLED


def test_a_rollback_of_what_the_provider_may_hold_stays_with_the_person() -> None:
    """It is not closed behind the person's back while an order may exist."""
    change = transitions.roll_back(record(State.NEEDS_ATTENTION, uncertain=True), now=NOW)
    assert change is not None
    assert change.record.state is State.NEEDS_ATTENTION


@pytest.mark.parametrize(("state", "job"), [(State.SUBMITTED, Keep()), (State.NEEDS_ATTENTION, Due())])
def test_what_a_person_calls_shipped_is_followed_on(state: State, job: object) -> None:
    """The job that asks what becomes of the parcel stays, or is made."""
    change = interventions.shipped(record(state), "T1", by="tess", now=NOW)
    assert (change.record.state, change.job) == (State.SHIPPED, job)


def test_a_rollback_that_comes_too_late_leaves_the_parcel_followed() -> None:
    """A person sees the flag; the job that asks what becomes of the parcel stays."""
    change = transitions.roll_back(record(State.SHIPPED), now=NOW)
    assert change is not None
    assert (change.record.state, change.record.cancelling, change.job) == (
        State.SHIPPED,
        "rolled back at Voucherify",
        Keep(),
    )
