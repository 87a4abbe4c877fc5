"""The queue on a real server: stored once, counted as it is, in arq's own form."""

import asyncio
import time
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from arq.connections import ArqRedis
from arq.jobs import Job, JobStatus
from redis.exceptions import OutOfMemoryError

from cli.embedded_server import EmbeddedServer
from rewardpost import codec
from rewardpost.connection import UNREACHABLE, connect
from rewardpost.delivery import Delivery, delivery_id
from rewardpost.keys import Keys
from rewardpost.queue import AGAIN_MS, OPEN_DELIVERY, Depth, Queue, Receipt
from rewardpost.scripts import Script
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


async def _writes(redis: ArqRedis) -> int:
    """Count the scripts that the server has run to their end."""
    stats = await redis.info("commandstats")
    return sum(
        found["calls"] - found["failed_calls"] for name, found in stats.items() if name.startswith("cmdstat_eval")
    )


async def test_deliveries_that_wait_together_share_a_write(queue: Queue, redis: ArqRedis, keys: Keys) -> None:
    """Of 300 at the same moment at most 128 go in one write; each has its receipt, in its place."""
    await queue.store(delivery(b"7"))
    before = await _writes(redis)
    receipts = await asyncio.gather(*(queue.store(delivery(b"%d" % number)) for number in range(300)))
    assert await _writes(redis) - before == 3
    assert [number for number, receipt in enumerate(receipts) if receipt is Receipt.DUPLICATE] == [7]
    assert await redis.zcard(keys.queue) == 300


async def test_large_deliveries_share_a_write_within_its_bound(queue: Queue, redis: ArqRedis) -> None:
    """Bodies of 1 MiB go four together, so that no write needs more memory than that."""
    before = await _writes(redis)
    await asyncio.gather(*(queue.store(delivery(bytes([number]) * 1_048_576)) for number in range(9)))
    assert await _writes(redis) - before == 3


async def test_twins_in_one_write_are_told_apart(queue: Queue, redis: ArqRedis, keys: Keys) -> None:
    """Within one write the first of two equal bodies is stored; settled, waiting and dead twins count as ever."""
    await queue.store(delivery(b"waiting"))
    await redis.set(keys.delivery(delivery_id(b"settled")), "1")
    dead = delivery_id(b"dead")
    await redis.zadd(keys.dead_letters, {dead: 1, "somebody else": 2})
    await redis.hset(keys.dead_letter(dead), "why", "unreadable")  # type: ignore[misc] # redis-py types both its clients with one signature
    bodies = [b"new", b"waiting", b"dead", b"settled", b"new", b"dead", b"newer"]
    before = await _writes(redis)
    receipts = await asyncio.gather(*(queue.store(delivery(body)) for body in bodies))
    assert await _writes(redis) - before == 1
    stored, duplicate = Receipt.STORED, Receipt.DUPLICATE
    assert receipts == [stored, duplicate, stored, duplicate, duplicate, duplicate, stored]
    assert await redis.zrange(keys.dead_letters, 0, -1) == [b"somebody else"]
    assert not await redis.exists(keys.dead_letter(dead))
    assert set(await redis.zrange(keys.queue, 0, -1)) == {
        keys.delivery_job(delivery_id(body)).encode() for body in (b"waiting", b"new", b"dead", b"newer")
    }


async def test_an_idle_worker_is_woken_once(queue: Queue, redis: ArqRedis, keys: Keys) -> None:
    """However many are stored, one wake-up waits; a duplicate wakes nobody."""
    await asyncio.gather(*(queue.store(delivery(b"%d" % number)) for number in range(3)))
    await queue.store(delivery(b"4"))
    assert await redis.lrange(keys.wake_up, 0, -1) == [b"1"]  # type: ignore[misc] # redis-py types both its clients with one signature
    await redis.delete(keys.wake_up)
    assert await queue.store(delivery(b"4")) is Receipt.DUPLICATE
    assert not await redis.exists(keys.wake_up)


async def test_a_full_server_refuses_all_of_a_write(own_redis: ArqRedis, keys: Keys) -> None:
    """Everybody in it is told, and nothing of it is stored."""
    queue = Queue(own_redis, keys)
    await queue.store(delivery())  # so that the server knows the script
    await own_redis.config_set("maxmemory", "1")
    refused = await asyncio.gather(
        *(queue.store(delivery(b"%d" % number)) for number in range(3)), return_exceptions=True
    )
    assert [type(answer) for answer in refused] == [OutOfMemoryError] * 3
    assert await own_redis.zcard(keys.queue) == 1


async def test_an_outcome_that_is_not_known_is_nobodys_receipt(own_server: EmbeddedServer, keys: Keys) -> None:
    """While the server hangs all that share a write are told so; afterwards storing them again is safe."""
    redis = connect(own_server.url, call_timeout=timedelta(seconds=0.3))
    queue = Queue(redis, keys)
    bodies = [b"%d" % number for number in range(3)]
    await queue.store(delivery())
    own_server.freeze()
    unknown = await asyncio.gather(*(queue.store(delivery(body)) for body in bodies), return_exceptions=True)
    assert all(isinstance(answer, UNREACHABLE) for answer in unknown)
    own_server.thaw()
    await asyncio.gather(*(queue.store(delivery(body)) for body in bodies))
    assert await redis.zcard(keys.queue) == 4
    await redis.aclose()


async def test_a_server_that_forgot_the_script_is_told_it_again(queue: Queue, redis: ArqRedis) -> None:
    """As after its restart: the first write finds out, and nobody notices."""
    await queue.store(delivery(b"1"))
    await redis.script_flush()
    assert await queue.store(delivery(b"2")) is Receipt.STORED


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
    """A running job lies in a lane of its own; what comes again is waiting or deferred too."""
    now = time.time() * 1000
    scores = {
        "waits": now - 5_000,
        "waits again": AGAIN_MS + now - 3_000,
        "runs": now + 20_000 - AGAIN_MS,
        "later": now + 60_000,
        "later again": AGAIN_MS + now + 60_000,
    }
    await redis.zadd(keys.queue, scores)
    depth = await queue.depth()
    assert (depth.queued, depth.deferred, depth.running) == (2, 2, 1)
    assert 4.9 < depth.oldest_seconds < 10


async def test_the_lane_of_what_comes_again_is_the_same_in_the_scripts() -> None:
    """Python and Lua each have the number."""
    assert f"local AGAIN = {AGAIN_MS}\n" in Script("claim_jobs").text


async def test_a_pause_is_there_until_it_is_lifted(queue: Queue, redis: ArqRedis, keys: Keys) -> None:
    """Its reason can be read, and lifting it wakes a worker."""
    assert not await queue.resume()
    await queue.pause("deploying")
    assert await queue.paused() == "deploying"
    await redis.delete(keys.wake_up)
    assert await queue.resume()
    assert await queue.paused() is None
    assert await redis.llen(keys.wake_up) == 1  # type: ignore[misc] # redis-py types both its clients with one signature


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


async def test_a_time_in_which_nobody_watched_is_told(queue: Queue, redis: ArqRedis, keys: Keys) -> None:
    """The first worker of all makes none, nor does one that comes right after another."""
    assert await queue.latest_gap() is None
    await queue.sign_of_life("a")
    assert await queue.latest_gap() is None
    since = await redis.hget(keys.watch, "since")  # type: ignore[misc] # redis-py types both its clients with one signature
    await redis.hset(keys.watch, "seen", str(int(since or 0) - 60))  # type: ignore[misc] # the same
    await queue.sign_of_life("b")
    assert await redis.hget(keys.watch, "since") == since  # type: ignore[misc] # the same
    await redis.hset(keys.watch, "seen", str(int(since or 0) - 3600))  # type: ignore[misc] # the same
    await queue.sign_of_life("a")
    gap = await queue.latest_gap()
    assert gap is not None
    assert timedelta(hours=1) <= gap.end - gap.start <= timedelta(hours=1, minutes=1)
