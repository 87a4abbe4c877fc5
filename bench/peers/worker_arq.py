"""The worker under measurement: arq's own, at a poll delay that is told."""

import asyncio
from typing import Any

import uvloop
from arq.connections import RedisSettings, create_pool
from arq.worker import Worker, func

from bench.peers.counting import Count, options


def main() -> None:
    """Work until all is counted."""
    told = options()
    uvloop.run(_work(told.url, Count(told.jobs), told.slots, told.seconds, told.poll))


async def _work(url: str, count: Count, slots: int, seconds: float, poll: float) -> None:
    async def job(_ctx: dict[Any, Any]) -> None:
        count.start()
        if seconds:
            await asyncio.sleep(seconds)
        count.end()

    worker = Worker(
        functions=[func(job, name="job", keep_result=0)],  # type: ignore[arg-type] # arq wants a function of anything
        redis_pool=await create_pool(RedisSettings.from_dsn(url)),
        max_jobs=slots,
        poll_delay=poll,
    )
    await worker.async_run()


if __name__ == "__main__":
    main()
