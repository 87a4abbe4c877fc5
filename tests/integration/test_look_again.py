"""A provider's hint: the named rewards' jobs are due at once, and nothing else happens."""

from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from arq.connections import ArqRedis

from rewardpost import transitions
from rewardpost.changes import WORKER
from rewardpost.delivery import Delivery
from rewardpost.fulfilment import Fulfilment, Opening, Personal
from rewardpost.keys import Keys
from rewardpost.queue import Receipt
from rewardpost.states import State
from tests.auditing import House
from tests.builders import RECEIVED_AT, delivery
from tests.seeding import ADDRESS

REFERENCE = "vfy-r_1"
IN_AN_HOUR = timedelta(hours=1)


@pytest.fixture
def house(redis: ArqRedis, keys: Keys) -> House:
    """An installation without processes."""
    return House(redis, keys)


def hint(*references: str) -> Delivery:
    """Return a webhook of ShipBob's that names these orders."""
    content = [{"reference_id": reference, "status": "Completed"} for reference in references]
    return msgspec.structs.replace(delivery({"shipments": content}), source="shipbob")


async def waiting(house: House, *states: State) -> Fulfilment:
    """Take a reward along these states; its job is due in an hour."""
    now = datetime.now(UTC)
    opening = Opening(
        reference=REFERENCE,
        redemption="r_1",
        customer="cust_1",
        kind="material",
        article="mug",
        article_name="A mug",
        redeemed_at=RECEIVED_AT,
        received_at=RECEIVED_AT,
        personal=Personal(),
        state=State.RECEIVED,
        why="a product",
    )
    record = await house.ledger.apply(transitions.receive(opening, now=now), before=None)
    for state in states:
        match state:
            case State.READY:
                change = transitions.address_found(record, Personal(address=ADDRESS), by=WORKER, now=now)
            case State.DISPATCHING:
                change = transitions.begin_dispatch(record, "fake", deadline=now, now=now)
            case State.UNKNOWN:
                change = transitions.outcome_unknown(record, "the answer was lost", now=now)
            case State.SUBMITTED:
                change = transitions.submitted(record, "o1", now=now)
            case _:
                change = transitions.went_on(record, [(state, "handed over")], tracking=(), now=now)
        record = await house.ledger.apply(change, before=record)
    await house.ledger.defer_job(record, now + IN_AN_HOUR, "")
    return record


async def due(house: House) -> datetime:
    """Return when the reward's job is due."""
    score = await house.redis.zscore(house.keys.queue, house.keys.reward_job(REFERENCE))
    assert score is not None
    return datetime.fromtimestamp(score / 1000, UTC)


@pytest.mark.parametrize(
    "ways",
    [
        (State.READY, State.DISPATCHING, State.UNKNOWN),
        (State.READY, State.DISPATCHING, State.SUBMITTED),
        (State.READY, State.DISPATCHING, State.SUBMITTED, State.SHIPPED),
    ],
    ids=lambda ways: ways[-1],
)
async def test_a_reward_with_an_order_is_looked_at_now(house: House, ways: tuple[State, ...]) -> None:
    """Of whichever generation the hint speaks; its record stays as it is."""
    record = await waiting(house, *ways)
    assert await house.deliver(hint(f"{REFERENCE}-g2", "vfy-r_nobody")) is Receipt.STORED
    assert await house.open_all() == ["looked_again"]
    assert await due(house) <= datetime.now(UTC)
    assert await house.record(REFERENCE) == record
    assert await house.letters.count() == 0


@pytest.mark.parametrize("ways", [(), (State.READY,), (State.READY, State.DISPATCHING)])
async def test_a_reward_without_an_order_is_left_alone(house: House, ways: tuple[State, ...]) -> None:
    """There is nothing to look at, or its own job is at it."""
    await waiting(house, *ways)
    await house.deliver(hint(REFERENCE))
    assert await house.open_all() == ["looked_again"]
    assert await due(house) > datetime.now(UTC) + IN_AN_HOUR / 2


async def test_a_hint_is_counted_and_settled(house: House) -> None:
    """Under a label of its own, whatever it names; the same one again is a duplicate."""
    await house.deliver(hint(REFERENCE))
    await house.deliver(hint("somebody-else"))
    assert sorted(await house.open_all()) == ["counted", "looked_again"]
    assert await house.redis.hgetall(house.keys.events) == {b"shipbob_hint": b"2"}  # type: ignore[misc] # redis-py types both its clients with one signature
    assert await house.deliver(hint(REFERENCE)) is Receipt.DUPLICATE
