"""How a job ends with stock arq: at its first fault, for good, and with nothing left that a person could take up."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from arq.connections import ArqRedis
from arq.jobs import Job
from arq.worker import Worker

from cli.embedded_server import EmbeddedServer
from tests.arq_workers import (
    PATIENCE,
    QUEUE,
    Tasks,
    blocked_for,
    client_of,
    enqueue,
    is_stored,
    run_all,
    running,
)


@pytest.fixture
async def stock(server: EmbeddedServer, redis: ArqRedis) -> AsyncIterator[ArqRedis]:
    """Arq's own client of the session's server, which is empty."""
    del redis
    async with client_of(server.port) as client:
        yield client


async def names_left(redis: ArqRedis) -> set[str]:
    """Return the names of all keys, but for the record that workers keep of themselves."""
    return {key.decode() for key in await redis.keys()} - {f"{QUEUE}:health-check"}


async def test_an_ordinary_exception_fails_a_job_for_good(stock: ArqRedis) -> None:
    """At the first try the job is deleted; what happened is kept for an hour, and there are no dead letters."""
    tasks = Tasks()
    job_id = await enqueue(stock, "fails")
    await run_all(Worker, stock, tasks)
    assert tasks.tries == [1]
    assert await names_left(stock) == {f"arq:result:{job_id}"}
    assert 3590 < await stock.ttl(f"arq:result:{job_id}") <= 3600


async def test_arqs_own_time_out_fails_a_job_for_good(stock: ArqRedis) -> None:
    """A carrier that hangs once is enough."""
    tasks = Tasks()
    job_id = await enqueue(stock, "waits")
    await run_all(Worker, stock, tasks, job_timeout=0.05)
    assert tasks.tries == [1]
    assert await names_left(stock) == {f"arq:result:{job_id}"}
    result = await Job(job_id, stock).result_info()
    assert result is not None
    assert isinstance(result.result, asyncio.TimeoutError)


async def test_a_job_beyond_its_tries_is_dropped_before_any_code_of_ours(stock: ArqRedis) -> None:
    """There is no place where it could be set aside for a person."""
    tasks = Tasks()
    job_id = await enqueue(stock, "works")
    await stock.set(f"arq:retry:{job_id}", 5)
    await run_all(Worker, stock, tasks)
    assert tasks.tries == []
    assert await names_left(stock) == {f"arq:result:{job_id}"}


async def test_enough_deployments_drop_a_healthy_job(stock: ArqRedis) -> None:
    """Each worker that is stopped while it runs the job spends one of its tries."""
    tasks = Tasks()
    job_id = await enqueue(stock, "waits")
    for deployment in (1, 2):
        tasks.started.clear()
        worker = Worker(tasks.functions(), redis_pool=stock, handle_signals=False, poll_delay=0.01, max_tries=2)
        async with running(worker):
            await asyncio.wait_for(tasks.started.wait(), PATIENCE)
        assert await is_stored(stock, job_id)
        assert await stock.get(f"arq:retry:{job_id}") == b"%d" % deployment
    tasks.go_on.set()
    await run_all(Worker, stock, tasks, max_tries=2)
    assert tasks.tries == [1, 2]
    assert not await is_stored(stock, job_id)


async def test_a_job_whose_function_is_not_known_is_destroyed(stock: ArqRedis) -> None:
    """At once, by any worker of the older release, while those of the newer one start."""
    job_id = await enqueue(stock, "a_task_of_tomorrow")
    await run_all(Worker, stock, Tasks())
    assert await names_left(stock) == {f"arq:result:{job_id}"}


async def test_a_payload_that_cannot_be_read_is_deleted(stock: ArqRedis) -> None:
    """Nothing of what it said is kept."""
    await stock.set("arq:job:j", b"\xc1")
    await stock.zadd(QUEUE, {"j": 1})
    await run_all(Worker, stock, Tasks())
    assert await names_left(stock) == {"arq:result:j"}
    assert b"\xc1" not in await stock.get("arq:result:j")


async def test_the_end_of_a_job_deletes_a_new_one_of_its_id(stock: ArqRedis) -> None:
    """What was stored while it ran is lost: its end names the job and not the run."""
    job_id = await enqueue(stock, "is_stored_anew")
    worker = await run_all(Worker, stock, Tasks())
    assert worker.jobs_complete == 1
    assert not await is_stored(stock, job_id)


async def test_a_hook_that_raises_ends_the_worker(stock: ArqRedis) -> None:
    """And leaves the job blocked, its code never run."""

    async def raises(ctx: dict[Any, Any]) -> None:
        raise RuntimeError(f"no budget for {ctx['job_id']}")

    tasks = Tasks()
    job_id = await enqueue(stock, "works")
    with pytest.raises(RuntimeError, match="no budget"):
        await run_all(Worker, stock, tasks, on_job_start=raises)
    assert tasks.tries == []
    assert await blocked_for(stock, job_id) > timedelta(seconds=300)
