"""The states of a fulfilment and the edges between them, as pure data and pure questions.

Cancelling and hold are flags beside the state: they stop a dispatch, whatever the state is.
"""

from collections.abc import Mapping
from enum import StrEnum


class State(StrEnum):
    """How far the fulfilment of one reward has come; the values stand in Redis, in JSON and in metrics."""

    RECEIVED = "received"
    NOT_APPLICABLE = "not_applicable"
    NEEDS_ADDRESS = "needs_address"
    READY = "ready"
    DISPATCHING = "dispatching"
    UNKNOWN = "unknown"
    SUBMITTED = "submitted"
    SHIPPED = "shipped"
    DELIVERED = "delivered"
    RETURNED = "returned"
    LOST = "lost"
    CANCELLED = "cancelled"
    NEEDS_ATTENTION = "needs_attention"
    DISCARDED = "discarded"
    TOMBSTONE = "tombstone"


class Flag(StrEnum):
    """What stands beside a state; each flag carries a reason."""

    CANCELLING = "cancelling"
    HOLD = "hold"


class IllegalTransition(Exception):  # noqa: N818 - named after what it is, not that it is an error
    """A change of state that the diagram does not have; a fault in the program, never in the data."""


_S = State

EDGES: Mapping[State | None, frozenset[State]] = {
    # None is "no record yet": a reward is received, or its rollback came first.
    None: frozenset({_S.RECEIVED, _S.TOMBSTONE}),
    _S.RECEIVED: frozenset(
        {_S.NOT_APPLICABLE, _S.NEEDS_ADDRESS, _S.READY, _S.NEEDS_ATTENTION, _S.CANCELLED},
    ),
    _S.NEEDS_ADDRESS: frozenset({_S.READY, _S.NEEDS_ATTENTION, _S.CANCELLED}),
    _S.READY: frozenset({_S.DISPATCHING, _S.NEEDS_ATTENTION, _S.CANCELLED}),
    _S.DISPATCHING: frozenset({_S.SUBMITTED, _S.READY, _S.UNKNOWN, _S.NEEDS_ATTENTION}),
    _S.UNKNOWN: frozenset({_S.SUBMITTED, _S.READY, _S.NEEDS_ATTENTION}),
    _S.SUBMITTED: frozenset({_S.SHIPPED, _S.DELIVERED, _S.CANCELLED, _S.NEEDS_ATTENTION}),
    _S.SHIPPED: frozenset({_S.DELIVERED, _S.RETURNED, _S.LOST, _S.NEEDS_ATTENTION}),
    _S.NEEDS_ATTENTION: frozenset(
        {_S.READY, _S.SUBMITTED, _S.SHIPPED, _S.CANCELLED, _S.DISCARDED, _S.NEEDS_ADDRESS},
    ),
    _S.CANCELLED: frozenset(),
    _S.DISCARDED: frozenset(),
    _S.NOT_APPLICABLE: frozenset(),
    _S.DELIVERED: frozenset(),
    _S.RETURNED: frozenset(),
    _S.LOST: frozenset(),
    _S.TOMBSTONE: frozenset(),
}
"""Every edge there is. There is none from DISPATCHING back to READY on a crash or a time-out: only an
answer that proves "not applied" takes it. The edges into CANCELLED from states before the first call need the
cancelling flag; a READY reward whose attempts are spent goes to NEEDS_ATTENTION."""

ENDS = frozenset(state for state, targets in EDGES.items() if state is not None and not targets)
"""States that nothing leaves."""

SETTLED = ENDS | {State.SHIPPED}
"""States in which the parcel needs nothing more from us; personal data starts to expire here, since not every
provider can report a delivery."""

BEFORE_DISPATCH = frozenset({State.RECEIVED, State.NEEDS_ADDRESS, State.READY})
"""States in which no provider can hold an order, so that cancelling needs no call."""


def check(before: State | None, after: State) -> None:
    """Raise `IllegalTransition` unless the diagram has this edge."""
    if after not in EDGES[before]:
        raise IllegalTransition(f"no edge from {before} to {after}")
