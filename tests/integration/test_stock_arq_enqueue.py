"""What stock arq does while a job is enqueued and stored: why the door has an enqueueing of its own."""

import pickle
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from arq.connections import ArqRedis
from arq.jobs import Job
from arq.worker import Worker
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError

from cli.embedded_server import EmbeddedServer
from tests import arq_workers
from tests.arq_workers import QUEUE, Tasks, client_of, enqueue, is_stored, lines_of_log, run_all
from tests.cutting_proxy import CuttingProxy, Moment, transaction
from tests.house import until


@pytest.fixture
async def stock(server: EmbeddedServer, redis: ArqRedis) -> AsyncIterator[ArqRedis]:
    """Arq's own client of the session's server, which is empty."""
    del redis
    async with client_of(server.port) as client:
        yield client


@pytest.mark.parametrize("moment", list(Moment))
@pytest.mark.parametrize("retry", [None, Retry(NoBackoff(), 3)])
async def test_enqueue_gives_none_when_the_connection_breaks(
    server: EmbeddedServer, redis: ArqRedis, moment: Moment, retry: Retry | None
) -> None:
    """The same answer as for a duplicate, whether the job was stored or not; redis-py's repeating changes nothing."""
    options: dict[str, Any] = {} if retry is None else {"retry": retry, "retry_on_error": [RedisConnectionError]}
    async with CuttingProxy(server.port) as proxy, client_of(proxy.port, **options) as client:
        cut = proxy.cut(moment, transaction("PSETEX", "arq:job:j"))
        assert await client.enqueue_job("works", _job_id="j") is None
        assert cut.made == 1
    assert await is_stored(redis, "j") == (moment is Moment.AFTER)


async def test_a_duplicate_is_refused_only_while_the_job_or_its_result_is_there(stock: ArqRedis) -> None:
    """The memory is the result: an hour, and a copy of all arguments for each job."""
    await enqueue(stock, "works", "x" * 1000, _job_id="j")
    assert await stock.enqueue_job("works", _job_id="j") is None
    await run_all(Worker, stock, Tasks())
    assert not await is_stored(stock, "j")
    assert await stock.enqueue_job("works", _job_id="j") is None
    assert 3590 < await stock.ttl("arq:result:j") <= 3600
    assert await stock.strlen("arq:result:j") > 1000
    await stock.delete("arq:result:j")
    assert await stock.enqueue_job("works", _job_id="j") is not None


async def test_a_payload_expires_after_a_day(stock: ArqRedis) -> None:
    """Counted from when the job is due; a payload of ours stays until its job ends."""
    job_id = await enqueue(stock, "works")
    assert 86_390 < await stock.ttl(f"arq:job:{job_id}") <= 86_400


async def test_a_backlog_that_is_too_old_is_dropped(stock: ArqRedis) -> None:
    """Without its payload a job is taken off the queue and nothing runs; its result says "job expired"."""
    tasks = Tasks()
    job_id = await enqueue(stock, "works", _expires=0.001)

    async def expired() -> bool:
        return not await is_stored(stock, job_id)

    await until(expired)
    worker = await run_all(Worker, stock, tasks)
    assert (tasks.tries, worker.jobs_failed, await stock.zcard(QUEUE)) == ([], 1, 0)
    result = await Job(job_id, stock).result_info()
    assert result is not None
    assert str(result.result) == "job expired"


class RunsCode:
    """What pickle turns into a call when it is loaded."""

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return arq_workers.note_loading, ("code of the sender's choice",)


async def test_who_can_write_to_redis_can_run_code_in_the_worker(stock: ArqRedis) -> None:
    """Jobs are pickled unless told otherwise, and loading a pickle calls what it says; no task has to be known."""
    arq_workers.loaded.clear()
    await stock.set("arq:job:j", pickle.dumps(RunsCode()))
    await stock.zadd(QUEUE, {"j": 1})
    await run_all(Worker, stock, Tasks())
    assert arq_workers.loaded == ["code of the sender's choice"]


async def test_with_plain_msgspec_an_exception_leaves_no_trace(stock: ArqRedis) -> None:
    """It cannot be encoded, so the result says that and not what happened; the job is gone."""
    stock.job_serializer, stock.job_deserializer = msgspec.msgpack.encode, msgspec.msgpack.decode
    job_id = await enqueue(stock, "fails")
    codecs = {"job_serializer": msgspec.msgpack.encode, "job_deserializer": msgspec.msgpack.decode}
    with lines_of_log("arq.jobs") as said:
        await run_all(Worker, stock, Tasks(), **codecs)
    assert any("error serializing result" in line for line in said)
    assert not await is_stored(stock, job_id)
    result = await Job(job_id, stock, _deserializer=msgspec.msgpack.decode).result_info()
    assert result is not None
    assert result.result == "unable to serialize result"


class Parcel(msgspec.Struct):
    """A struct as a task might be given."""

    reference: str


async def test_with_plain_msgspec_a_struct_comes_back_as_a_dictionary(stock: ArqRedis) -> None:
    """Nothing says of what type it was; ours passes plain data on and decodes it in the task."""
    tasks = Tasks()
    stock.job_serializer = msgspec.msgpack.encode
    await enqueue(stock, "works", Parcel("r_1"))
    codecs = {"job_serializer": msgspec.msgpack.encode, "job_deserializer": msgspec.msgpack.decode}
    await run_all(Worker, stock, tasks, **codecs)
    assert tasks.args == [({"reference": "r_1"},)]
