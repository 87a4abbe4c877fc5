"""Engine workers as processes that a test kills, stops and lets go on; each notes in Redis what it ran, and when.

Run as a module, it is such a worker: `python -m tests.engine_workers '<Setup as JSON>'`.
"""

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from subprocess import DEVNULL, Popen
from typing import IO, Any

import msgspec
import uvloop
from arq.connections import ArqRedis
from arq.worker import Retry, func
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from cli import end_with_parent
from rewardpost import codec, logs
from rewardpost.client import SharingRedis
from rewardpost.connection import connect
from worker.engine import Engine

DEFERRED = timedelta(seconds=60)
"""How far the part `defer` of `plays` puts its job off."""

_NOTES = "test:notes"
_METRICS = "test:metrics:"
_GO_ON = "test:go-on"
_LOOK_SECONDS = 0.05
_CALL_TIMEOUT = timedelta(seconds=5)


class Setup(msgspec.Struct, frozen=True, kw_only=True):
    """One worker process."""

    url: str
    name: str
    lease_seconds: float
    slots: int = 10
    tasks: tuple[str, ...] = ("works",)
    max_tries: int = 10


class Note(msgspec.Struct, frozen=True):
    """That a worker began or ended a run of a job."""

    what: str
    """`begin` or `end`."""
    job: str
    worker: str
    attempt: int
    at: float
    """By this machine's clock, in seconds."""


class Crew:
    """The worker processes of one test, which end with it."""

    def __init__(self, url: str, log: IO[bytes], **options: Any) -> None:  # noqa: ANN401 - those of `Setup`
        self.killed: dict[str, float] = {}
        """When each killed worker was killed, by its name."""
        self._url = url
        self._log = log
        self._options = options
        self._started = 0
        self._living: dict[str, Popen[bytes]] = {}

    @property
    def names(self) -> list[str]:
        """Who lives, the eldest first."""
        return list(self._living)

    def start(self, **options: Any) -> str:  # noqa: ANN401 - those of `Setup`
        """Start a worker and return its name."""
        self._started += 1
        name = f"worker-{self._started}"
        setup = Setup(url=self._url, name=name, **{**self._options, **options})
        command = [sys.executable, "-m", __name__, msgspec.json.encode(setup).decode()]
        self._living[name] = Popen(  # noqa: S603 - this module, no shell
            [sys.executable, end_with_parent.__file__, str(os.getpid()), *command],
            stdin=DEVNULL,
            stdout=self._log,
            stderr=self._log,
        )
        return name

    def kill(self, name: str) -> None:
        """End a worker at once."""
        process = self._living.pop(name)
        process.kill()
        self.killed[name] = time.time()
        process.wait()

    def stop(self, name: str) -> None:
        """Stop a worker where it stands."""
        self._living[name].send_signal(signal.SIGSTOP)

    def go_on(self, name: str) -> None:
        """Let a stopped worker go on."""
        self._living[name].send_signal(signal.SIGCONT)

    def dismiss(self, name: str, patience: float = 15) -> int:
        """End a worker as a deployment does, and return its exit status."""
        process = self._living.pop(name)
        process.terminate()
        try:
            return process.wait(patience)
        finally:
            process.kill()

    def close(self) -> None:
        """End them all."""
        for name in self.names:
            self.kill(name)


@contextlib.contextmanager
def crew(url: str, log: Path, **options: Any) -> Iterator[Crew]:  # noqa: ANN401 - those of `Setup`
    """A crew as long as the context lasts; `log` takes what its workers say."""
    with log.open("ab") as stream, contextlib.closing(Crew(url, stream, **options)) as workers:
        yield workers


@contextlib.asynccontextmanager
async def client(url: str) -> AsyncIterator[SharingRedis]:
    """A client that enqueues as the crew reads."""
    redis = connect(url, call_timeout=_CALL_TIMEOUT)
    yield SharingRedis(redis)
    await redis.aclose()


async def enqueue(redis: ArqRedis, task: str, job_ids: Sequence[str], *args: Any) -> None:  # noqa: ANN401 - the task's own
    """Enqueue a job of each id."""
    jobs = await asyncio.gather(*(redis.enqueue_job(task, *args, _job_id=job_id) for job_id in job_ids))
    assert all(jobs)


async def notes(redis: ArqRedis) -> list[Note]:
    """Return what the workers have noted, in order."""
    lines = await redis.lrange(_NOTES, 0, -1)  # type: ignore[misc] # redis-py types both its clients with one signature
    return [msgspec.json.decode(line, type=Note) for line in lines]


async def has_begun(redis: ArqRedis, worker: str, count: int = 1) -> bool:
    """Say whether a worker has begun so many runs."""
    return sum(note.what == "begin" and note.worker == worker for note in await notes(redis)) >= count


async def let_go_on(redis: ArqRedis) -> None:
    """End the waiting of all who play the part `hold`."""
    await redis.set(_GO_ON, "1")


async def is_drained(redis: ArqRedis) -> bool:
    """Say whether nothing is left on the queue."""
    return int(await redis.zcard("arq:queue")) == 0


async def counted(redis: ArqRedis, worker: str, sample: str, **labels: str) -> float:
    """Return a sample of the metrics that a dismissed worker has left behind; 0 where it has none."""
    text = (await redis.get(_METRICS + worker)).decode()
    samples = (each for family in text_string_to_metric_families(text) for each in family.samples)
    return sum(each.value for each in samples if each.name == sample and labels.items() <= each.labels.items())


async def _works(ctx: dict[Any, Any], seconds: float = 0.0) -> str:
    await _note("begin", ctx)
    await asyncio.sleep(seconds)
    await _note("end", ctx)
    return str(ctx["worker"])


async def _plays(ctx: dict[Any, Any], seconds: float, *parts: str) -> str:
    """Play one part an attempt: after the first one's wait, which a stop outlasts, each ends as its part says."""
    await _note("begin", ctx)
    part = parts[min(ctx["job_try"], len(parts)) - 1]
    if ctx["job_try"] == 1:
        await asyncio.sleep(seconds)
    while part == "hold" and not await ctx["redis"].exists(_GO_ON):
        await asyncio.sleep(_LOOK_SECONDS)
    if part == "defer":
        raise Retry(DEFERRED)
    if part == "fail":
        raise RuntimeError("a carrier was away")
    return str(ctx["worker"])


async def _note(what: str, ctx: dict[Any, Any]) -> None:
    note = Note(what, ctx["job_id"], ctx["worker"], ctx["job_try"], time.time())
    await ctx["redis"].rpush(_NOTES, msgspec.json.encode(note))


_TASKS: dict[str, Callable[..., Any]] = {"works": _works, "works_anew": _works, "plays": _plays}


async def _run(setup: Setup) -> None:
    redis = SharingRedis(connect(setup.url, call_timeout=_CALL_TIMEOUT))

    async def leave_metrics(_ctx: dict[Any, Any]) -> None:
        await redis.set(_METRICS + setup.name, generate_latest())

    engine = Engine(
        [func(_TASKS[task], name=task) for task in setup.tasks],
        lease=timedelta(seconds=setup.lease_seconds),
        connect=lambda: connect(setup.url, call_timeout=_CALL_TIMEOUT),
        redis_pool=redis,
        max_jobs=setup.slots,
        max_tries=setup.max_tries,
        job_serializer=codec.encode,
        job_deserializer=codec.decode,
        ctx={"worker": setup.name},
        on_shutdown=leave_metrics,
    )
    try:
        await engine.async_run()
    except asyncio.CancelledError:  # how arq's worker ends at a signal
        await engine.close()


def main(argument: str) -> None:
    """Run a worker until it is told to end."""
    setup = msgspec.json.decode(argument, type=Setup)
    logs.configure("json", stream=sys.stdout)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_run(setup))


if __name__ == "__main__":
    main(sys.argv[1])
