"""What this project believes of stock arq and builds against, each line shown, so that an upgrade tells."""

import asyncio
from datetime import timedelta
from signal import SIGTERM
from typing import Any

import arq.worker
import pytest
from arq.connections import ArqRedis
from arq.jobs import Job, deserialize_job_raw
from arq.worker import Worker, func
from redis.exceptions import ConnectionError as RedisConnectionError

from cli.embedded_server import EmbeddedServer
from rewardpost import codec
from rewardpost.connection import connect
from tests.house import until
from worker.composition import worker_settings
from worker.edge import EdgeWorker

QUEUE = "arq:queue"


class Tasks:
    """Functions as a user of stock arq writes them."""

    def __init__(self) -> None:
        self.started = asyncio.Event()
        self.runs = 0

    async def waits(self, ctx: dict[Any, Any]) -> None:
        """Wait for ever."""
        del ctx
        self.started.set()
        await asyncio.Event().wait()

    async def works(self, ctx: dict[Any, Any]) -> None:
        """Count a run."""
        del ctx
        self.runs += 1

    async def is_stored_anew(self, ctx: dict[Any, Any]) -> None:
        """Have the sender store a new job of this id while this one still runs."""
        await ctx["redis"].set(f"arq:job:{ctx['job_id']}", b"a new job")


def stock(redis: ArqRedis, tasks: Tasks, **options: Any) -> Worker:  # noqa: ANN401 - arq's own options
    """Return stock arq's worker."""
    functions = [func(getattr(tasks, name), name=name) for name in ("waits", "works", "is_stored_anew")]
    return Worker(functions=functions, redis_pool=redis, handle_signals=False, poll_delay=0.01, **options)


async def enqueue(redis: ArqRedis, name: str) -> str:
    """Enqueue a job in arq's own way and return its id."""
    job = await ArqRedis.enqueue_job(redis, name)
    assert job is not None
    return job.job_id


async def left(redis: ArqRedis, job_id: str) -> bool:
    """Say whether a job is still stored."""
    return bool(await redis.exists(f"arq:job:{job_id}"))


async def test_enqueue_gives_none_when_the_connection_breaks(own_server: EmbeddedServer) -> None:
    """The same answer as for a duplicate, and nothing is stored: the door must not use it."""

    def serializer(job: dict[str, Any]) -> bytes:
        own_server.kill()  # arq encodes the job between its WATCH and its EXEC
        return codec.encode(job)

    redis = connect(own_server.url, call_timeout=timedelta(seconds=1))
    redis.job_serializer = serializer
    assert await redis.enqueue_job("works", _job_id="j") is None
    await redis.aclose()
    await asyncio.to_thread(own_server.start)
    again = connect(own_server.url, call_timeout=timedelta(seconds=1))
    assert await again.dbsize() == 0
    await again.aclose()


async def test_a_payload_expires_after_a_day(redis: ArqRedis) -> None:
    """A backlog older than that is dropped; ours have no time to live."""
    job_id = await enqueue(redis, "works")
    assert 0 < await redis.ttl(f"arq:job:{job_id}") <= 86_400


async def test_a_job_beyond_its_tries_is_dropped_before_any_code_of_ours(redis: ArqRedis) -> None:
    """Which is why the edge has arq allow any number of them and counts itself."""
    tasks = Tasks()
    job_id = await enqueue(redis, "works")
    await redis.set(f"arq:retry:{job_id}", 5)
    await stock(redis, tasks, burst=True, job_serializer=codec.encode, job_deserializer=codec.decode).async_run()
    assert (tasks.runs, await left(redis, job_id)) == (0, False)


async def test_a_stopped_worker_spends_a_try(redis: ArqRedis) -> None:
    """Enough deployments drop a healthy job; the edge takes the try back."""
    tasks = Tasks()
    job_id = await enqueue(redis, "waits")
    worker = stock(redis, tasks, job_serializer=codec.encode, job_deserializer=codec.decode)
    running = asyncio.create_task(worker.async_run())
    await tasks.started.wait()
    worker.handle_sig(SIGTERM)
    await asyncio.gather(running, *worker.tasks.values(), return_exceptions=True)
    assert await left(redis, job_id)
    assert await redis.get(f"arq:retry:{job_id}") == b"1"


async def test_the_end_of_a_job_deletes_a_new_one_of_its_id(redis: ArqRedis) -> None:
    """What was stored while it ran is lost; that is why `EdgeWorker.finish_job` deletes nothing."""
    job_id = await enqueue(redis, "is_stored_anew")
    worker = stock(redis, Tasks(), burst=True, job_serializer=codec.encode, job_deserializer=codec.decode)
    await worker.async_run()
    assert worker.jobs_complete == 1
    assert not await left(redis, job_id)


async def test_a_payload_that_cannot_be_read_is_deleted(redis: ArqRedis) -> None:
    """Ours is decoded in any case, and then set aside."""
    await redis.set("arq:job:j", b"\xc1")
    await redis.zadd(QUEUE, {"j": 1})
    await stock(redis, Tasks(), burst=True).async_run()
    assert not await left(redis, "j")


async def test_a_server_that_goes_away_ends_the_worker(own_server: EmbeddedServer) -> None:
    """At the next poll; ours waits and goes on."""
    redis = connect(own_server.url, call_timeout=timedelta(seconds=1))
    worker = stock(redis, Tasks())
    running = asyncio.create_task(worker.async_run())
    await until(lambda: polling(worker))
    own_server.kill()
    with pytest.raises(RedisConnectionError):
        await running
    await redis.aclose()


async def polling(worker: Worker) -> bool:
    """Say whether a worker has begun to look for jobs."""
    return "redis" in worker.ctx


async def test_a_full_server_lets_no_worker_claim(own_server: EmbeddedServer) -> None:
    """The claim is refused like any write, in silence: a full server does not drain until it has room again."""
    redis = connect(own_server.url, call_timeout=timedelta(seconds=1))
    tasks = Tasks()
    await enqueue(redis, "works")
    await redis.config_set("maxmemory", 1)
    worker = stock(redis, tasks, job_serializer=codec.encode, job_deserializer=codec.decode)
    await worker.start_jobs(await redis.zrange(QUEUE, 0, -1))
    assert (tasks.runs, worker.tasks, worker.job_counter) == (0, {}, 0)
    await redis.config_set("maxmemory", 0)
    await worker.start_jobs(await redis.zrange(QUEUE, 0, -1))
    await asyncio.gather(*worker.tasks.values())
    assert tasks.runs == 1
    await redis.aclose()


async def test_arqs_command_makes_the_worker_that_we_put_in_its_place(
    server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`create_worker` looks the class up in its module at each call, and keeps our settings."""
    monkeypatch.setattr(arq.worker, "Worker", Worker)  # put back afterwards
    settings = worker_settings({"REDIS_URL": server.url, "WORKER_MAX_JOBS": "7"})
    worker = arq.worker.create_worker(settings, handle_signals=False)
    assert isinstance(worker, EdgeWorker)
    assert (worker.max_jobs, worker.queue_name) == (7, QUEUE)
    await worker.pool.aclose()


async def test_what_arq_enqueues_has_the_five_parts_that_ours_has(redis: ArqRedis) -> None:
    """Function, arguments, keyword arguments, try and time: what `job_payload` writes by hand."""
    job_id = await enqueue(redis, "works")
    payload = await redis.get(f"arq:job:{job_id}")
    assert codec.decode(payload).keys() == {"t", "f", "a", "k", "et"}
    assert deserialize_job_raw(payload, deserializer=codec.decode)[0] == "works"
    assert await Job(job_id, redis).status() == "queued"
