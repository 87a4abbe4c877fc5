"""The edge to arq: how a task of ours runs as a job of arq's stock worker without being dropped or repeated.

Stock arq fails a job for good at its first exception and deletes what it does not expect. Here a task ends its
own job, in the same atomic step as what it did; an exception defers the job with back-off, and once the attempts
are spent the task sets it aside. arq is left with storing the result.
"""

import asyncio
import contextlib
import random
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Protocol

import msgspec
from arq.constants import in_progress_key_prefix, job_key_prefix, result_key_prefix, retry_key_prefix
from arq.worker import Function, Worker, func
from redis.asyncio import Redis
from redis.exceptions import RedisError

from rewardpost import logs, metrics
from rewardpost.connection import UNREACHABLE
from rewardpost.keys import Keys
from rewardpost.scripts import Script
from worker.backoff import back_off

JOB_TIMEOUT = timedelta(seconds=60)
"""No job runs longer."""
KEEP_RESULT = timedelta(minutes=5)

_TASK_TIMEOUT = JOB_TIMEOUT - timedelta(seconds=5)  # ours strikes first, so that arq's never fails a job for good
_REDIS_PAUSE_SECONDS = 0.5
_NOT_OURS_PAUSE = timedelta(seconds=5)
_NEVER = 10**9  # the edge counts tries itself; arq would drop the job
_DEFER = Script("defer_job")

log = logs.get(__name__)


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """One run of a job."""

    id: str
    attempt: int
    """Counts from 1."""


class Task(Protocol):
    """A function that arq calls; it ends or defers its own job."""

    name: str

    async def run(self, job: Job, *args: Any) -> str:  # noqa: ANN401 - each task has its own arguments
        """Do the work, end or defer the job, and return the outcome in a word."""

    async def set_aside(self, job: Job, why: str, *args: Any) -> str:  # noqa: ANN401 - the same
        """Give the work to a person and end the job, in one atomic step; return the outcome in a word."""


class Edge:
    """Runs tasks as jobs."""

    def __init__(self, redis: Redis, keys: Keys, *, limit: int) -> None:
        self._redis = redis
        self._keys = keys
        self.tasks: Mapping[str, Task] = {}
        """What can be run, by name; filled when a worker starts, since tasks hold connections."""
        self._limit = limit

    def function(self, name: str) -> Function:
        """Return the task of this name as arq registers it."""

        async def coroutine(ctx: dict[Any, Any], *args: Any) -> str:  # noqa: ANN401 - each task has its own arguments
            job = Job(id=ctx["job_id"], attempt=ctx["job_try"])
            with metrics.JOB_SECONDS.labels(name).time():
                outcome = await self._attempt(self.tasks[name], job, args)
            metrics.JOBS.labels(name, outcome).inc()
            return outcome

        return func(
            coroutine,
            name=name,
            max_tries=_NEVER,
            timeout=JOB_TIMEOUT.total_seconds(),
            keep_result=KEEP_RESULT,
        )

    async def _attempt(self, task: Task, job: Job, args: tuple[Any, ...]) -> str:
        try:
            if job.attempt > self._limit:
                why = f"tried {self._limit} times, and each time the worker ended before the job did"
                return await task.set_aside(job, why, *args)
            async with asyncio.timeout(_TASK_TIMEOUT.total_seconds()):
                return await task.run(job, *args)
        except asyncio.CancelledError:
            await self._defer(job, timedelta(0), untry=True)
            raise
        except Exception as exc:
            log.warning("job_failed", job=job.id, task=task.name, attempt=job.attempt, exc_info=exc)
            return await self._after(exc, task, job, args)

    async def _after(self, exc: Exception, task: Task, job: Job, args: tuple[Any, ...]) -> str:
        try:
            if job.attempt >= self._limit:
                return await task.set_aside(
                    job, f"{self._limit} attempts failed, the last one with {logs.summary(exc)}", *args
                )
            await self._defer(job, back_off(job.attempt, random.random()), untry=False)  # noqa: S311 - jitter, no secret
        except RedisError as away:
            # The job stays on the queue; it is free again when arq's mark on it expires.
            log.warning("job_left_on_queue", job=job.id, task=task.name, error=type(away).__name__)
            return "left"
        return "retried"

    async def _defer(self, job: Job, delay: timedelta, *, untry: bool) -> None:
        await _DEFER.run(
            self._redis,
            keys=self._keys.job_parts(job.id),
            args=[job.id, delay // timedelta(milliseconds=1), int(untry)],
        )


class EdgeWorker(Worker):
    """arq's worker, but for three things.

    The end of a job has happened in the task's own script already: arq would delete the job by its id, and with it
    a new one of that id which came in between. A job that arq cannot run stays for a worker that can. And a server
    that goes away does not end the process.
    """

    async def _poll_iteration(self) -> None:
        if self.main_task is not None and self.main_task.cancelling():
            raise asyncio.CancelledError  # redis-py can swallow the first one on Python 3.11, and arq cancels once
        try:
            await super()._poll_iteration()
        except UNREACHABLE as exc:
            # A job that could not be started is free again when arq's mark on it expires.
            log.warning("redis_out_of_reach", error=type(exc).__name__)
            await asyncio.sleep(_REDIS_PAUSE_SECONDS)

    async def close(self) -> None:
        """End as arq does, and no less while Redis is away: what cannot be given back is free again by itself."""
        await asyncio.gather(*self.tasks.values(), return_exceptions=True)
        self.tasks.clear()
        try:
            await super().close()
        except UNREACHABLE as exc:
            log.warning("redis_out_of_reach", error=type(exc).__name__)
            if self.on_shutdown:
                await self.on_shutdown(self.ctx)
            await self.pool.aclose(close_connection_pool=True)

    async def start_jobs(self, job_ids: list[bytes]) -> None:
        """Start jobs; when Redis goes away in the middle, give back the slot that arq has taken for the next one."""
        try:
            await super().start_jobs(job_ids)
        except UNREACHABLE:
            self._release_sem_dec_counter_on_complete()
            raise

    async def finish_failed_job(self, job_id: str, result_data: bytes | None) -> None:  # noqa: ARG002 - arq's signature
        """Leave the job to another worker: arq ends one here whose task it does not know, or that is gone already."""
        log.warning("job_left_for_another_worker", job=job_id)
        with contextlib.suppress(RedisError):  # it is free again when arq's mark on it expires
            await _DEFER.run(
                self.pool,
                keys=[
                    self.queue_name,
                    job_key_prefix + job_id,
                    in_progress_key_prefix + job_id,
                    retry_key_prefix + job_id,
                ],
                args=[job_id, _NOT_OURS_PAUSE // timedelta(milliseconds=1), 1],
            )

    async def finish_job(
        self,
        job_id: str,
        finish: bool,  # noqa: FBT001 - arq's signature
        result_data: bytes | None,
        result_timeout_s: float | None,
        keep_result_forever: bool,  # noqa: FBT001 - arq's signature
        incr_score: int | None,
        keep_in_progress: float | None,
    ) -> None:
        """Store the result of a task of ours; leave cron jobs to arq."""
        if keep_in_progress is not None:
            await super().finish_job(
                job_id,
                finish,
                result_data,
                result_timeout_s,
                keep_result_forever,
                incr_score,
                keep_in_progress,
            )
        elif finish and result_data and result_timeout_s:
            with contextlib.suppress(RedisError):  # a result is for looking at; the work is done
                await self.pool.set(result_key_prefix + job_id, result_data, px=int(result_timeout_s * 1000))
