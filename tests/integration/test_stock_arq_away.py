"""What becomes of a job when stock arq's worker, its server or the connection between them goes away."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from arq.connections import ArqRedis
from arq.worker import Worker, func
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import OutOfMemoryError

from cli.embedded_server import EmbeddedServer
from tests.arq_workers import (
    PATIENCE,
    QUEUE,
    Tasks,
    blocked_for,
    client_of,
    comes_round_again,
    enqueue,
    is_stored,
    job_begun,
    lines_of_log,
    process,
    run_all,
    running,
)
from tests.cutting_proxy import CuttingProxy, Moment, named, transaction
from tests.house import until

CLAIM = transaction("PSETEX", "arq:in-progress:")
START = transaction("INCRBY", "arq:retry:")
END = transaction("ZREM", QUEUE)

LONG = timedelta(seconds=300)
"""arq blocks a job for the longest time-out, five minutes by default, and ten seconds more."""


@pytest.fixture
async def behind(proxy: CuttingProxy) -> AsyncIterator[ArqRedis]:
    """Arq's own client through the proxy."""
    async with client_of(proxy.port) as client:
        yield client


def worker_of(redis: ArqRedis, tasks: Tasks, **options: Any) -> Worker:  # noqa: ANN401 - those of arq
    """Return stock arq's worker."""
    return Worker(tasks.functions(), redis_pool=redis, handle_signals=False, poll_delay=0.01, **options)


async def ends_with_a_connection_error(task: asyncio.Task[None]) -> None:
    """Wait until a worker has ended because its connection broke."""
    with pytest.raises(RedisConnectionError):
        await asyncio.wait_for(asyncio.shield(task), PATIENCE)


async def test_the_job_of_a_killed_worker_is_blocked_for_minutes(server: EmbeddedServer, stock: ArqRedis) -> None:
    """Until the longest time-out and ten seconds have passed, no other worker may take it."""
    job_id = await enqueue(stock, "waits")
    with process(Worker, server.port) as child:
        assert await job_begun(child) == job_id
        child.kill()
        await asyncio.to_thread(child.wait)
    tasks = Tasks()
    worker = worker_of(stock, tasks)
    await worker.start_jobs(await stock.zrange(QUEUE, 0, -1))
    assert (tasks.tries, worker.tasks) == ([], {})
    assert LONG < await blocked_for(stock, job_id) <= LONG + timedelta(seconds=10)


async def test_the_longest_time_out_of_all_functions_is_what_counts() -> None:
    """One function that may take an hour has the jobs of all others wait an hour for a killed worker."""
    assert Worker(Tasks().functions()).in_progress_timeout_s == 310
    one_is_long = [*Tasks().functions(), func(Tasks().works, name="report", timeout=3600)]
    assert Worker(one_is_long).in_progress_timeout_s == 3610


async def test_redis_gone_at_a_poll_ends_the_worker(proxy: CuttingProxy, behind: ArqRedis) -> None:
    """The process exits, whatever else it had in hand."""
    async with running(worker_of(behind, Tasks())) as task:
        proxy.cut(Moment.BEFORE, named("ZRANGEBYSCORE"))
        await ends_with_a_connection_error(task)


async def test_redis_gone_at_the_start_of_a_job_ends_the_worker_and_blocks_the_job(
    proxy: CuttingProxy, behind: ArqRedis, stock: ArqRedis
) -> None:
    """It was claimed and is not run; nobody else may run it for minutes."""
    tasks = Tasks()
    proxy.cut(Moment.BEFORE, START)
    async with running(worker_of(behind, tasks)) as task:
        job_id = await enqueue(stock, "works")
        await ends_with_a_connection_error(task)
    assert tasks.tries == []
    assert await blocked_for(stock, job_id) > LONG


async def test_redis_gone_at_the_end_of_a_job_ends_the_worker_and_repeats_the_effect(
    proxy: CuttingProxy, behind: ArqRedis, stock: ArqRedis
) -> None:
    """What was done is not written down: minutes later another worker does it again."""
    tasks = Tasks()
    proxy.cut(Moment.BEFORE, END)
    async with running(worker_of(behind, tasks)) as task:
        job_id = await enqueue(stock, "works")
        await ends_with_a_connection_error(task)
    assert tasks.tries == [1]
    assert await blocked_for(stock, job_id) > LONG
    await comes_round_again(stock, job_id)
    await run_all(Worker, stock, tasks)
    assert tasks.tries == [1, 2]


async def test_a_lost_reply_at_the_end_of_a_job_ends_the_worker_too(
    proxy: CuttingProxy, behind: ArqRedis, stock: ArqRedis
) -> None:
    """Although everything was written down."""
    tasks = Tasks()
    proxy.cut(Moment.AFTER, END)
    async with running(worker_of(behind, tasks)) as task:
        job_id = await enqueue(stock, "works")
        await ends_with_a_connection_error(task)
    assert not await is_stored(stock, job_id)


async def test_a_lost_reply_to_a_claim_orphans_the_job(proxy: CuttingProxy, behind: ArqRedis, stock: ArqRedis) -> None:
    """redis-py makes a WatchError of it, arq takes it for another worker's claim and says so for debugging only."""
    tasks = Tasks()
    cut = proxy.cut(Moment.AFTER, CLAIM)
    with lines_of_log("arq.worker") as said:
        async with running(worker_of(behind, tasks)) as task:
            job_id = await enqueue(stock, "works")
            await asyncio.wait_for(cut.happened.wait(), PATIENCE)
            other = await enqueue(stock, "works")
            await tasks.has_run()
            assert not task.done()
    assert len(tasks.tries) == 1
    assert not await is_stored(stock, other)
    assert await is_stored(stock, job_id)
    assert await blocked_for(stock, job_id) > LONG
    assert f"DEBUG multi-exec error, job {job_id} already started elsewhere" in said


async def test_a_full_server_stalls_a_worker_in_silence(own_server: EmbeddedServer) -> None:
    """The claim is refused like any write, and nothing above debug says so: what waits stays until there is room."""
    tasks = Tasks()
    async with client_of(own_server.port) as redis:
        worker = worker_of(redis, tasks)
        with lines_of_log("arq.worker") as said:
            async with running(worker) as task:

                async def polls() -> bool:
                    return bool(await redis.exists(f"{QUEUE}:health-check"))

                await until(polls, patience=PATIENCE)
                worker.allow_pick_jobs = False  # until the server is full: then it takes no new jobs either
                job_id = await enqueue(redis, "works")
                await redis.config_set("maxmemory", 1)
                worker.allow_pick_jobs = True

                async def refused() -> bool:
                    return any(line.startswith(f"DEBUG multi-exec error, job {job_id}") for line in said)

                await until(refused, patience=PATIENCE)
                assert not task.done()
                assert tasks.tries == []
                await redis.config_set("maxmemory", 0)
                await tasks.has_run()


async def test_a_full_server_ends_a_worker_that_starts(own_server: EmbeddedServer) -> None:
    """The record for `arq --check` is a write like any other, and its refusal ends the process."""
    async with client_of(own_server.port) as redis:
        await redis.config_set("maxmemory", 1)
        with pytest.raises(OutOfMemoryError):
            await asyncio.wait_for(worker_of(redis, Tasks()).async_run(), PATIENCE)


async def test_a_blocked_event_loop_has_a_second_worker_run_the_job_too(
    server: EmbeddedServer, stock: ArqRedis
) -> None:
    """The claim is nobody's in particular and is not renewed; both runs end as if each were the only one."""
    blocked, free = threading.Event(), threading.Event()
    runs: list[str] = []

    async def blocks(ctx: dict[Any, Any]) -> None:
        runs.append(ctx["job_id"])
        blocked.set()
        free.wait(PATIENCE)

    async def elsewhere() -> None:
        async with client_of(server.port) as redis:
            worker = Worker([func(blocks, name="blocks")], redis_pool=redis, handle_signals=False, burst=True)
            worker.in_progress_timeout_s = 0.2  # 310 s would be long for a test
            await worker.async_run()

    async def second(ctx: dict[Any, Any]) -> None:
        runs.append(ctx["job_id"])

    job_id = await enqueue(stock, "blocks")
    thread = threading.Thread(target=lambda: asyncio.run(elsewhere()))
    thread.start()
    assert await asyncio.to_thread(blocked.wait, PATIENCE)
    before = time.monotonic()
    worker = Worker([func(second, name="blocks")], redis_pool=stock, handle_signals=False, poll_delay=0.01, burst=True)
    await asyncio.wait_for(worker.async_run(), PATIENCE)
    assert time.monotonic() - before < 2
    free.set()
    await asyncio.to_thread(thread.join)
    assert runs == [job_id, job_id]
    assert worker.jobs_complete == 1
