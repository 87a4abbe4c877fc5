"""What loses a job with stock arq, and the engine under the same: a worker, its server or the connection goes away.

The counterpart of each is in `test_stock_arq_away.py`, where there is one.
"""

import asyncio
import pickle
import threading
import time
from typing import Any

import pytest
from arq.connections import ArqRedis
from arq.worker import func

from cli.embedded_server import EmbeddedServer
from rewardpost.connection import UNREACHABLE, connect
from tests.arq_workers import PATIENCE, QUEUE, Tasks, client_of, enqueue, is_stored, job_begun, process
from tests.cutting_proxy import CuttingProxy, Moment, Predicate, named, script
from tests.engines import CALL_TIMEOUT, LEASE, done, engine
from tests.house import until
from worker.engine import Engine


async def test_the_job_of_a_killed_worker_runs_again_within_the_lease(server: EmbeddedServer, redis: ArqRedis) -> None:
    """And a second, on any other worker."""
    async with client_of(server.port) as stock:
        job_id = await enqueue(stock, "waits")
    tasks = Tasks()
    tasks.go_on.set()
    with process(Engine, server.port, LEASE) as child:
        assert await job_begun(child) == job_id
        child.kill()
        killed_at = time.monotonic()
        async with engine(server.url, tasks, job_serializer=pickle.dumps, job_deserializer=pickle.loads):
            await tasks.has_run()
            assert time.monotonic() - killed_at < LEASE.total_seconds() + 1
            await done(redis, job_id)
    assert tasks.tries == [2]


@pytest.mark.parametrize("moment", list(Moment))
@pytest.mark.parametrize(
    ("call", "times"),
    [
        pytest.param(script("claim_jobs"), 2, id="claim"),
        pytest.param(script("end_jobs"), 2, id="end"),
        pytest.param(script("renew_leases"), 1, id="renew"),  # with a lease as short as this a second one is too late
        pytest.param(named("BLPOP"), 2, id="wake-up"),
        pytest.param(named("PSETEX", f"{QUEUE}:health-check"), 1, id="health"),
    ],
)
async def test_a_cut_at_any_call_loses_no_job_and_ends_no_worker(
    proxy: CuttingProxy, redis: ArqRedis, call: Predicate, times: int, moment: Moment
) -> None:
    """Even twice in a row: each job still runs once and ends once, one that takes longer than its lease as well."""
    tasks = Tasks()

    async def takes_long(ctx: dict[Any, Any]) -> None:
        await asyncio.sleep(1.2 * LEASE.total_seconds())
        await tasks.works(ctx)

    cut = proxy.cut(moment, call, times=times)
    async with engine(proxy.url, tasks, functions=[*tasks.functions(), func(takes_long, name="takes_long")]):
        for job_id in (await enqueue(redis, "works"), await enqueue(redis, "takes_long")):
            await done(redis, job_id)
        await asyncio.wait_for(cut.happened.wait(), PATIENCE)
        await done(redis, await enqueue(redis, "works"))
    assert len(tasks.tries) == 3


async def test_a_full_server_drains(own_server: EmbeddedServer) -> None:
    """Jobs are claimed and ended while there is no room for a new one; a worker can start on it, too."""
    tasks = Tasks()
    redis = connect(own_server.url, call_timeout=CALL_TIMEOUT)
    job_id = await enqueue(redis, "works")
    await redis.config_set("maxmemory", 1)
    async with engine(own_server.url, tasks):
        await done(redis, job_id)
    assert tasks.tries == [1]
    await redis.aclose()


async def test_a_blocked_event_loop_keeps_its_job(server: EmbeddedServer, redis: ArqRedis) -> None:
    """A thread renews the lease meanwhile, and no second worker runs the job."""
    blocked, free = threading.Event(), threading.Event()
    runs: list[str] = []

    async def blocks(ctx: dict[Any, Any]) -> None:
        runs.append(ctx["job_id"])
        blocked.set()
        free.wait(PATIENCE)

    over = threading.Event()

    async def elsewhere() -> None:
        async with engine(server.url, Tasks(), functions=[func(blocks, name="blocks")]):
            await asyncio.to_thread(over.wait, 3 * PATIENCE)

    job_id = await enqueue(redis, "blocks")
    thread = threading.Thread(target=lambda: asyncio.run(elsewhere()))
    thread.start()
    assert await asyncio.to_thread(blocked.wait, PATIENCE)
    async with engine(server.url, Tasks(), functions=[func(blocks, name="blocks")]):
        await asyncio.sleep(2 * LEASE.total_seconds())  # nothing may happen: there is no condition to wait for
        free.set()
        await done(redis, job_id)
        assert runs == [job_id]
    over.set()
    await asyncio.to_thread(thread.join)


async def test_a_worker_that_was_cut_off_cannot_end_a_job_that_another_has(
    server: EmbeddedServer, proxy: CuttingProxy, redis: ArqRedis
) -> None:
    """Its late writing reaches the server, is refused, and the job stays with the one that has it."""
    late, quick = Tasks(), Tasks()
    async with engine(proxy.url, late), engine(server.url, quick) as other:
        other.allow_pick_jobs = False
        job_id = await enqueue(redis, "waits")
        await asyncio.wait_for(late.started.wait(), PATIENCE)
        with proxy.black_hole(deliver_late=True):
            other.allow_pick_jobs = True
            await asyncio.wait_for(quick.started.wait(), PATIENCE)
            late.go_on.set()
            sent = len(proxy.commands)
        await until(lambda: has_tried_to_end(proxy, since=sent), patience=PATIENCE)
        await until(lambda: answers(proxy), patience=PATIENCE)
        assert await is_stored(redis, job_id)
        assert (await redis.get(f"arq:in-progress:{job_id}") or b"").startswith(other._name.encode())  # noqa: SLF001 - whose it is
        quick.go_on.set()
        await done(redis, job_id)
    assert (late.tries, quick.tries) == ([1], [2])


async def has_tried_to_end(proxy: CuttingProxy, *, since: int) -> bool:
    """Say whether a worker has sent the end of a job."""
    return any(script("end_jobs")(command) for command in proxy.commands[since:])


async def reached(redis: ArqRedis) -> bool:
    """Say whether a server answers."""
    try:
        return bool(await redis.ping())
    except UNREACHABLE:
        return False


async def answers(proxy: CuttingProxy) -> bool:
    """Say whether what was sent through the proxy before has been answered: this comes after it."""
    client = connect(proxy.url, call_timeout=CALL_TIMEOUT)
    try:
        return bool(await client.ping())
    finally:
        await client.aclose()


async def test_the_server_may_come_and_go(own_server: EmbeddedServer) -> None:
    """Killed, frozen, emptied, its scripts forgotten or demoted for a while: the same worker runs what comes after."""
    tasks = Tasks()
    asking = connect(own_server.url, call_timeout=CALL_TIMEOUT * 4)

    async def empty() -> None:
        await asking.flushall()

    async def forget_scripts() -> None:
        await asking.script_flush()

    async def kill() -> None:
        own_server.kill()
        await asyncio.sleep(CALL_TIMEOUT.total_seconds())  # long enough for a worker to notice
        await asyncio.to_thread(own_server.start)

    async def freeze() -> None:
        own_server.freeze()
        await asyncio.sleep(CALL_TIMEOUT.total_seconds() * 2)
        own_server.thaw()

    async def demote() -> None:
        await asking.replicaof("127.0.0.1", "1")
        await asyncio.sleep(CALL_TIMEOUT.total_seconds())
        await asking.replicaof("NO", "ONE")

    async with engine(own_server.tcp_url, tasks):
        for times, misfortune in enumerate((empty, forget_scripts, demote, freeze, kill), 1):
            await misfortune()
            await until(lambda: reached(asking), patience=PATIENCE)
            await done(asking, await enqueue(asking, "works"))
            assert len(tasks.tries) == times
    await asking.aclose()
