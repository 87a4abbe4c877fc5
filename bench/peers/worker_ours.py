"""The worker under measurement: our engine, with jobs that do nothing, last a while, or say how long they waited."""

import asyncio
from datetime import timedelta
from typing import Any

import uvloop
from arq.worker import Worker, func

from bench.peers.counting import Count, clock, options
from rewardpost import codec
from rewardpost.client import SharingRedis
from rewardpost.connection import connect
from worker.engine import Engine

CALL_TIMEOUT = timedelta(seconds=30)


def main() -> None:
    """Work until all is counted."""
    told = options()
    uvloop.run(_work(told.url, Count(told.jobs), told.slots, told.seconds))


async def _work(url: str, count: Count, slots: int, seconds: float) -> None:
    async def job(_ctx: dict[Any, Any], sent: float | None = None) -> None:
        count.start()
        if sent is not None:
            count.waits.append(clock() - sent)
        if seconds:
            await asyncio.sleep(seconds)
        count.end()

    engine: Worker = Engine(
        functions=[func(job, name="job", keep_result=0)],  # type: ignore[arg-type] # arq wants a function of anything
        queue_name="arq:queue",
        redis_pool=SharingRedis(connect(url, call_timeout=CALL_TIMEOUT)),
        max_jobs=slots,
        job_serializer=codec.encode,
        job_deserializer=codec.decode,
    )
    await engine.async_run()


if __name__ == "__main__":
    main()
