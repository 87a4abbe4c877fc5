"""arq's own promises on the engine: functions as its users write them, results, aborts, cron, deferring, retries."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from arq.connections import ArqRedis
from arq.constants import abort_jobs_ss
from arq.cron import cron
from arq.jobs import Job, JobStatus
from arq.worker import Function, Retry, func

from cli.embedded_server import EmbeddedServer
from rewardpost.client import SharingRedis
from rewardpost.keys import Keys
from tests.arq_workers import PATIENCE, Tasks
from tests.engines import done, engine
from tests.house import until
from worker.runner import SelfEnded, TaskFunction

LOOK_SECONDS = 0.02
PUNCTUAL_SECONDS = 0.05

Enqueue = Callable[..., Awaitable[Job | None]]


@pytest.fixture(params=["ours", "stock"])
def enqueue(request: pytest.FixtureRequest, redis: ArqRedis) -> Enqueue:
    """Enqueue a job by our client, and by arq's own, which wakes no worker."""
    return SharingRedis(redis).enqueue_job if request.param == "ours" else redis.enqueue_job


async def put(enqueue: Enqueue, *args: Any, **options: Any) -> Job:  # noqa: ANN401 - those of arq
    """Enqueue a job that is no duplicate."""
    job = await enqueue(*args, **options)
    assert job is not None
    return job


def named(name: str, run: Callable[..., Awaitable[Any]], **options: Any) -> Function:  # noqa: ANN401 - those of arq
    """Return a function as arq registers it."""
    return func(run, name=name, **options)  # type: ignore[arg-type] # arq asks for a protocol that names `__qualname__`


async def is_marked(redis: ArqRedis, job: Job) -> bool:
    """Say whether a job is to be aborted."""
    return await redis.zscore(abort_jobs_ss, job.job_id) is not None


async def is_idle(redis: ArqRedis, keys: Keys) -> bool:
    """Say whether a worker runs, and waits to be woken."""
    clients = await redis.client_list()
    return bool(await redis.exists(f"{keys.queue}:health-check")) and any(c["cmd"] == "blpop" for c in clients)


async def test_a_job_goes_through_every_status(server: EmbeddedServer, redis: ArqRedis, enqueue: Enqueue) -> None:
    """`Job.status()` tells each, and at the end the result is there with all that arq says of it."""
    tasks = Tasks()

    async def adds(ctx: dict[Any, Any], first: int, *, second: int) -> int:
        await tasks.waits(ctx)
        return first + second

    assert await Job("nobody", redis).status() is JobStatus.not_found
    deferred = await put(enqueue, "adds", 1, second=1, _defer_by=60)
    job = await put(enqueue, "adds", 2, second=3)
    assert [await deferred.status(), await job.status()] == [JobStatus.deferred, JobStatus.queued]
    async with engine(server.url, tasks, functions=[named("adds", adds)]):
        await asyncio.wait_for(tasks.started.wait(), PATIENCE)
        assert await job.status() is JobStatus.in_progress
        assert await job.result_info() is None
        tasks.go_on.set()
        assert await job.result(timeout=PATIENCE, poll_delay=LOOK_SECONDS) == 5
        assert [await deferred.status(), await job.status()] == [JobStatus.deferred, JobStatus.complete]
    info = await job.result_info()
    assert info is not None
    assert (info.function, info.result, info.success, info.job_try) == ("adds", 5, True, 1)
    assert info.enqueue_time <= info.start_time <= info.finish_time <= datetime.now(UTC)


async def test_a_job_with_a_result_is_a_duplicate_until_that_is_gone(
    server: EmbeddedServer, redis: ArqRedis, enqueue: Enqueue
) -> None:
    """As with stock arq: while it waits, and while its result is kept."""
    tasks = Tasks()
    await put(enqueue, "works", _job_id="j")
    assert await enqueue("works", _job_id="j") is None
    async with engine(server.url, tasks, functions=[named("works", tasks.works, keep_result=0.5)]):
        await done(redis, "j")
        assert await enqueue("works", _job_id="j") is None
        await until(lambda: is_free(redis, "j"), patience=PATIENCE)
        await put(enqueue, "works", _job_id="j")
        await done(redis, "j")
    assert len(tasks.tries) == 2


async def is_free(redis: ArqRedis, job_id: str) -> bool:
    """Say whether nothing at all is known of a job."""
    return await Job(job_id, redis).status() is JobStatus.not_found


@pytest.mark.parametrize("defer_by", [None, 60], ids=["waiting", "deferred"])
async def test_a_job_that_is_aborted_before_its_time_never_runs(
    server: EmbeddedServer, redis: ArqRedis, enqueue: Enqueue, defer_by: int | None
) -> None:
    """`Job.abort()` is told that it has worked; those beside it run."""
    tasks = Tasks()
    job = await put(enqueue, "works", "aborted", _defer_by=defer_by)
    aborting = asyncio.create_task(job.abort(timeout=PATIENCE, poll_delay=LOOK_SECONDS))
    await until(lambda: is_marked(redis, job))
    other = await put(enqueue, "works", "other")
    async with engine(server.url, tasks, allow_abort_jobs=True):
        assert await aborting
        await done(redis, other.job_id)
        await done(redis, job.job_id)
    info = await job.result_info()
    assert info is not None
    assert (info.success, type(info.result)) == (False, asyncio.CancelledError)
    assert tasks.args == [("other",)]
    assert await redis.exists(abort_jobs_ss) == 0


async def test_a_running_job_is_aborted(server: EmbeddedServer, redis: ArqRedis, enqueue: Enqueue) -> None:
    """It is cancelled once, does not come again, and the worker goes on."""
    tasks, cancelled = Tasks(), list[str]()

    async def waits(ctx: dict[Any, Any]) -> None:
        try:
            await tasks.waits(ctx)
        except asyncio.CancelledError:
            cancelled.append(ctx["job_id"])
            raise

    functions = [named("waits", waits), named("works", tasks.works)]
    async with engine(server.url, tasks, functions=functions, allow_abort_jobs=True):
        job = await put(enqueue, "waits")
        await asyncio.wait_for(tasks.started.wait(), PATIENCE)
        assert await job.abort(timeout=PATIENCE, poll_delay=LOOK_SECONDS)
        await done(redis, job.job_id)
        await done(redis, (await put(enqueue, "works")).job_id)
    assert (cancelled, tasks.tries) == ([job.job_id], [1, 1])
    assert await redis.exists(abort_jobs_ss) == 0


async def test_a_cron_job_runs_once_however_many_workers_there_are(server: EmbeddedServer) -> None:
    """Each of its times is run by one of two workers, and on time."""
    runs: list[tuple[str, float]] = []

    async def ticks(ctx: dict[Any, Any]) -> None:
        runs.append((ctx["job_id"], time.time()))

    def cron_jobs() -> list[Any]:
        return [cron(ticks, name="ticks", second=set(range(60)), microsecond=0)]

    async def ticked() -> bool:
        return len(runs) >= 3

    async with (
        engine(server.url, Tasks(), cron_jobs=cron_jobs(), timezone=UTC),
        engine(server.url, Tasks(), cron_jobs=cron_jobs(), timezone=UTC),
    ):
        await until(ticked, patience=PATIENCE)
        due = [int(job_id.rpartition(":")[2]) / 1000 for job_id, _ in runs]
    assert len(set(due)) == len(due)
    late = [at - then for (_, at), then in zip(runs, due, strict=True)]
    assert min(late) >= 0
    assert max(late[1:]) < 0.5  # the first can have been due before arq had looked twice at what is planned


async def test_a_deferred_job_runs_on_time_though_the_worker_was_idle(
    server: EmbeddedServer, redis: ArqRedis, keys: Keys
) -> None:
    """Never early, and within 50 ms, though it was enqueued while the worker waited for quite another time."""
    begun: list[float] = []

    async def notes(_ctx: dict[Any, Any], due: float) -> None:
        begun.append(time.time() - due)

    async def all_have() -> bool:
        return len(begun) == 5

    async with engine(server.url, Tasks(), functions=[named("notes", notes)]):
        await until(lambda: is_idle(redis, keys), patience=PATIENCE)
        now = time.time()
        for due in (now + 1.0, now + 0.8, now + 0.6, now + 0.4, now + 0.2):
            await SharingRedis(redis).enqueue_job("notes", due, _defer_until=datetime.fromtimestamp(due, UTC))
        await until(all_have, patience=PATIENCE)
    assert min(begun) >= -0.002  # the queue counts in milliseconds
    assert sorted(begun)[2] < PUNCTUAL_SECONDS  # the median: the machine may be busy for once


async def test_retry_runs_the_job_again_after_its_time(server: EmbeddedServer, redis: ArqRedis) -> None:
    """`Retry(defer=…)` is obeyed, and each run knows its number."""
    began: list[tuple[int, float]] = []

    async def retries(ctx: dict[Any, Any]) -> str:
        began.append((ctx["job_try"], time.monotonic()))
        if ctx["job_try"] < 3:
            raise Retry(defer=0.2)
        return "at last"

    async with engine(server.url, Tasks(), functions=[named("retries", retries)]):
        job = await put(SharingRedis(redis).enqueue_job, "retries")
        assert await job.result(timeout=PATIENCE, poll_delay=LOOK_SECONDS) == "at last"
    assert [number for number, _ in began] == [1, 2, 3]
    assert all(after - before >= 0.19 for (_, before), (_, after) in pairwise(began))


async def test_a_function_of_arqs_that_fails_has_its_last_failure_as_its_result(
    server: EmbeddedServer, redis: ArqRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each failure but the last is tried again after its back-off, up to `max_tries`."""
    asked: list[int] = []

    def no_back_off(attempt: int, _chance: float) -> timedelta:
        asked.append(attempt)
        return timedelta(0)

    monkeypatch.setattr("worker.runner.back_off", no_back_off)
    tasks = Tasks()
    async with engine(server.url, tasks, max_tries=3) as worker:
        job = await put(SharingRedis(redis).enqueue_job, "fails")
        await done(redis, job.job_id)
        info = await job.result_info()
    assert (tasks.tries, asked) == ([1, 2, 3], [1, 2])
    assert info is not None
    assert (info.success, info.job_try, repr(info.result)) == (False, 3, "JobFailed('RuntimeError')")
    assert (worker.jobs_failed, worker.jobs_retried, worker.jobs_complete) == (1, 2, 0)


async def test_what_cannot_be_set_aside_yet_is_set_aside_later(
    server: EmbeddedServer, redis: ArqRedis, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A task whose setting aside fails keeps its job, which is not run any more, only set aside."""
    monkeypatch.setattr("worker.runner.back_off", lambda *_: timedelta(0))
    tasks, why = Tasks(), list[str]()

    async def set_aside(ctx: dict[Any, Any], reason: str) -> SelfEnded:
        why.append(reason)
        if len(why) < 3:
            raise RuntimeError("no room")
        await redis.zrem(keys.queue, ctx["job_id"])
        await redis.delete(*keys.job_parts(ctx["job_id"])[1:])
        return SelfEnded("set aside")

    async with engine(server.url, tasks, functions=[TaskFunction("job", tasks.fails, None, None, None, 2, set_aside)]):
        job = await put(SharingRedis(redis).enqueue_job, "job")
        await done(redis, job.job_id)
        await until(lambda: is_complete(job), patience=PATIENCE)
    assert (tasks.tries, len(why)) == ([1, 2], 3)


async def is_complete(job: Job) -> bool:
    """Say whether a job's result is there."""
    return await job.status() is JobStatus.complete


async def test_an_abort_that_was_answered_otherwise_does_not_linger(server: EmbeddedServer, redis: ArqRedis) -> None:
    """A run that caught the cancelling and asked for a retry is given back by the next stop, and not ended for good."""
    started = asyncio.Event()
    tries: list[int] = []

    async def stubborn(ctx: dict[Any, Any]) -> None:
        tries.append(ctx["job_try"])
        started.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            if len(tries) == 1:
                raise Retry(defer=0) from None
            raise

    job = await SharingRedis(redis).enqueue_job("stubborn")
    assert job is not None
    functions = [func(stubborn, name="stubborn")]
    async with engine(server.url, Tasks(), functions=functions, allow_abort_jobs=True):
        await started.wait()
        started.clear()
        await redis.zadd(abort_jobs_ss, {job.job_id: 1})
        await asyncio.wait_for(started.wait(), PATIENCE)
    assert tries == [1, 2]
    assert await job.status() == JobStatus.queued
