"""Jobs as a user of arq writes them, and workers of any class that run them: what stock arq does and what ours does.

Run as a module, it is a worker to be killed: `python -m tests.arq_workers arq.worker:Worker 6379 [lease in seconds]`.
"""

import asyncio
import contextlib
import importlib
import logging
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from datetime import timedelta
from signal import SIGTERM
from subprocess import PIPE, Popen
from typing import Any

from arq.connections import ArqRedis, RedisSettings, create_pool
from arq.worker import Worker, func

from tests.house import until

QUEUE = "arq:queue"
PATIENCE = 5.0

loaded: list[str] = []
"""What `note_loading` was called with."""


class Tasks:
    """Functions for jobs, and what became of them."""

    def __init__(self) -> None:
        self.tries: list[int] = []
        """The number of the try of each run, in order."""
        self.args: list[tuple[Any, ...]] = []
        self.started = asyncio.Event()
        self.go_on = asyncio.Event()

    def functions(self, timeout: float | None = None) -> list[Any]:
        """Return them as arq registers them, all with this time-out."""
        names = ("works", "waits", "fails", "is_stored_anew")
        return [func(getattr(self, name), name=name, timeout=timeout) for name in names]

    async def works(self, ctx: dict[Any, Any], *args: Any) -> None:  # noqa: ANN401 - whatever was enqueued
        """Note what came."""
        self.tries.append(ctx["job_try"])
        self.args.append(args)

    async def waits(self, ctx: dict[Any, Any]) -> None:
        """Wait until told to go on."""
        self.tries.append(ctx["job_try"])
        self.started.set()
        await self.go_on.wait()

    async def fails(self, ctx: dict[Any, Any]) -> None:
        """Raise."""
        self.tries.append(ctx["job_try"])
        raise RuntimeError("a carrier was away")

    async def is_stored_anew(self, ctx: dict[Any, Any]) -> None:
        """Have the sender store a new job of this id while this one still runs."""
        self.tries.append(ctx["job_try"])
        await ctx["redis"].set(f"arq:job:{ctx['job_id']}", b"a new job")

    async def has_run(self, times: int = 1) -> None:
        """Wait until jobs have been run so often."""

        async def enough() -> bool:
            return len(self.tries) >= times

        await until(enough, patience=PATIENCE)


@contextlib.asynccontextmanager
async def client_of(port: int, **settings: Any) -> AsyncIterator[ArqRedis]:  # noqa: ANN401 - those of arq
    """Arq's own client as its documentation makes it, which pickles."""
    client = await create_pool(RedisSettings(host="127.0.0.1", port=port, **settings))
    yield client
    await client.aclose(close_connection_pool=True)


async def enqueue(redis: ArqRedis, name: str, *args: Any, **options: Any) -> str:  # noqa: ANN401 - those of arq
    """Enqueue a job in arq's own way and return its id."""
    job = await ArqRedis.enqueue_job(redis, name, *args, **options)
    assert job is not None
    return job.job_id


@contextlib.asynccontextmanager
async def running(worker: Worker) -> AsyncIterator[asyncio.Task[None]]:
    """Run a worker as long as the context lasts, and stop it as a deployment does."""
    task = asyncio.create_task(worker.async_run())
    try:
        yield task
    finally:
        worker.handle_sig(SIGTERM)
        await asyncio.gather(task, *worker.tasks.values(), return_exceptions=True)


async def run_all(make: Callable[..., Worker], redis: ArqRedis, tasks: Tasks, **options: Any) -> Worker:  # noqa: ANN401 - those of arq
    """Have a worker run what is due, and return it."""
    worker = make(tasks.functions(), redis_pool=redis, handle_signals=False, poll_delay=0.01, burst=True, **options)
    await asyncio.wait_for(worker.async_run(), PATIENCE)
    return worker


async def is_stored(redis: ArqRedis, job_id: str) -> bool:
    """Say whether a job's payload is there."""
    return bool(await redis.exists(f"arq:job:{job_id}"))


async def blocked_for(redis: ArqRedis, job_id: str) -> timedelta:
    """Return how long yet no other worker may take a job."""
    return timedelta(milliseconds=max(await redis.pttl(f"arq:in-progress:{job_id}"), 0))


async def comes_round_again(redis: ArqRedis, job_id: str) -> None:
    """Have the time pass for which a job is blocked."""
    await redis.delete(f"arq:in-progress:{job_id}")


@contextlib.contextmanager
def process(kind: type[Worker], port: int, lease: timedelta | None = None) -> Iterator[Popen[bytes]]:
    """A worker of this class as a process of its own, which runs jobs `waits` and says of each that it has begun."""
    command = [sys.executable, "-m", __name__, f"{kind.__module__}:{kind.__qualname__}", str(port)]
    if lease is not None:
        command.append(str(lease.total_seconds()))
    with Popen(command, stdout=PIPE) as child:  # noqa: S603 - this module, no shell
        try:
            yield child
        finally:
            child.kill()


async def job_begun(child: Popen[bytes]) -> str:
    """Wait until a worker that is a process of its own has begun a job, and return the job's id."""
    assert child.stdout is not None
    return (await asyncio.to_thread(child.stdout.readline)).decode().strip()


@contextlib.contextmanager
def lines_of_log(name: str) -> Iterator[list[str]]:
    """Collect what a logger says at any level, each line with its level before it."""
    said: list[str] = []

    class Collects(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            said.append(f"{record.levelname} {record.getMessage()}")

    logger, handler = logging.getLogger(name), Collects()
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    try:
        yield said
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)


def note_loading(text: str) -> None:
    """Show that code runs: for a pickle, which finds it by its name."""
    loaded.append(text)


def main(arguments: Sequence[str]) -> None:
    """Run a worker until it is killed; it says when a job has begun."""
    name, port, *lease = arguments
    module, _, cls = name.partition(":")
    kind: type[Worker] = getattr(importlib.import_module(module), cls)
    options = {"lease": timedelta(seconds=float(lease[0]))} if lease else {}

    async def waits(ctx: dict[Any, Any]) -> None:
        print(ctx["job_id"], flush=True)  # noqa: T201 - to the test
        await asyncio.Event().wait()

    async def run() -> None:
        settings: dict[str, Any] = {"redis_settings": RedisSettings(host="127.0.0.1", port=int(port)), **options}
        await kind([func(waits, name="waits")], handle_signals=False, **settings).async_run()

    asyncio.run(run())


if __name__ == "__main__":
    main(sys.argv[1:])
