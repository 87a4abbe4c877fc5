"""What a provider's orders for one reward say against what the ledger knows of it."""

from datetime import UTC, datetime

import msgspec
import pytest

from rewardpost.findings import Known
from rewardpost.fulfilment import Fulfilment, Hold
from rewardpost.states import ENDS, State
from worker.providers.protocol import Guarantee, Order, Progress
from worker.reconcilers.orders import (
    ORDER_FOR_ENDED,
    TWO_ORDERS,
    UNKNOWN_ORDER,
    UNRECORDED_ORDER,
    attention,
    is_suspicious,
    judge,
)

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
REFERENCE = "vfy-r_1"
HOLD = Hold(source="reward", why="look first")


def order(id_: str = "o1", progress: Progress = Progress.OPEN, *, generation: int = 1) -> Order:
    """Return an order of the reward's."""
    reference = REFERENCE if generation == 1 else f"{REFERENCE}-g{generation}"
    return Order(id=id_, reference=reference, progress=progress)


def known(state: State = State.SUBMITTED, **changes: object) -> Known:
    """Return a reward that has been sent once, as the ledger knows it."""
    sent = Fulfilment(reference=REFERENCE, state=state, attempts=1, provider="fake", provider_order="o1")
    return Known(record=msgspec.structs.replace(sent, **changes))


def never_sent(state: State, **changes: object) -> Known:
    """Return a reward for which no call was ever recorded."""
    return known(state, **{"attempts": 0, "provider": None, "provider_order": None, **changes})


def kind(known: Known, *orders: Order, guarantee: Guarantee = Guarantee.LOOK_UP) -> str | None:
    """Return the kind of what is found."""
    finding = judge(REFERENCE, orders, known, provider="fake", guarantee=guarantee)
    return finding.kind if finding is not None else None


CANCELLED = order("o9", Progress.CANCELLED)
AUDITED = {"audited": True}


@pytest.mark.parametrize(
    ("found", "orders", "expected"),
    [
        (known(), [order()], None),
        (known(State.DELIVERED), [order(progress=Progress.DELIVERED)], None),
        (Known(done=State.DELIVERED), [order(progress=Progress.DELIVERED)], None),
        (known(), [order(), CANCELLED], None),
        (Known(), [CANCELLED], None),
        (Known(), [order()], UNKNOWN_ORDER),
        (Known(), [order(progress=Progress.SHIPPED)], UNKNOWN_ORDER),
        (known(State.CANCELLED), [CANCELLED], None),
        (known(State.CANCELLED), [order()], ORDER_FOR_ENDED),
        (known(State.DISCARDED), [order(progress=Progress.EXCEPTION)], ORDER_FOR_ENDED),
        (known(State.NOT_APPLICABLE), [order(progress=Progress.SHIPPED)], ORDER_FOR_ENDED),
        (Known(done=State.TOMBSTONE), [order()], ORDER_FOR_ENDED),
        (known(State.CANCELLED), [order(progress=Progress.RETURNED)], None),
        (known(), [order(), order("o2")], TWO_ORDERS),
        (known(), [order(progress=Progress.DELIVERED), order("o2")], TWO_ORDERS),
        (Known(done=State.DELIVERED), [order(), order("o2")], TWO_ORDERS),
        (known(), [order(), order("o2", generation=2)], TWO_ORDERS),
        (known(), [order(progress=Progress.LOST), order("o2", generation=2)], None),
        (known(), [order(progress=Progress.SHIPPED), order("o2", generation=2)], None),
        (known(), [CANCELLED, order("o2", generation=2)], None),
        (known(State.READY), [order()], None),
        (never_sent(State.READY), [order()], UNRECORDED_ORDER),
        (never_sent(State.RECEIVED), [order()], UNRECORDED_ORDER),
        (never_sent(State.NEEDS_ADDRESS), [order()], UNRECORDED_ORDER),
        (never_sent(State.NEEDS_ATTENTION), [order()], None),
        (never_sent(State.READY), [CANCELLED], None),
    ],
)
def test_what_orders_say(found: Known, orders: list[Order], expected: str | None) -> None:
    """Each kind of finding, and what is none."""
    assert kind(found, *orders) == expected


@pytest.mark.parametrize(
    ("found", "guarantee", "expected"),
    [
        (never_sent(State.READY, **AUDITED), Guarantee.UNIQUE_KEY, None),
        (never_sent(State.RECEIVED, **AUDITED), Guarantee.UNIQUE_KEY, None),
        (never_sent(State.READY, **AUDITED), Guarantee.LOOK_UP, None),
        (never_sent(State.READY, hold=HOLD, **AUDITED), Guarantee.UNIQUE_KEY, UNRECORDED_ORDER),
        (never_sent(State.NEEDS_ADDRESS, **AUDITED), Guarantee.UNIQUE_KEY, UNRECORDED_ORDER),
        (never_sent(State.READY), Guarantee.UNIQUE_KEY, UNRECORDED_ORDER),
    ],
)
def test_a_reward_that_will_find_its_order_by_itself_is_let_alone(
    found: Known, guarantee: Guarantee, expected: str | None
) -> None:
    """After a lost ledger its order is looked for before anything is sent, unless it is held or lacks an address."""
    assert kind(found, order(), guarantee=guarantee) == expected


def test_a_finding_is_the_same_in_each_run() -> None:
    """Whatever the orders have come to meanwhile; two other orders are another one."""
    open_, shipped, other = (
        judge(REFERENCE, orders, known(), provider="fake", guarantee=Guarantee.LOOK_UP)
        for orders in (
            [order(), order("o2")],
            [order("o2", Progress.SHIPPED), order()],
            [order(), order("o3")],
        )
    )
    assert open_ is not None
    assert shipped is not None
    assert other is not None
    assert open_.id == shipped.id != other.id
    assert "o1" in open_.what
    assert "o2" in open_.what


def test_another_order_than_the_ledger_has_is_suspicious() -> None:
    """Only at the provider that has it, and only one of the same generation that lives."""
    assert is_suspicious([order("o2")], known(), provider="fake")
    assert not is_suspicious([order("o1")], known(), provider="fake")
    assert not is_suspicious([order("o2")], known(), provider="other")
    assert not is_suspicious([order("o2", Progress.CANCELLED)], known(), provider="fake")
    assert not is_suspicious([order("o2", generation=2)], known(), provider="fake")
    assert not is_suspicious([order("o2")], known(State.CANCELLED), provider="fake")
    assert not is_suspicious([order("o2")], never_sent(State.READY), provider="fake")


@pytest.mark.parametrize("state", list(State))
def test_a_person_is_asked_wherever_the_diagram_lets_it(state: State) -> None:
    """Not for what has ended, and not for what looks itself or waits for a person already."""
    record = known(state).record
    assert record is not None
    finding = judge(REFERENCE, [order(), order("o2")], known(), provider="fake", guarantee=Guarantee.LOOK_UP)
    assert finding is not None
    change = attention(record, finding, [order(), order("o2")], now=NOW)
    left_alone = ENDS | {State.DISPATCHING, State.UNKNOWN, State.NEEDS_ATTENTION}
    assert (change is None) == (state in left_alone)
    if change is not None:
        assert change.record.state is State.NEEDS_ATTENTION
        assert "o2" in change.record.why


def test_an_order_without_a_call_is_taken_into_the_record() -> None:
    """So that nobody sends it again without having looked."""
    found = never_sent(State.NEEDS_ADDRESS)
    finding = judge(REFERENCE, [CANCELLED, order("o2")], found, provider="fake", guarantee=Guarantee.LOOK_UP)
    assert found.record is not None
    assert finding is not None
    change = attention(found.record, finding, [CANCELLED, order("o2")], now=NOW)
    assert change is not None
    assert change.record.provider_order == "o2"
