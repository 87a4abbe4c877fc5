"""The worker under measurement: taskiq's receiver on its Redis stream, the broker that acknowledges."""

import asyncio
import logging

import uvloop
from taskiq.api import run_receiver_task  # type: ignore[import-not-found] # only in the peers' environment
from taskiq_redis import RedisStreamBroker  # type: ignore[import-not-found] # the same

from bench.peers.counting import Count, options

_AT_ONCE = 500


def main() -> None:
    """Enqueue, or work until all is counted."""
    logging.disable(logging.WARNING)
    told = options()
    # From the first message on: the jobs are there before the worker.
    broker = RedisStreamBroker(told.url, consumer_id="0", max_connection_pool_size=None)
    count = None if told.enqueue else Count(told.jobs)

    @broker.task(task_name="job")  # type: ignore[untyped-decorator] # its types are not here
    async def job() -> None:
        if count is not None:
            count.start()
            count.end()

    uvloop.run(_enqueue(broker, job, told.jobs) if told.enqueue else _work(broker, told.slots))


async def _enqueue(broker: RedisStreamBroker, job: object, jobs: int) -> None:
    await broker.startup()
    for _ in range(0, jobs, _AT_ONCE):
        await asyncio.gather(*(job.kiq() for _ in range(_AT_ONCE)))  # type: ignore[attr-defined] # the same
    await broker.shutdown()


async def _work(broker: RedisStreamBroker, slots: int) -> None:
    await run_receiver_task(broker, max_async_tasks=slots, max_prefetch=slots, run_startup=True)


if __name__ == "__main__":
    main()
