"""What this project builds on of stock arq, each line shown, so that an upgrade tells; what it does amiss is beside."""

import arq.worker
import pytest
from arq.connections import ArqRedis
from arq.jobs import Job, deserialize_job_raw

from cli.embedded_server import EmbeddedServer
from rewardpost import codec
from tests.arq_workers import QUEUE, enqueue
from worker.composition import worker_settings

STOCK = arq.worker.Worker


async def test_what_arq_enqueues_has_the_five_parts_that_ours_has(redis: ArqRedis) -> None:
    """Function, arguments, keyword arguments, try and time: what `job_payload` writes by hand."""
    job_id = await enqueue(redis, "works")
    payload = await redis.get(f"arq:job:{job_id}")
    assert codec.decode(payload).keys() == {"t", "f", "a", "k", "et"}
    assert deserialize_job_raw(payload, deserializer=codec.decode)[0] == "works"
    assert await Job(job_id, redis).status() == "queued"


async def test_arqs_command_makes_the_worker_that_we_put_in_its_place(
    server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`create_worker` looks the class up in its module at each call, and keeps our settings."""
    monkeypatch.setattr(arq.worker, "Worker", STOCK)  # put back afterwards
    settings = worker_settings({"REDIS_URL": server.url, "WORKER_MAX_JOBS": "7"})
    worker = arq.worker.create_worker(settings, handle_signals=False)
    assert isinstance(worker, STOCK)
    assert type(worker) is not STOCK
    assert (worker.max_jobs, worker.queue_name) == (7, QUEUE)
    await worker.pool.aclose()
