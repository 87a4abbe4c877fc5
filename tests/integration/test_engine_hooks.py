"""What surrounds the jobs of a worker of arq's: its hooks, bursts, and the record that `arq --check` reads."""

import asyncio
import io
import warnings
from collections.abc import Awaitable, Callable
from datetime import timedelta
from signal import Signals
from typing import Any

import pytest
from arq.connections import ArqRedis, RedisSettings
from arq.jobs import Job, JobStatus
from arq.worker import Function, async_check_health

from cli.embedded_server import EmbeddedServer
from rewardpost import logs
from rewardpost.client import SharingRedis
from rewardpost.connection import connect
from rewardpost.keys import Keys
from rewardpost.queue import Queue
from tests.arq_workers import PATIENCE, Tasks
from tests.engines import done, engine
from tests.house import until
from worker.engine import Engine


async def put(redis: ArqRedis, name: str, **options: Any) -> Job:  # noqa: ANN401 - those of arq
    """Enqueue a job that is no duplicate."""
    job = await SharingRedis(redis).enqueue_job(name, **options)
    assert job is not None
    return job


async def is_complete(job: Job) -> bool:
    """Say whether a job's result is there."""
    return await job.status() is JobStatus.complete


def burst(url: str, *functions: Function, **options: Any) -> Engine:  # noqa: ANN401 - those of arq
    """Return a worker that ends when the queue is empty."""
    redis = connect(url, call_timeout=timedelta(seconds=5))
    return Engine(functions, redis_pool=redis, handle_signals=False, burst=True, **options)


async def test_hooks_are_called_in_arqs_order(server: EmbeddedServer, redis: ArqRedis) -> None:
    """Around the job, with its context; the last one when its end is written down."""
    tasks, called = Tasks(), list[tuple[Any, ...]]()

    def hook(name: str) -> Callable[[dict[Any, Any]], Awaitable[None]]:
        async def note(ctx: dict[Any, Any]) -> None:
            job = ctx.get("job_id")
            called.append((name, job, job is not None and await redis.exists(f"arq:job:{job}")))

        return note

    names = ("on_startup", "on_job_start", "on_job_end", "after_job_end", "on_shutdown")
    async with engine(server.url, tasks, **{name: hook(name) for name in names}):  # type: ignore[arg-type] # arq's own
        job = await put(redis, "works", _job_id="j")
        await done(redis, job.job_id)
    assert called == [
        ("on_startup", None, False),
        ("on_job_start", "j", 1),
        ("on_job_end", "j", 1),
        ("after_job_end", "j", 0),
        ("on_shutdown", None, False),
    ]


async def test_hooks_that_always_raise_stop_nothing(
    server: EmbeddedServer, redis: ArqRedis, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No job, and no stopping either: what is in hand is given back all the same, and the failures are logged."""
    stream = io.StringIO()
    logs.configure("json", stream=stream)
    monkeypatch.setattr("worker.runner.back_off", lambda *_: timedelta(0))

    async def fails(_ctx: dict[Any, Any]) -> None:
        raise RuntimeError("no budget")

    def fails_to_stop(_signal: Signals) -> None:
        raise RuntimeError("no budget either")

    async def fails_for_one(ctx: dict[Any, Any]) -> None:
        if ctx["job_id"] == "unlucky":
            await fails(ctx)

    tasks = Tasks()
    hooks: dict[str, Any] = {"on_job_start": fails_for_one, "on_job_end": fails, "after_job_end": fails}
    async with engine(server.url, tasks, max_tries=2, on_shutdown=fails, **hooks) as worker:
        worker.on_stop = fails_to_stop
        unlucky = await put(redis, "works", _job_id="unlucky")
        await done(redis, "unlucky")
        lucky = await put(redis, "works")
        await until(lambda: is_complete(lucky), patience=PATIENCE)
        waiting = await put(redis, "waits")
        await asyncio.wait_for(tasks.started.wait(), PATIENCE)
    infos = [await job.result_info() for job in (unlucky, lucky)]
    assert [info is not None and info.success for info in infos] == [False, True]
    assert await redis.exists(keys.in_progress(waiting.job_id), f"{keys.queue}:health-check") == 0
    assert await waiting.status() is JobStatus.queued
    assert worker._pool is None  # noqa: SLF001 - it has been let go of
    assert stream.getvalue().count("hook_failed") >= 6


async def test_a_burst_ends_when_the_queue_is_empty(server: EmbeddedServer, redis: ArqRedis) -> None:
    """`run_check()` counts the jobs; what is deferred is waited for, and not asked for all the time."""
    tasks = Tasks()
    for _ in range(20):
        await put(redis, "works")
    await put(redis, "works", _defer_by=0.5)
    calls = await script_calls(redis)
    worker = burst(server.url, *tasks.functions())
    async with asyncio.timeout(PATIENCE):
        assert await worker.run_check() == 21
    assert await script_calls(redis) - calls < 30
    await worker.close()


async def script_calls(redis: ArqRedis) -> int:
    """Return how many scripts the server has been asked for."""
    return int((await redis.info("commandstats"))["cmdstat_evalsha"]["calls"])


async def test_a_burst_on_an_empty_queue_ends_at_once(server: EmbeddedServer, redis: ArqRedis) -> None:
    """It does not wait for a wake-up."""
    assert await redis.dbsize() == 0
    worker = burst(server.url, *Tasks().functions())
    async with asyncio.timeout(0.5):
        assert await worker.run_check() == 0
    await worker.close()


async def test_a_burst_on_a_paused_queue_waits_without_asking_all_the_time(
    server: EmbeddedServer, redis: ArqRedis, keys: Keys
) -> None:
    """It goes on when the queue is resumed, and then comes to its end."""
    tasks, queue = Tasks(), Queue(redis, keys)
    await put(redis, "works")
    await queue.pause("stock-taking")
    worker = burst(server.url, *tasks.functions())
    calls = await script_calls(redis)
    running = asyncio.create_task(worker.run_check())
    await asyncio.wait({running}, timeout=0.5)  # nothing may happen: there is no condition to wait for
    assert (running.done(), await script_calls(redis) - calls < 10) == (False, True)
    await queue.resume()
    assert await asyncio.wait_for(running, PATIENCE) == 1
    await worker.close()


async def test_max_burst_jobs_leaves_the_rest(server: EmbeddedServer, redis: ArqRedis, keys: Keys) -> None:
    """So many run and no more, and those that are left are as they were."""
    tasks = Tasks()
    jobs = [await put(redis, "works") for _ in range(5)]
    worker = burst(server.url, *tasks.functions(), max_burst_jobs=3)
    async with asyncio.timeout(PATIENCE):
        assert await worker.run_check() == 3
    await worker.close()
    assert sorted([await job.status() for job in jobs]) == [JobStatus.complete] * 3 + [JobStatus.queued] * 2
    left = [job.job_id for job in jobs if await job.status() is JobStatus.queued]
    assert await redis.exists(*(key for job_id in left for key in keys.job_parts(job_id)[2:])) == 0


async def test_arqs_check_finds_the_record_of_a_running_worker(server: EmbeddedServer, redis: ArqRedis) -> None:
    """It tells what the worker has done, and is gone when the worker is."""
    tasks = Tasks()
    assert await check(server) == 1
    async with engine(server.url, tasks, health_check_interval=0.2):
        await done(redis, (await put(redis, "works")).job_id)
        await until(lambda: tells(redis, b"j_complete=1 j_failed=0 j_retried=0 j_ongoing=0 queued=0"))
        assert await check(server) == 0
    assert await check(server) == 1


async def tells(redis: ArqRedis, text: bytes) -> bool:
    """Say whether arq's health record holds this text."""
    return text in (await redis.get("arq:queue:health-check") or b"")


async def check(server: EmbeddedServer) -> int:
    """Return the exit status of `arq --check`."""
    with warnings.catch_warnings(action="ignore", category=DeprecationWarning):  # arq closes by an old name
        return await async_check_health(RedisSettings(host="127.0.0.1", port=server.port))
