"""What the edge survives: connections that break at the worst moment, rubbish for a payload, tasks it does not know."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from datetime import timedelta
from signal import SIGTERM
from typing import Any

import msgspec
import pytest
from arq.connections import ArqRedis
from redis.exceptions import TimeoutError as RedisTimeoutError

from cli.embedded_server import EmbeddedServer
from rewardpost import codec
from rewardpost.connection import connect
from rewardpost.dead_letters import DeadLetters
from rewardpost.delivery import Delivery, delivery_id
from rewardpost.keys import Keys
from rewardpost.ledger import Ledger
from rewardpost.queue import OPEN_DELIVERY, Queue
from tests.builders import RECEIVED_AT
from tests.house import until
from worker.edge import Edge, Job, Task
from worker.engine import Engine
from worker.tasks import SetUnreadableAside

CALL_TIMEOUT = timedelta(seconds=1)


def delivery(number: int = 0) -> Delivery:
    """Return a delivery."""
    body = b"%d" % number
    return Delivery(id=delivery_id(body), source="test", received_at=RECEIVED_AT, body=body)


class Settles:
    """A task that settles its delivery, once it may go on."""

    name = OPEN_DELIVERY

    def __init__(self, letters: DeadLetters) -> None:
        self.attempts: list[int] = []
        self.started = asyncio.Event()
        self.go_on = asyncio.Event()
        self.go_on.set()
        self._letters = letters

    async def run(self, job: Job, *_: Any) -> str:  # noqa: ANN401 - each task has its own arguments
        """Settle."""
        self.attempts.append(job.attempt)
        self.started.set()
        await self.go_on.wait()
        await self._letters.settle(job.lease, job.id.rpartition(":")[2], event="other")
        return "settled"

    async def set_aside(self, job: Job, why: str, *_: Any) -> str:  # noqa: ANN401 - the same
        """Make it a dead letter."""
        await self._letters.add(job.lease, job.id.rpartition(":")[2], code="attempts_spent", why=why)
        return "dead_letter"


@contextlib.asynccontextmanager
async def working(
    redis: ArqRedis, keys: Keys, *tasks: Task, max_jobs: int = 10, lease: timedelta = timedelta(seconds=30)
) -> AsyncIterator[Engine]:
    """Run a worker with these tasks as long as the context lasts."""
    edge = Edge(limit=3)
    edge.tasks = {task.name: task for task in tasks}
    worker = Engine(
        functions=[edge.function(name) for name in edge.tasks],
        queue_name=keys.queue,
        redis_pool=redis,
        handle_signals=False,
        lease=lease,
        max_jobs=max_jobs,
        job_serializer=codec.encode,
        job_deserializer=codec.decode,
    )
    running = asyncio.create_task(worker.async_run())
    try:
        yield worker
    finally:
        worker.handle_sig(SIGTERM)
        await asyncio.gather(running, return_exceptions=True)
        await worker.close()
        assert running.cancelled()  # it ran until it was told to stop


async def empty(redis: ArqRedis, keys: Keys) -> bool:
    """Say whether the queue is empty."""
    return int(await redis.zcard(keys.queue)) == 0


async def started(worker: Engine) -> bool:
    """Say whether a worker has begun to look for jobs."""
    return "redis" in worker.ctx


async def test_a_task_of_a_newer_release_waits_for_a_worker_that_knows_it(
    redis: ArqRedis, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker of the older release leaves the job as it is, with no try spent."""
    monkeypatch.setattr("worker.runner.NOT_OURS_PAUSE", timedelta(milliseconds=100))
    letters = DeadLetters(redis, keys)
    older, newer = Settles(letters), Settles(letters)
    older.name = "a_task_of_yesterday"
    await Queue(redis, keys).store(delivery())
    job = keys.delivery_job(delivery().id)
    due = await redis.zscore(keys.queue, job)
    async with working(redis, keys, older):
        await until(lambda: put_off(redis, keys, job, due))
    assert await redis.exists(keys.job(job)) == 1
    async with working(redis, keys, newer):
        await until(lambda: empty(redis, keys))
    assert (older.attempts, newer.attempts) == ([], [1])


async def put_off(redis: ArqRedis, keys: Keys, job: str, due: float | None) -> bool:
    """Say whether a job is due later than before, and free."""
    score = await redis.zscore(keys.queue, job)
    assert score is not None
    assert due is not None
    return score > due and not await redis.exists(keys.in_progress(job))


async def test_a_name_on_the_queue_without_a_job_is_taken_off(redis: ArqRedis, keys: Keys) -> None:
    """What has no payload any more cannot be run, and does not stay for ever."""
    job = keys.delivery_job(delivery().id)
    await redis.zadd(keys.queue, {job: 1})
    async with working(redis, keys, Settles(DeadLetters(redis, keys))):
        await until(lambda: empty(redis, keys))
    assert await redis.exists(*keys.job_parts(job)[1:]) == 0


@pytest.mark.parametrize(
    "tree",
    [{"r": 1}, {"f": "open_delivery", "r": None}, {"f": 5, "a": [], "k": {}, "t": None, "et": 0}, [1], None],
)
async def test_what_is_no_job_is_a_dead_letter(redis: ArqRedis, keys: Keys, tree: object) -> None:
    """A payload that can be decoded but lacks what arq needs, half a result for example, is kept whole."""
    letters = DeadLetters(redis, keys)
    await Queue(redis, keys).store(delivery())
    payload = msgspec.msgpack.encode(tree)
    await redis.set(keys.job(keys.delivery_job(delivery().id)), payload)
    aside = SetUnreadableAside(Ledger(redis, keys, retention=timedelta(days=1)), letters)
    async with working(redis, keys, aside):
        await until(lambda: empty(redis, keys))
    letter = await letters.get(delivery().id)
    assert letter is not None
    assert (letter.payload, letter.delivery) == (payload, None)


async def test_the_same_worker_goes_on_after_a_frozen_server(own_server: EmbeddedServer, keys: Keys) -> None:
    """A server that hangs longer than a call may take ends no worker."""
    redis, asking = (connect(own_server.url, call_timeout=CALL_TIMEOUT) for _ in range(2))
    task = Settles(DeadLetters(redis, keys))
    async with working(redis, keys, task):
        await Queue(asking, keys).store(delivery(1))
        await until(lambda: empty(asking, keys))
        own_server.freeze()
        with pytest.raises(RedisTimeoutError):  # long enough for the worker to have noticed too
            await asking.ping()
        own_server.thaw()
        await Queue(asking, keys).store(delivery(2))
        await until(lambda: empty(asking, keys), patience=10)
    assert task.attempts == [1, 1]
    await asking.aclose()
    await redis.aclose()


async def test_a_job_in_hand_when_the_server_dies_is_run_again(own_server: EmbeddedServer, keys: Keys) -> None:
    """What could not be ended is due again when its lease ends, and is then carried out."""
    redis, asking = (connect(own_server.url, call_timeout=CALL_TIMEOUT) for _ in range(2))
    task = Settles(DeadLetters(redis, keys))
    task.go_on.clear()
    async with working(redis, keys, task, lease=timedelta(seconds=1)) as worker:
        await Queue(asking, keys).store(delivery())
        await task.started.wait()
        own_server.kill()
        task.go_on.set()
        await until(lambda: ended(worker))
        await asyncio.to_thread(own_server.start)
        await until(lambda: empty(asking, keys), patience=15)
    assert len(task.attempts) == 2
    await asking.aclose()
    await redis.aclose()


async def ended(worker: Engine) -> bool:
    """Say whether no job is running."""
    return not worker.job_tasks


async def test_a_worker_that_is_closed_while_redis_is_away_closes(own_server: EmbeddedServer, keys: Keys) -> None:
    """Its own farewell runs, and nothing is raised."""
    redis = connect(own_server.url, call_timeout=CALL_TIMEOUT)
    said: list[Mapping[Any, Any]] = []

    async def farewell(ctx: dict[Any, Any]) -> None:
        said.append(ctx)

    async with working(redis, keys, Settles(DeadLetters(redis, keys))) as worker:
        await until(lambda: started(worker))
        worker.on_shutdown = farewell
        own_server.kill()
    assert len(said) == 1


async def test_a_cancelling_that_redis_py_swallows_still_ends_the_worker(redis: ArqRedis, keys: Keys) -> None:
    """On Python 3.11 a cancelling can get lost inside a call to Redis; the worker ends at its next look."""

    class Swallowing(Engine):
        async def record_health(self) -> None:
            assert self.main_task is not None
            self.main_task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(0)

    edge = Edge(limit=1)
    worker = Swallowing(functions=[edge.function("any")], queue_name=keys.queue, redis_pool=redis, handle_signals=False)
    running = asyncio.create_task(worker.async_run())
    done, _ = await asyncio.wait({running}, timeout=5)
    running.cancel()
    assert done == {running}
    assert running.cancelled()
    await worker.close()
