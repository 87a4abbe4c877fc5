"""The diagram of states: whole, and with none of the edges that would cost a parcel or send two."""

import pytest

from rewardpost import states
from rewardpost.states import BEFORE_DISPATCH, EDGES, ENDS, SETTLED, IllegalTransition, State

FIRST = [State.RECEIVED, State.TOMBSTONE]


def reachable(*starts: State) -> set[State]:
    """Return all states that can be come to from these."""
    found, waiting = set(starts), list(starts)
    while waiting:
        new = EDGES[waiting.pop()] - found
        found |= new
        waiting += new
    return found


def test_every_state_has_a_place() -> None:
    """Each one has its edges written down, even where there are none."""
    assert EDGES.keys() == {None, *State}


def test_the_ends_are_those_of_the_diagram() -> None:
    """Nothing leaves them, and a shipped parcel is settled without being one."""
    names = {"cancelled", "discarded", "not_applicable", "delivered", "returned", "lost", "tombstone"}
    assert names == ENDS
    assert {State.SHIPPED} == SETTLED - ENDS


def test_a_reward_begins_received_or_as_a_tombstone() -> None:
    """There is no other way into the ledger, and each state can be come to from there."""
    assert EDGES[None] == set(FIRST)
    assert reachable(*FIRST) == set(State)


@pytest.mark.parametrize("state", sorted(set(State) - ENDS))
def test_nothing_is_stuck(state: State) -> None:
    """From every state that is no end there is a way to one."""
    assert reachable(state) & ENDS


@pytest.mark.parametrize("state", sorted(set(State) - {State.READY}))
def test_only_what_is_ready_is_dispatched(state: State) -> None:
    """No other state leads to a call."""
    assert State.DISPATCHING not in EDGES[state]


@pytest.mark.parametrize("state", sorted(BEFORE_DISPATCH))
def test_before_the_first_call_nothing_can_be_submitted(state: State) -> None:
    """What no provider was asked for, no provider has."""
    assert not EDGES[state] & {State.SUBMITTED, State.SHIPPED, State.UNKNOWN}


@pytest.mark.parametrize("state", [State.DISPATCHING, State.UNKNOWN])
def test_an_open_call_is_never_cancelled(state: State) -> None:
    """It settles first, so that the order's id is not lost."""
    assert State.CANCELLED not in EDGES[state]


@pytest.mark.parametrize("before", [None, *State])
@pytest.mark.parametrize("after", list(State))
def test_the_check_knows_the_diagram_and_nothing_else(before: State | None, after: State) -> None:
    """A move along an edge passes; any other is a fault of the program and names both ends."""
    if after in EDGES[before]:
        states.check(before, after)
    else:
        with pytest.raises(IllegalTransition, match=f"from {before} to {after}"):
            states.check(before, after)
