"""Dead letters on a real server: whole, listed, replayed, discarded or superseded, each exactly once."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from arq.connections import ArqRedis

from rewardpost.dead_letters import DeadLetter, DeadLetters
from rewardpost.delivery import Delivery, delivery_id
from rewardpost.keys import DEAD_LETTER_LIFE, Keys
from rewardpost.lease import Lease, LeaseLost
from rewardpost.queue import Queue, Receipt
from tests.builders import RECEIVED_AT
from tests.seeding import TOKEN, held


def delivery(body: bytes = b"rubbish") -> Delivery:
    """Return a delivery."""
    return Delivery(id=delivery_id(body), source="voucherify", received_at=RECEIVED_AT, body=body)


class Yard:
    """A queue and its dead letters."""

    def __init__(self, redis: ArqRedis, keys: Keys) -> None:
        self.queue = Queue(redis, keys)
        self.letters = DeadLetters(redis, keys)
        self.keys = keys
        self.redis = redis

    async def set_aside(self, body: bytes = b"rubbish", code: str = "not_json") -> DeadLetter:
        """Store a delivery, set it aside and return the dead letter."""
        await self.queue.store(delivery(body))
        job = self.keys.delivery_job(delivery(body).id)
        lease = (await held(self.redis, self.keys, job)).lease
        assert await self.letters.add(lease, delivery(body).id, code=code, why="expected JSON")
        letter = await self.letters.get(delivery(body).id)
        assert letter is not None
        return letter

    async def queued(self) -> list[bytes]:
        """Return the ids of the jobs that wait."""
        jobs: list[bytes] = await self.redis.zrange(self.keys.queue, 0, -1)
        return jobs


@pytest.fixture
def yard(redis: ArqRedis, keys: Keys) -> Yard:
    """A queue and its dead letters on the empty server."""
    return Yard(redis, keys)


async def test_a_dead_letter_is_kept_whole_and_not_for_ever(yard: Yard) -> None:
    """The delivery, the reason and the time are there; the job is gone, and so is the letter after its life."""
    letter = await yard.set_aside()
    assert letter.delivery == delivery()
    assert (letter.code, letter.why) == ("not_json", "expected JSON")
    assert datetime.now(UTC) - letter.at < timedelta(minutes=1)
    assert await yard.queued() == []
    assert await yard.redis.exists(yard.keys.job(letter.job)) == 0
    assert 0 < await yard.redis.ttl(yard.keys.dead_letter(letter.id)) <= DEAD_LETTER_LIFE.total_seconds()


async def test_a_job_that_has_ended_is_not_set_aside(yard: Yard) -> None:
    """A second worker that ran the same job comes too late, and makes no empty letter."""
    letter = await yard.set_aside()
    with pytest.raises(LeaseLost):
        await yard.letters.add(Lease(letter.job, TOKEN), letter.id, code="late", why="late")
    assert (await yard.letters.get(letter.id)) == letter


async def test_they_are_listed_by_reason_and_by_time(yard: Yard) -> None:
    """Oldest first; a reason or a time narrows the list."""
    first = await yard.set_aside(b"1", "not_json")
    long_ago = datetime.now(UTC) - timedelta(hours=2)
    await yard.redis.zadd(yard.keys.dead_letters, {first.id: long_ago.timestamp() * 1000})
    second = await yard.set_aside(b"2", "wrong_type")
    assert [letter.id async for letter in yard.letters.all()] == [first.id, second.id]
    assert [letter.id async for letter in yard.letters.all(code="not_json")] == [first.id]
    since = datetime.now(UTC) - timedelta(hours=1)
    assert [letter.id async for letter in yard.letters.all(since=since)] == [second.id]
    assert await yard.letters.count() == 2


async def test_a_replay_puts_it_back_as_it_came(yard: Yard) -> None:
    """The same payload waits again under the same id, due now and with no try spent; the letter is gone."""
    letter = await yard.set_aside()
    assert await yard.letters.replay(letter)
    assert await yard.queued() == [letter.job.encode()]
    assert await yard.redis.get(yard.keys.job(letter.job)) == letter.payload
    assert await yard.redis.exists(yard.keys.retry(letter.job), yard.keys.in_progress(letter.job)) == 0
    assert (await yard.letters.count(), await yard.letters.get(letter.id)) == (0, None)
    assert await yard.queue.store(delivery()) is Receipt.DUPLICATE


async def test_what_fails_again_is_a_dead_letter_again(yard: Yard) -> None:
    """A replay before the fix loses nothing."""
    letter = await yard.set_aside()
    await yard.letters.replay(letter)
    lease = (await held(yard.redis, yard.keys, letter.job)).lease
    assert await yard.letters.add(lease, letter.id, code="not_json", why="still")
    again = await yard.letters.get(letter.id)
    assert again is not None
    assert (again.payload, again.why) == (letter.payload, "still")


async def test_a_discarded_one_can_be_sent_again(yard: Yard) -> None:
    """It is dropped for good, but the same body is welcome: the sender repeats it on purpose."""
    letter = await yard.set_aside()
    assert await yard.letters.discard(letter)
    assert (await yard.queued(), await yard.letters.count()) == ([], 0)
    assert await yard.queue.store(delivery()) is Receipt.STORED


async def test_a_repeat_by_the_sender_supersedes_the_dead_letter(yard: Yard) -> None:
    """Stored anew in the same write that drops the letter; acting on the letter afterwards does nothing."""
    letter = await yard.set_aside()
    assert await yard.queue.store(delivery()) is Receipt.STORED
    assert await yard.letters.count() == 0
    assert not await yard.letters.replay(letter)
    assert not await yard.letters.discard(letter)
    assert await yard.queued() == [letter.job.encode()]


async def test_a_replay_and_a_repeat_at_once_give_one_job(yard: Yard) -> None:
    """Whoever comes first, there is one job, no letter, and its payload is a whole delivery."""
    for number in range(20):
        letter = await yard.set_aside(b"%d" % number)
        await asyncio.gather(
            yard.letters.replay(letter), yard.queue.store(delivery(b"%d" % number)), yard.letters.replay(letter)
        )
        assert await yard.letters.get(letter.id) is None
        assert await yard.redis.exists(yard.keys.job(letter.job)) == 1
    assert len(await yard.queued()) == 20
    assert await yard.letters.count() == 0


async def test_of_many_that_act_at_once_one_is_told_that_it_did(yard: Yard) -> None:
    """Two operators do not both believe that they replayed it."""
    letter = await yard.set_aside()
    assert sorted(await asyncio.gather(*(yard.letters.replay(letter) for _ in range(5)))) == [False] * 4 + [True]


async def test_a_payload_that_is_no_delivery_shows_none(yard: Yard) -> None:
    """Listing goes on over what cannot be read."""
    await yard.queue.store(delivery())
    job = yard.keys.delivery_job(delivery().id)
    await yard.redis.set(yard.keys.job(job), b"\x81\xa1r\x01")
    lease = (await held(yard.redis, yard.keys, job)).lease
    await yard.letters.add(lease, delivery().id, code="unreadable_job", why="expected a job")
    assert [letter.delivery async for letter in yard.letters.all()] == [None]


async def test_a_settled_delivery_is_counted_and_remembered(yard: Yard) -> None:
    """Its job ends in the step that remembers it, with a time to live, and counts its event type."""
    await yard.queue.store(delivery())
    job = await held(yard.redis, yard.keys, yard.keys.delivery_job(delivery().id))
    await yard.letters.settle(job.lease, delivery().id, event="other")
    assert await yard.queued() == []
    assert await yard.queue.store(delivery()) is Receipt.DUPLICATE
    assert await yard.redis.ttl(yard.keys.delivery(delivery().id)) > 0
    counted = await yard.redis.hgetall(yard.keys.events)  # type: ignore[misc] # redis-py types both its clients with one signature
    assert counted == {b"other": b"1"}


async def test_who_has_lost_the_lease_can_neither_settle_nor_bury(yard: Yard) -> None:
    """The delivery of another worker stays where it is."""
    await yard.queue.store(delivery())
    lease = (await held(yard.redis, yard.keys, yard.keys.delivery_job(delivery().id))).lease
    await yard.redis.set(yard.keys.in_progress(lease.job_id), "another token")
    with pytest.raises(LeaseLost):
        await yard.letters.settle(lease, delivery().id, event="other")
    with pytest.raises(LeaseLost):
        await yard.letters.add(lease, delivery().id, code="x", why="x")
    assert await yard.queued() == [lease.job_id.encode()]
    assert await yard.letters.count() == 0
