"""The queue on a real server: stored once, counted as it is, in arq's own form."""

import asyncio
import time
from datetime import UTC, datetime

import msgspec
import pytest
from arq.connections import ArqRedis
from arq.jobs import Job, JobStatus

from rewardpost import codec
from rewardpost.delivery import Delivery, delivery_id
from rewardpost.keys import Keys
from rewardpost.queue import OPEN_DELIVERY, Depth, Queue, Receipt
from tests.builders import RECEIVED_AT


def delivery(body: bytes = b"{}") -> Delivery:
    """Return a delivery."""
    return Delivery(id=delivery_id(body), source="voucherify", received_at=RECEIVED_AT, body=body)


@pytest.fixture
def queue(redis: ArqRedis, keys: Keys) -> Queue:
    """A queue on the empty server."""
    return Queue(redis, keys)


async def test_of_many_equal_bodies_at_once_one_is_stored(queue: Queue, redis: ArqRedis, keys: Keys) -> None:
    """The sender's repeats are duplicates while the first one waits."""
    receipts = await asyncio.gather(*(queue.store(delivery()) for _ in range(50)))
    assert sorted(receipts) == [Receipt.DUPLICATE] * 49 + [Receipt.STORED]
    assert await redis.zcard(keys.queue) == 1


async def test_a_running_twin_is_a_duplicate(queue: Queue, redis: ArqRedis, keys: Keys) -> None:
    """Its job is still there, whether or not a worker has it in hand."""
    await queue.store(delivery())
    await redis.set(keys.in_progress(keys.delivery_job(delivery().id)), "1")
    assert await queue.store(delivery()) is Receipt.DUPLICATE


async def test_a_stored_delivery_never_expires(queue: Queue, redis: ArqRedis, keys: Keys) -> None:
    """No age may drop a webhook."""
    await queue.store(delivery())
    assert await redis.ttl(keys.job(keys.delivery_job(delivery().id))) == -1


async def test_arqs_tools_see_what_was_stored(queue: Queue, redis: ArqRedis, keys: Keys) -> None:
    """A stored delivery is a queued job of arq's, with everything in it."""
    await queue.store(delivery())
    job = Job(keys.delivery_job(delivery().id), redis, keys.queue, codec.decode)
    assert await job.status() is JobStatus.queued
    info = await job.info()
    assert info is not None
    assert (info.function, info.enqueue_time) == (OPEN_DELIVERY, RECEIVED_AT)
    assert msgspec.convert(info.args[0], Delivery) == delivery()
    assert [found.function for found in await redis.queued_jobs(queue_name=keys.queue)] == [OPEN_DELIVERY]


async def test_installations_on_one_server_do_not_meet(redis: ArqRedis) -> None:
    """The same body is stored by each of them, on a queue of its own."""
    one, other = Queue(redis, Keys("rewardpost")), Queue(redis, Keys("other"))
    assert [await one.store(delivery()), await other.store(delivery())] == [Receipt.STORED] * 2
    assert ((await one.depth()).queued, (await other.depth()).queued) == (1, 1)


async def test_an_empty_queue_has_no_depth(queue: Queue) -> None:
    """All counts are 0."""
    assert await queue.depth() == Depth(queued=0, deferred=0, running=0, oldest_seconds=0.0)


async def test_the_depth_tells_waiting_deferred_and_running_jobs_apart(
    queue: Queue, redis: ArqRedis, keys: Keys
) -> None:
    """A running job is no waiting one, due or not, and the oldest is the longest due that nobody has in hand."""
    now = time.time() * 1000
    scores = {"waits": now - 5_000, "runs": now - 60_000, "later": now + 60_000, "runs deferred": now + 60_000}
    await redis.zadd(keys.queue, scores)
    for job in ("runs", "runs deferred"):
        await redis.set(keys.in_progress(job), "1")
    depth = await queue.depth()
    assert (depth.queued, depth.deferred, depth.running) == (1, 1, 2)
    assert 4.9 < depth.oldest_seconds < 10


async def test_workers_are_counted_while_they_live(queue: Queue, redis: ArqRedis, keys: Keys) -> None:
    """One that says farewell or falls silent is not counted, and is forgotten by the next sign of life."""
    long_ago = datetime.now(UTC).timestamp() - 3600
    await redis.zadd(keys.workers, {"silent": long_ago})
    assert await queue.workers() == 0
    await queue.sign_of_life("a")
    await queue.sign_of_life("b")
    await queue.sign_of_life("a")
    assert await queue.workers() == 2
    await queue.farewell("b")
    assert await queue.workers() == 1
    assert await redis.zrange(keys.workers, 0, -1) == [b"a"]
