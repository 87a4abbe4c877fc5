"""The edge to arq: how a task of ours runs as a job of the engine; a task knows its lease and ends its own job.

A task writes down what it did and ends its job in one atomic step, which is refused once the lease is lost. The engine
is left with trying again what failed, and with storing the result.
"""

import time
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Protocol

import msgspec

from rewardpost import metrics
from rewardpost.lease import Lease
from worker.runner import SelfEnded, TaskFunction

JOB_TIMEOUT = timedelta(seconds=60)
"""No job runs longer."""
KEEP_RESULT = timedelta(minutes=5)


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """One run of a job."""

    lease: Lease
    attempt: int
    """Counts from 1."""

    @property
    def id(self) -> str:
        """The job's id."""
        return self.lease.job_id


class Task(Protocol):
    """A function that arq calls; it ends or defers its own job."""

    name: str

    async def run(self, job: Job, *args: Any) -> str:  # noqa: ANN401 - each task has its own arguments
        """Do the work, end or defer the job, and return the outcome in a word."""

    async def set_aside(self, job: Job, why: str, *args: Any) -> str:  # noqa: ANN401 - the same
        """Give the work to a person and end the job, in one atomic step; return the outcome in a word."""


class Edge:
    """Runs tasks as jobs, each tried at most `limit` times."""

    def __init__(self, *, limit: int) -> None:
        self.tasks: Mapping[str, Task] = {}
        """What can be run, by name; filled when a worker starts, since tasks hold connections."""
        self._limit = limit

    def function(self, name: str) -> TaskFunction:
        """Return the task of this name as the engine registers it."""
        seconds = metrics.JOB_SECONDS.labels(name)
        waited = metrics.QUEUE_WAIT_SECONDS.labels(name)
        metrics.LEASES_LOST.labels(name)  # a rate over a counter that is not there yet misses its first increase

        async def run(ctx: dict[Any, Any], *args: Any) -> SelfEnded:  # noqa: ANN401 - each task has its own arguments
            waited.observe(max(time.time() - ctx["score"] / 1000, 0))
            with seconds.time():
                outcome = await self.tasks[name].run(_job(ctx), *args)
            metrics.JOBS.labels(name, outcome).inc()
            return SelfEnded(outcome)

        async def set_aside(ctx: dict[Any, Any], why: str, *args: Any) -> SelfEnded:  # noqa: ANN401 - the same
            outcome = await self.tasks[name].set_aside(_job(ctx), why, *args)
            metrics.JOBS.labels(name, outcome).inc()
            return SelfEnded(outcome)

        return TaskFunction(
            name=name,
            coroutine=run,
            timeout_s=JOB_TIMEOUT.total_seconds(),
            keep_result_s=KEEP_RESULT.total_seconds(),
            keep_result_forever=False,
            max_tries=self._limit,
            set_aside=set_aside,
        )


def _job(ctx: dict[Any, Any]) -> Job:
    return Job(lease=ctx["lease"], attempt=ctx["job_try"])
