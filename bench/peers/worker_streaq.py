"""The worker under measurement: streaq's, at its own default of tasks fetched in advance."""

from typing import Any

import uvloop
from streaq import Worker  # type: ignore[import-not-found] # only in the peers' environment

from bench.peers.counting import Count, options

_AT_ONCE = 1000


def main() -> None:
    """Enqueue, or work until all is counted."""
    told = options()
    worker = Worker(redis_url=told.url, concurrency=told.slots, handle_signals=False)
    count = None if told.enqueue else Count(told.jobs)

    @worker.task(ttl=0)  # type: ignore[untyped-decorator] # its types are not here
    async def job() -> None:
        if count is not None:
            count.start()
            count.end()

    uvloop.run(_enqueue(worker, job, told.jobs) if told.enqueue else worker.run_async())


async def _enqueue(worker: Worker, job: Any, jobs: int) -> None:  # noqa: ANN401 - its types are not here
    async with worker:
        for _ in range(0, jobs, _AT_ONCE):
            await worker.enqueue_many([job.enqueue() for _ in range(_AT_ONCE)])


if __name__ == "__main__":
    main()
