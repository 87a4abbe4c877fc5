"""What loses a job with stock arq, and the engine under the same: how a job is enqueued, run and ended.

Each test here has its counterpart in `test_stock_arq_enqueue.py`, `test_stock_arq_ends.py` or
`test_stock_arq_settings.py`; what goes away is in `test_engine_cures_away.py`.
"""

import asyncio
import io
import pickle
from datetime import timedelta
from typing import Any, cast

import arq.worker
import pytest
from arq.connections import ArqRedis
from arq.jobs import Job

from cli.embedded_server import EmbeddedServer
from rewardpost import codec, logs
from rewardpost.client import SharingRedis
from rewardpost.connection import UNREACHABLE, connect
from tests import arq_workers
from tests.arq_workers import PATIENCE, QUEUE, Tasks, blocked_for, enqueue, is_stored
from tests.cutting_proxy import CuttingProxy, Moment, script
from tests.engines import CALL_TIMEOUT, done, engine
from tests.house import until
from worker.engine import Engine
from worker.runner import SelfEnded, TaskFunction

SHORT = timedelta(milliseconds=20)


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses between tries that a test can wait for."""
    monkeypatch.setattr("worker.runner.back_off", lambda _attempt, _random: SHORT)
    monkeypatch.setattr("worker.runner.NOT_OURS_PAUSE", SHORT)


class Letters:
    """A task that fails, and what is set aside of it."""

    def __init__(self, redis: ArqRedis) -> None:
        self.why: list[str] = []
        self._redis = redis

    def function(self, tasks: Tasks, name: str, *, timeout: float | None = None) -> TaskFunction:
        """Return one of the tasks as a function that is set aside after two tries."""
        coroutine = getattr(tasks, name)
        return TaskFunction(name, coroutine, timeout, None, None, 2, self._set_aside)

    async def _set_aside(self, ctx: dict[Any, Any], why: str) -> SelfEnded:
        self.why.append(why)
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.zrem(QUEUE, ctx["job_id"])
            pipe.delete(*(f"arq:{part}:{ctx['job_id']}" for part in ("job", "in-progress", "retry")))
            await pipe.execute()
        return SelfEnded("set aside")

    async def arrived(self) -> None:
        """Wait for the first."""

        async def any_is_there() -> bool:
            return bool(self.why)

        await until(any_is_there, patience=PATIENCE)


@pytest.mark.parametrize("moment", list(Moment))
async def test_enqueue_raises_when_the_connection_breaks(
    server: EmbeddedServer, redis: ArqRedis, moment: Moment
) -> None:
    """What is not known is not passed off as a duplicate; the repeat stores it or finds it."""
    async with CuttingProxy(server.port) as proxy:
        client = SharingRedis(connect(proxy.url, call_timeout=CALL_TIMEOUT))
        proxy.cut(moment, script("enqueue_job"))
        with pytest.raises(UNREACHABLE):
            await client.enqueue_job("works", _job_id="j")
        assert await is_stored(redis, "j") == (moment is Moment.AFTER)
        assert (await client.enqueue_job("works", _job_id="j") is None) == (moment is Moment.AFTER)
        await client.aclose(close_connection_pool=True)
    assert await redis.zcard(QUEUE) == 1


async def test_a_payload_of_ours_has_no_time_to_live(redis: ArqRedis) -> None:
    """So no backlog is too old; it goes when its job ends."""
    job = await SharingRedis(redis).enqueue_job("works")
    assert job is not None
    assert await redis.ttl(f"arq:job:{job.job_id}") == -1


async def test_a_failing_job_is_tried_again(server: EmbeddedServer, redis: ArqRedis) -> None:
    """An ordinary exception costs one of its tries."""
    tasks = Tasks()

    async def fails_twice(ctx: dict[Any, Any]) -> None:
        await (tasks.fails(ctx) if ctx["job_try"] < 3 else tasks.works(ctx))

    async with engine(server.url, tasks, functions=[arq.worker.func(fails_twice, name="fails")]):
        job_id = await enqueue(redis, "fails")
        await done(redis, job_id)
    assert tasks.tries == [1, 2, 3]


@pytest.mark.parametrize(("name", "limit", "fault"), [("fails", None, "RuntimeError"), ("waits", 0.05, "TimeoutError")])
async def test_a_job_whose_tries_are_spent_is_set_aside(
    server: EmbeddedServer, redis: ArqRedis, name: str, limit: float | None, fault: str
) -> None:
    """Failing or taking too long: a person gets it, with the reason, and its end is the one that its task wrote."""
    tasks, letters = Tasks(), Letters(redis)
    async with engine(server.url, tasks, functions=[letters.function(tasks, name, timeout=limit)]):
        job_id = await enqueue(redis, name)
        await letters.arrived()
        await done(redis, job_id)
    assert tasks.tries == [1, 2]
    (why,) = letters.why
    assert why.startswith("2 attempts failed, the last one with ")
    assert fault in why


async def test_a_job_that_always_loses_its_worker_is_set_aside(server: EmbeddedServer, redis: ArqRedis) -> None:
    """Where stock arq drops it before any code of ours."""
    tasks, letters = Tasks(), Letters(redis)
    job_id = await enqueue(redis, "works")
    await redis.set(f"arq:retry:{job_id}", 2)
    async with engine(server.url, tasks, functions=[letters.function(tasks, "works")]):
        await letters.arrived()
        await done(redis, job_id)
    assert tasks.tries == []
    assert letters.why == ["tried 2 times, and each time the worker ended before the job did"]


async def test_no_number_of_deployments_drops_a_healthy_job(server: EmbeddedServer, redis: ArqRedis) -> None:
    """A worker that is stopped gives its job back at once, due as it was, its try unspent."""
    tasks = Tasks()
    job_id = await enqueue(redis, "waits")
    due = await redis.zscore(QUEUE, job_id)
    for _ in range(3):
        tasks.started.clear()
        async with engine(server.url, tasks, max_tries=2):
            await asyncio.wait_for(tasks.started.wait(), PATIENCE)
        assert await redis.zscore(QUEUE, job_id) == due
        assert await blocked_for(redis, job_id) == timedelta(0)
        assert await redis.exists(f"arq:retry:{job_id}") == 0
    tasks.go_on.set()
    async with engine(server.url, tasks, max_tries=2):
        await done(redis, job_id)
    assert tasks.tries == [1, 1, 1, 1]


async def test_a_job_whose_function_is_not_known_waits_for_a_worker_that_knows_it(
    server: EmbeddedServer, redis: ArqRedis
) -> None:
    """Beside a worker of the older release, which leaves it, one of the newer runs it, its try unspent."""
    older, newer = Tasks(), Tasks()
    known_to_all = older.functions()
    async with engine(server.url, older, functions=known_to_all):
        job_id = await enqueue(redis, "of_tomorrow")
        await done(redis, await enqueue(redis, "works"))
        assert await is_stored(redis, job_id)
        of_tomorrow = arq.worker.func(newer.works, name="of_tomorrow")
        async with engine(server.url, newer, functions=[*known_to_all, of_tomorrow]):
            await done(redis, job_id)
    assert newer.tries == [1]


@pytest.mark.parametrize("hook", ["on_job_start", "on_job_end", "after_job_end"])
async def test_a_hook_that_raises_ends_no_worker(server: EmbeddedServer, redis: ArqRedis, hook: str) -> None:
    """The job that it raised for ends, and so do those after it."""
    raised: list[str] = []

    async def raises_once(ctx: dict[Any, Any]) -> None:
        if not raised:
            raised.append(ctx["job_id"])
            raise RuntimeError("no budget")

    tasks = Tasks()
    hooks: dict[str, Any] = {hook: raises_once}
    async with engine(server.url, tasks, **hooks):
        job_id = await enqueue(redis, "works")
        await done(redis, job_id)
        await done(redis, await enqueue(redis, "works"))
    assert raised == [job_id]
    assert len(tasks.tries) == 2


async def test_a_pickle_on_the_queue_is_never_loaded(server: EmbeddedServer, redis: ArqRedis) -> None:
    """It is no job of ours: it stays for the task that sets such things aside."""

    class RunsCode:
        def __reduce__(self) -> tuple[Any, tuple[str]]:
            return arq_workers.note_loading, ("code of the sender's choice",)

    arq_workers.loaded.clear()
    await redis.set("arq:job:j", pickle.dumps(RunsCode()))
    await redis.zadd(QUEUE, {"j": 1})
    got: list[bytes] = []

    async def set_aside(ctx: dict[Any, Any], payload: bytes) -> None:
        del ctx
        got.append(payload)

    tasks = Tasks()
    async with engine(server.url, tasks, functions=[arq.worker.func(set_aside, name=codec.UNREADABLE)]):
        await done(redis, "j")
    assert arq_workers.loaded == []
    assert len(got) == 1


async def test_an_exception_is_kept_as_a_result(server: EmbeddedServer, redis: ArqRedis) -> None:
    """With its name, and without what it says or what the job was given."""
    tasks = Tasks()
    async with engine(server.url, tasks, max_tries=1):
        job_id = await enqueue(redis, "fails")
        await done(redis, job_id)
        result = await Job(job_id, redis, _deserializer=codec.decode).result_info()
    assert result is not None
    assert (result.success, repr(result.result), list(result.args)) == (False, "JobFailed('RuntimeError')", [])


async def test_no_argument_of_a_job_stands_in_the_log(server: EmbeddedServer, redis: ArqRedis) -> None:
    """Neither when it ends well nor when it fails."""
    stream = io.StringIO()
    logs.configure("json", stream=stream)

    async def works_or_fails(ctx: dict[Any, Any], where: str, *, fail: bool) -> str:
        if fail and ctx["job_try"] < 3:
            raise RuntimeError(where)
        return where

    async with engine(server.url, Tasks(), functions=[arq.worker.func(works_or_fails, name="f")]):
        for fail in (False, True):
            await done(redis, await enqueue(redis, "f", "12 Example Lane", fail=fail))
    assert "job_failed" in stream.getvalue()
    assert "Example Lane" not in stream.getvalue()


async def test_arqs_command_hands_on_all_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """What arq's own worker takes and what ours takes besides, since the signature names both."""

    class Settings:
        functions = Tasks().functions()
        max_jobs = 7
        lease = timedelta(seconds=4)

    monkeypatch.setattr(arq.worker, "Worker", Engine)
    worker = arq.worker.create_worker(cast("Any", Settings), handle_signals=False)
    assert isinstance(worker, Engine)
    assert worker.max_jobs == 7
