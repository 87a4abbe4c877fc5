"""Engines for tests that show a cure: the same jobs as for stock arq, through a client that may be cut."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from typing import Any

from arq.connections import ArqRedis

from rewardpost import codec
from rewardpost.connection import connect
from tests.arq_workers import PATIENCE, QUEUE, Tasks, is_stored
from tests.house import until
from worker.engine import Engine

LEASE = timedelta(seconds=0.6)
CALL_TIMEOUT = timedelta(seconds=0.5)


@contextlib.asynccontextmanager
async def engine(
    url: str,
    tasks: Tasks,
    *,
    functions: Sequence[Any] = (),
    **options: Any,  # noqa: ANN401 - those of arq
) -> AsyncIterator[Engine]:
    """Run an engine as long as the context lasts; it has to be running still when it is told to stop."""
    worker = Engine(
        functions or tasks.functions(),
        redis_pool=connect(url, call_timeout=CALL_TIMEOUT),
        handle_signals=False,
        lease=LEASE,
        **{"job_serializer": codec.encode, "job_deserializer": codec.decode, **options},
    )
    task = asyncio.create_task(worker.async_run())
    try:
        yield worker
        assert not task.done()
    finally:
        await worker.close()
        await asyncio.gather(task, return_exceptions=True)


async def done(redis: ArqRedis, job_id: str) -> None:
    """Wait until a job has ended: nothing of it waits, runs or counts any more."""

    async def is_done() -> bool:
        queued = await redis.zscore(QUEUE, job_id)
        return queued is None and not await is_stored(redis, job_id)

    await until(is_done, patience=PATIENCE)
    assert await redis.exists(f"arq:in-progress:{job_id}", f"arq:retry:{job_id}") == 0
