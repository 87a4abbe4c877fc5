"""Leases on a real server: kept by who lives, lost by who hangs or dies, given back by who is told to end."""

import asyncio
import contextlib
import io
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import timedelta
from signal import SIGTERM
from typing import Any

import pytest
from arq.connections import ArqRedis
from arq.worker import Function, func

from cli.embedded_server import EmbeddedServer
from rewardpost import logs, metrics
from rewardpost.client import SharingRedis
from rewardpost.connection import connect
from rewardpost.keys import Keys
from tests.house import until
from worker.claims import Claims
from worker.engine import Engine
from worker.lease_keeper import worth_renewing

LEASE = timedelta(seconds=1)
LEASE_SECONDS = LEASE.total_seconds()
PATIENCE = 10.0


def engine_on(url: str, *functions: Function, **options: Any) -> Engine:  # noqa: ANN401 - those of arq
    """Return a worker that is not started."""
    redis = SharingRedis(connect(url, call_timeout=timedelta(seconds=5)))
    return Engine(functions, redis_pool=redis, handle_signals=False, **{"lease": LEASE, **options})


@contextlib.asynccontextmanager
async def working(engine: Engine) -> AsyncIterator[Engine]:
    """Run a worker as long as the context lasts."""
    running = asyncio.create_task(engine.async_run())
    try:
        yield engine
        assert not running.done()
    finally:
        await engine.close()
        await asyncio.gather(running, return_exceptions=True)


@contextlib.contextmanager
def elsewhere(make: Callable[[], Engine]) -> Iterator[threading.Event]:
    """Run a worker with a loop of its own, which may block; it ends once the event is set."""
    over = threading.Event()

    async def work() -> None:
        async with working(make()):
            await asyncio.to_thread(over.wait, 3 * PATIENCE)

    thread = threading.Thread(target=lambda: asyncio.run(work()))
    thread.start()
    try:
        yield over
    finally:
        over.set()
        thread.join()


class Runs:
    """A function `job` that notes its runs, blocks its loop where it is told to, and can be kept waiting."""

    def __init__(self, *, blocks_seconds: float = 0.0, waits: bool = False) -> None:
        self.tries: list[int] = []
        self.begun = threading.Event()
        self.go_on = asyncio.Event()
        self._blocks_seconds = blocks_seconds
        if not waits:
            self.go_on.set()

    def function(self, timeout: float | None = None) -> Function:
        """Return it as arq registers it."""
        return func(self._run, name="job", timeout=timeout)

    async def have_begun(self, times: int = 1) -> None:
        """Wait for so many runs."""
        await until(lambda: self._enough(times), patience=PATIENCE)

    async def _enough(self, times: int) -> bool:
        return len(self.tries) >= times

    async def _run(self, ctx: dict[Any, Any]) -> str:
        self.tries.append(ctx["job_try"])
        self.begun.set()
        if self._blocks_seconds:
            time.sleep(self._blocks_seconds)  # noqa: ASYNC251 - the fault that is to be survived
        await self.go_on.wait()
        return "done"


@pytest.fixture
def log() -> io.StringIO:
    """What is logged during the test."""
    stream = io.StringIO()
    logs.configure("json", stream=stream)
    return stream


async def is_over(redis: ArqRedis, keys: Keys) -> bool:
    """Say whether the job has ended."""
    return not await redis.exists(keys.job("j"), keys.queue)


def late_writes() -> float:
    """Return how many late writes were refused in this process."""
    return float(metrics.LATE_WRITES.labels("refused")._value.get())  # noqa: SLF001 - the client offers no other way to read one


def leases_lost() -> float:
    """Return how many leases of the function were lost in this process."""
    return float(metrics.LEASES_LOST.labels("job")._value.get())  # noqa: SLF001 - the same


@pytest.mark.parametrize(
    ("deadline", "loop_seen", "now", "worth"),
    [
        pytest.param(10.0, 5.0, 9.0, True, id="before its deadline, however long the loop is silent"),
        pytest.param(10.0, 5.0, 10.0, True, id="at its deadline"),
        pytest.param(10.0, 5.0, 10.1, False, id="past its deadline, and the loop silent since before"),
        pytest.param(10.0, 10.0, 10.1, False, id="past its deadline, and the loop seen last at that moment"),
        pytest.param(10.0, 10.05, 10.1, True, id="past its deadline, and the loop has been seen since"),
        pytest.param(float("inf"), 0.0, 1e9, True, id="without a deadline"),
    ],
)
def test_a_lease_is_worth_renewing_while_its_job_can_still_end(
    *, deadline: float, loop_seen: float, now: float, worth: bool
) -> None:
    """Past its deadline only a loop that has been seen since can end it."""
    assert worth_renewing(deadline, loop_seen, now) is worth


async def test_a_loop_that_blocks_for_longer_than_the_lease_keeps_its_job(
    server: EmbeddedServer, redis: ArqRedis, keys: Keys
) -> None:
    """The thread renews meanwhile: a second worker, idle and asking, never gets the job."""
    blocked, second = Runs(blocks_seconds=2.5 * LEASE_SECONDS), Runs()
    refused = late_writes()
    await SharingRedis(redis).enqueue_job("job", _job_id="j")
    with elsewhere(lambda: engine_on(server.url, blocked.function())):
        assert await asyncio.to_thread(blocked.begun.wait, PATIENCE)
        async with working(engine_on(server.url, second.function())):
            await until(lambda: is_over(redis, keys), patience=PATIENCE)
    assert (blocked.tries, second.tries, late_writes()) == ([1], [], refused)


async def test_a_hung_worker_loses_its_job_once_its_time_is_over(
    server: EmbeddedServer, redis: ArqRedis, keys: Keys, log: io.StringIO
) -> None:
    """It is not renewed past the deadline while the loop is silent; what the late run says in the end is refused."""
    hung, second = Runs(blocks_seconds=4 * LEASE_SECONDS), Runs(waits=True)
    refused = late_writes()
    await SharingRedis(redis).enqueue_job("job", _job_id="j")
    began = time.monotonic()
    with elsewhere(lambda: engine_on(server.url, hung.function(timeout=LEASE_SECONDS / 2))):
        assert await asyncio.to_thread(hung.begun.wait, PATIENCE)
        async with working(engine_on(server.url, second.function())) as other:
            await second.have_begun()
            assert time.monotonic() - began < 3 * LEASE_SECONDS  # the hung run has not ended yet
            await until(lambda: has_more_than(late_writes, refused), patience=PATIENCE)
            assert (await redis.get(keys.in_progress("j")) or b"").startswith(other._name.encode())  # noqa: SLF001 - whose it is
            second.go_on.set()
            await until(lambda: is_over(redis, keys), patience=PATIENCE)
    assert (hung.tries, second.tries) == ([1], [2])
    assert "late_ending_refused" in log.getvalue()


async def has_more_than(count: Callable[[], float], before: float) -> bool:
    """Say whether a counter has moved on."""
    return count() > before


async def test_a_job_that_takes_longer_than_its_lease_is_run_once(
    server: EmbeddedServer, redis: ArqRedis, keys: Keys
) -> None:
    """A heartbeat prolongs it as long as it takes, and a worker beside gets nothing."""
    slow, second = Runs(waits=True), Runs()
    await SharingRedis(redis).enqueue_job("job", _job_id="j")
    async with working(engine_on(server.url, slow.function())):
        await slow.have_begun()
        first = await redis.zscore(keys.queue, "j")
        async with working(engine_on(server.url, second.function())):
            await until(lambda: is_due_later(redis, keys, first, LEASE), patience=PATIENCE)
        slow.go_on.set()
        await until(lambda: is_over(redis, keys), patience=PATIENCE)
    assert (slow.tries, second.tries) == ([1], [])


async def is_due_later(redis: ArqRedis, keys: Keys, score: float | None, by: timedelta) -> bool:
    """Say whether a job's score has moved on so far."""
    now = await redis.zscore(keys.queue, "j")
    assert now is not None
    assert score is not None
    return bool(now >= score + by / timedelta(milliseconds=1))


async def test_a_dead_workers_job_is_free_when_its_lease_ends_and_not_before(
    server: EmbeddedServer, redis: ArqRedis, keys: Keys
) -> None:
    """The queue itself gives it back to a worker that is idle, at that very moment."""
    await SharingRedis(redis).enqueue_job("job", _job_id="j")
    second = Runs()
    async with working(engine_on(server.url, second.function())) as other:
        other.allow_pick_jobs = False
        dead = Claims(redis, keys.queue, lease=LEASE, worker="dead")
        claimed_at = time.monotonic()
        await until(lambda: has_claimed(dead), patience=PATIENCE)
        other.allow_pick_jobs = True
        assert await asyncio.to_thread(second.begun.wait, PATIENCE)
        waited = time.monotonic() - claimed_at
        await until(lambda: is_over(redis, keys), patience=PATIENCE)
    assert second.tries == [2]
    assert LEASE_SECONDS - 0.05 <= waited <= LEASE_SECONDS + 1


async def has_claimed(claims: Claims) -> bool:
    """Claim one job, and say whether there was one."""
    return bool((await claims.claim(1)).jobs)


async def test_a_late_end_is_refused_counted_and_logged(
    server: EmbeddedServer, redis: ArqRedis, keys: Keys, log: io.StringIO
) -> None:
    """So is the loss, as soon as a heartbeat notices it; the job and its mark stay with whoever has them."""
    runs = Runs(waits=True)
    refused, lost = late_writes(), leases_lost()
    await SharingRedis(redis).enqueue_job("job", _job_id="j")
    async with working(engine_on(server.url, runs.function())):
        await runs.have_begun()
        await redis.set(keys.in_progress("j"), "another worker")
        await until(lambda: has_more_than(leases_lost, lost), patience=PATIENCE)
        runs.go_on.set()
        await until(lambda: has_more_than(late_writes, refused), patience=PATIENCE)
    assert (leases_lost(), late_writes()) == (lost + 1, refused + 1)
    assert await redis.get(keys.in_progress("j")) == b"another worker"
    assert await redis.exists(keys.job("j"), keys.retry("j"), keys.queue, keys.result("j")) == 3
    assert [event in log.getvalue() for event in ("lease_lost", "late_ending_refused")] == [True, True]


@pytest.mark.parametrize("tries_before", [0, 3])
async def test_sigterm_gives_jobs_back_at_once(
    server: EmbeddedServer, redis: ArqRedis, keys: Keys, tries_before: int
) -> None:
    """Due as they were, their try unspent, free for any worker, of which an idle one is woken."""
    runs = Runs(waits=True)
    due = {"j-1": 1000.0, "j-2": 2000.0}
    for job_id, score in due.items():
        await SharingRedis(redis).enqueue_job("job", _job_id=job_id)
        await redis.zadd(keys.queue, {job_id: score})
        await redis.set(keys.retry(job_id), tries_before)
    engine = engine_on(server.url, runs.function(), lease=timedelta(seconds=60))
    running = asyncio.create_task(engine.async_run())
    await runs.have_begun(2)
    engine.handle_sig(SIGTERM)
    with pytest.raises(asyncio.CancelledError):
        await running
    await engine.close()
    assert dict(await redis.zrange(keys.queue, 0, -1, withscores=True)) == {
        job_id.encode(): score for job_id, score in due.items()
    }
    tries = [int(each or 0) for each in await redis.mget([keys.retry(job_id) for job_id in due])]
    assert (runs.tries, tries) == ([tries_before + 1] * 2, [tries_before] * 2)
    assert await redis.exists(*(keys.in_progress(job_id) for job_id in due)) == 0
    assert await redis.llen(keys.wake_up) == 1  # type: ignore[misc] # redis-py types both its clients with one signature


async def test_sigterm_lets_jobs_end_that_do_within_the_time_they_are_given(
    server: EmbeddedServer, redis: ArqRedis, keys: Keys
) -> None:
    """With `job_completion_wait` what is nearly done is not done twice."""
    runs = Runs(waits=True)
    await SharingRedis(redis).enqueue_job("job", _job_id="j")
    engine = engine_on(server.url, runs.function(), job_completion_wait=int(PATIENCE))
    running = asyncio.create_task(engine.async_run())
    await runs.have_begun()
    engine.handle_sig(SIGTERM)
    runs.go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await running
    await engine.close()
    assert await is_over(redis, keys)
    assert (engine.jobs_complete, engine.jobs_retried) == (1, 0)
