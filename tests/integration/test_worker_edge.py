"""Tasks on the engine and a real server: tried again, set aside, given back, and never dropped."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from arq.connections import ArqRedis
from arq.jobs import Job as ArqJob
from redis.exceptions import ConnectionError as RedisConnectionError

from cli.embedded_server import EmbeddedServer
from rewardpost import codec
from rewardpost.connection import connect
from rewardpost.dead_letters import DeadLetters
from rewardpost.delivery import Delivery, delivery_id
from rewardpost.keys import Keys
from rewardpost.ledger import Ledger
from rewardpost.queue import OPEN_DELIVERY, Queue, Receipt
from tests.builders import RECEIVED_AT
from tests.house import until
from worker.edge import Edge, Job
from worker.engine import Engine
from worker.tasks import SetUnreadableAside

LIMIT = 3


def delivery(body: bytes = b"{}") -> Delivery:
    """Return a delivery."""
    return Delivery(id=delivery_id(body), source="test", received_at=RECEIVED_AT, body=body)


class Scripted:
    """A task that fails as often as it is told and then settles its delivery."""

    name = OPEN_DELIVERY

    def __init__(self, letters: DeadLetters, *, failures: int = 0) -> None:
        self.letters = letters
        self.failures = failures
        self.attempts: list[int] = []
        self.aside: list[str] = []
        self.started = asyncio.Event()
        self.go_on = asyncio.Event()
        self.go_on.set()

    async def run(self, job: Job, *args: Any) -> str:  # noqa: ANN401 - each task has its own arguments
        """Fail, or settle."""
        del args
        self.attempts.append(job.attempt)
        self.started.set()
        await self.go_on.wait()
        if len(self.attempts) <= self.failures:
            raise RuntimeError("not yet")
        await self.letters.settle(job.lease, job.id.rpartition(":")[2], event="other")
        return "settled"

    async def set_aside(self, job: Job, why: str, *args: Any) -> str:  # noqa: ANN401 - the same
        """Remember why, and make it a dead letter."""
        del args
        self.aside.append(why)
        await self.letters.add(job.lease, job.id.rpartition(":")[2], code="attempts_spent", why=why)
        return "dead_letter"


@contextlib.asynccontextmanager
async def working(redis: ArqRedis, keys: Keys, task: Scripted) -> AsyncIterator[Engine]:
    """Run a worker with the task as long as the context lasts."""
    edge = Edge(limit=LIMIT)
    unreadable = SetUnreadableAside(Ledger(redis, keys, retention=timedelta(days=1)), task.letters)
    edge.tasks = {task.name: task, unreadable.name: unreadable}
    worker = Engine(
        functions=[edge.function(name) for name in edge.tasks],
        queue_name=keys.queue,
        redis_pool=redis,
        handle_signals=False,
        job_serializer=codec.encode,
        job_deserializer=codec.decode,
    )
    running = asyncio.create_task(worker.async_run())
    try:
        yield worker
    finally:
        await worker.close()
        await asyncio.gather(running, return_exceptions=True)


async def empty(redis: ArqRedis, keys: Keys) -> bool:
    """Say whether the queue is empty."""
    return int(await redis.zcard(keys.queue)) == 0


@pytest.fixture(autouse=True)
def _without_delay(monkeypatch: pytest.MonkeyPatch) -> None:
    """Try again at once: how long the back-off is, its own test tells."""
    monkeypatch.setattr("worker.runner.back_off", lambda *_: timedelta(0))


async def test_an_exception_is_tried_again_until_it_works(redis: ArqRedis, keys: Keys) -> None:
    """Two failures and then a success: three attempts, counted from 1, and the job has ended."""
    task = Scripted(DeadLetters(redis, keys), failures=2)
    await Queue(redis, keys).store(delivery())
    async with working(redis, keys, task):
        await until(lambda: empty(redis, keys))
    assert task.attempts == [1, 2, 3]
    assert task.aside == []


async def test_spent_attempts_are_set_aside_and_never_dropped(redis: ArqRedis, keys: Keys) -> None:
    """The last failure moves the delivery, whole, to the dead letters in the step that ends the job."""
    task = Scripted(DeadLetters(redis, keys), failures=99)
    await Queue(redis, keys).store(delivery())
    async with working(redis, keys, task):
        await until(lambda: empty(redis, keys))
    letter = await task.letters.get(delivery().id)
    assert letter is not None
    assert letter.delivery == delivery()
    assert len(task.attempts) == LIMIT
    assert "RuntimeError" in letter.why
    assert "not yet" not in letter.why


async def test_a_job_that_ends_every_worker_is_set_aside_unrun(redis: ArqRedis, keys: Keys) -> None:
    """Tries beyond the limit mean that no attempt came to an end: nobody is killed by it once more."""
    task = Scripted(DeadLetters(redis, keys))
    await Queue(redis, keys).store(delivery())
    await redis.set(keys.retry(keys.delivery_job(delivery().id)), LIMIT)
    async with working(redis, keys, task):
        await until(lambda: empty(redis, keys))
    assert task.attempts == []
    assert await task.letters.count() == 1


async def test_a_cancelled_run_is_given_back_with_its_try(redis: ArqRedis, keys: Keys) -> None:
    """A worker that is stopped in the middle spends nothing: the next one starts at attempt 1, at once."""
    task = Scripted(DeadLetters(redis, keys))
    task.go_on.clear()
    await Queue(redis, keys).store(delivery())
    async with working(redis, keys, task):
        await task.started.wait()
    task.go_on.set()
    async with working(redis, keys, task):
        await until(lambda: empty(redis, keys), patience=5)
    assert task.attempts == [1, 1]


async def test_the_end_of_a_job_leaves_a_new_one_of_the_same_id(redis: ArqRedis, keys: Keys) -> None:
    """Between the task's own end and arq's, the sender repeats a dead letter: it is stored, and it stays."""
    queue = Queue(redis, keys)

    class Repeated(Scripted):
        async def set_aside(self, job: Job, why: str, *args: Any) -> str:  # noqa: ANN401 - the same
            outcome = await super().set_aside(job, why, *args)
            self.failures = 0
            assert await queue.store(delivery()) is Receipt.STORED
            return outcome

    task = Repeated(DeadLetters(redis, keys), failures=99)
    await queue.store(delivery())
    async with working(redis, keys, task):
        await until(lambda: empty(redis, keys))
    assert await redis.exists(keys.delivery(delivery().id)) == 1
    assert await task.letters.count() == 0


async def test_a_payload_that_cannot_be_read_is_a_dead_letter(redis: ArqRedis, keys: Keys) -> None:
    """Stock arq deletes it; here it lies whole among the dead letters, under the delivery's id."""
    await Queue(redis, keys).store(delivery())
    job = keys.delivery_job(delivery().id)
    await redis.set(keys.job(job), b"\xc1 rubbish")
    letters = DeadLetters(redis, keys)
    async with working(redis, keys, Scripted(letters)):
        await until(lambda: empty(redis, keys))
    letter = await letters.get(delivery().id)
    assert letter is not None
    assert (letter.code, letter.payload, letter.delivery) == ("unreadable_job", b"\xc1 rubbish", None)


async def test_results_are_readable_by_arq(redis: ArqRedis, keys: Keys) -> None:
    """`Job.result_info()` tells the outcome, without the arguments."""
    task = Scripted(DeadLetters(redis, keys))
    await Queue(redis, keys).store(delivery())
    job = ArqJob(keys.delivery_job(delivery().id), redis, keys.queue, codec.decode)
    async with working(redis, keys, task):
        assert await job.result(timeout=10, poll_delay=0.02) == "settled"
        info = await job.result_info()
    assert info is not None
    assert (info.function, list(info.args), info.success) == (OPEN_DELIVERY, [], True)


async def test_a_server_that_dies_does_not_end_the_worker(own_server: EmbeddedServer, keys: Keys) -> None:
    """The same worker goes on with what is stored after the server has come back."""
    redis = connect(own_server.url, call_timeout=timedelta(seconds=1))
    asking = connect(own_server.url, call_timeout=timedelta(seconds=1))
    task = Scripted(DeadLetters(redis, keys))
    async with working(redis, keys, task):
        await until(lambda: asking.exists(f"{keys.queue}:health-check"))  # it has begun to poll
        own_server.kill()
        await asyncio.sleep(0.3)
        await asyncio.to_thread(own_server.start)
        await Queue(asking, keys).store(delivery())
        await until(lambda: empty(asking, keys), patience=10)
    await asking.aclose()
    await redis.aclose()
    assert task.attempts == [1]


async def test_store_raises_when_the_outcome_is_not_known(own_server: EmbeddedServer, keys: Keys) -> None:
    """A server that is gone gives an exception, never a receipt."""
    redis = connect(own_server.url, call_timeout=timedelta(seconds=1))
    own_server.kill()
    with pytest.raises(RedisConnectionError):
        await Queue(redis, keys).store(delivery())
    await redis.aclose()
