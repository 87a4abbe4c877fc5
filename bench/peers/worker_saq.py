"""The worker under measurement: SAQ's, with as many of its loops as there are slots."""

import asyncio
from typing import Any

import uvloop
from redis.asyncio import BlockingConnectionPool, Redis
from saq import Queue, Worker  # type: ignore[import-not-found] # only in the peers' environment
from saq.queue.redis import RedisQueue  # type: ignore[import-not-found] # the same

from bench.peers.counting import Count, options

_AT_ONCE = 500


def main() -> None:
    """Enqueue, or work until all is counted."""
    told = options()
    if told.enqueue:
        uvloop.run(_enqueue(RedisQueue.from_url(told.url), told.jobs))
        return
    pool = BlockingConnectionPool.from_url(told.url, max_connections=2 * told.slots, timeout=None)
    uvloop.run(_work(RedisQueue(Redis(connection_pool=pool), max_concurrent_ops=told.slots), told.jobs, told.slots))


async def _enqueue(queue: Queue, jobs: int) -> None:
    for _ in range(0, jobs, _AT_ONCE):
        await asyncio.gather(*(queue.enqueue("job", ttl=-1) for _ in range(_AT_ONCE)))


async def _work(queue: Queue, jobs: int, slots: int) -> None:
    count = Count(jobs)

    async def job(_ctx: dict[str, Any]) -> None:
        count.start()
        count.end()

    await Worker(queue, functions=[("job", job)], concurrency=slots).start()


if __name__ == "__main__":
    main()
