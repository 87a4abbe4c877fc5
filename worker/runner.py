"""One run of one claimed job: from its payload to its ending, which is data; only a cancelling is raised.

What ends a job for good is written with its result; what fails is tried again with back-off; once the attempts are
spent its task sets it aside. A function without such a task keeps arq's way: the failure is its result.
"""

import asyncio
import math
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple, TypeVar

from arq.constants import keep_cronjob_progress
from arq.cron import CronJob
from arq.jobs import SerializationError, deserialize_job_raw, serialize_result
from arq.typing import StartupShutdown
from arq.utils import timestamp_ms
from arq.worker import Function, JobExecutionFailed, Retry, Worker
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import OutOfMemoryError, ReadOnlyError
from redis.exceptions import TimeoutError as RedisTimeoutError

from rewardpost import logs, metrics
from rewardpost.lease import LeaseLost
from worker.backoff import back_off
from worker.claims import Claim, Ending, again, later

NOT_OURS_PAUSE = timedelta(seconds=5)
"""Wait before a job whose task this release does not know is offered again."""
AWAY_PAUSE = timedelta(seconds=1)
"""Wait before a job that Redis broke off is run again; its try is not spent."""

_REDIS_AWAY = (RedisConnectionError, RedisTimeoutError, ReadOnlyError, OutOfMemoryError)

T = TypeVar("T")

log = logs.get(__name__)


class SelfEnded(NamedTuple):
    """Returned by a task that has ended or deferred its own job, in the step that wrote down what it did."""

    result: Any


@dataclass
class TaskFunction(Function):
    """A function of arq's that knows what to do with a job whose attempts are spent."""

    set_aside: Callable[..., Awaitable[SelfEnded]]
    """`await set_aside(ctx, why, *args)` gives the work to a person and ends the job in one step."""


class Run(NamedTuple):
    """One run under way."""

    claim: Claim
    function: Function | CronJob
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    attempt: int
    """Counts from 1."""
    enqueued_ms: int
    started_ms: int


class Runner:
    """Runs the jobs of one worker."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    def timeout(self, function: Function | CronJob) -> float:
        """Return how many seconds a job of this function may run."""
        return (self._worker.job_timeout_s if function.timeout_s is None else function.timeout_s) or math.inf

    def begin(self, claim: Claim) -> Run | Ending:
        """Read what the job is; an ending says that this release cannot run it."""
        worker = self._worker
        try:
            name, args, kwargs, first_try, enqueued_ms = deserialize_job_raw(
                claim.payload, deserializer=worker.job_deserializer
            )
        except SerializationError:
            name, args, kwargs, first_try, enqueued_ms = "", (), {}, None, 0
        function = worker.functions.get(name)
        if function is None:
            metrics.UNKNOWN_TASKS.inc()
            log.warning("task_unknown", job=claim.lease.job_id, task=name)
            return later(NOT_OURS_PAUSE)
        attempt = claim.tries + max(first_try or 1, 1) - 1
        return Run(claim, function, args, kwargs, attempt, enqueued_ms, timestamp_ms())

    async def carry_out(self, run: Run) -> Ending | None:
        """Run the job and return its ending; None where nothing may be written, since another worker has it."""
        worker, function = self._worker, run.function
        limit = worker.max_tries if function.max_tries is None else function.max_tries
        ctx = self._context(run)
        ending: Ending | None
        try:
            if run.attempt > limit:
                why = f"tried {limit} times, and each time the worker ended before the job did"
                return await self._spent(run, ctx, why, JobExecutionFailed(f"max {limit} retries exceeded"))
            if worker.on_job_start:
                await worker.on_job_start(ctx)
            result = await _within(self.timeout(function), function.coroutine(ctx, *run.args, **run.kwargs))
            ending = self.finished(run, result, success=True)
        except Exception as exc:  # noqa: BLE001 - whatever a job raises decides about that job alone
            ending = await self._failed(run, ctx, exc, limit)
        await self._hook(worker.on_job_end, ctx)
        return ending

    def aborted(self, run: Run) -> Ending:
        """Return the ending of a job that `Job.abort()` ended."""
        return self.finished(run, asyncio.CancelledError(), success=False)

    def finished(self, run: Run, result: object, *, success: bool) -> Ending:
        """Return the ending of a job that is done, for better or worse."""
        worker, function = self._worker, run.function
        worker.jobs_complete += success
        worker.jobs_failed += not success
        what = "end"
        if isinstance(result, SelfEnded):
            what, result = "ended", result.result
        keep_for_ever = (
            worker.keep_result_forever if function.keep_result_forever is None else function.keep_result_forever
        )
        keep_s = worker.keep_result_s if function.keep_result_s is None else function.keep_result_s
        data = self._encoded(run, result, success=success) if keep_for_ever or keep_s else None
        return Ending(
            what,
            result=data or b"",
            result_ms=0 if keep_for_ever else int((keep_s or 0) * 1000),
            mark_ms=keep_cronjob_progress * 1000 if hasattr(function, "next_run") else 0,
        )

    async def after(self, run: Run) -> None:
        """Call the hook for a job whose end is written down."""
        await self._hook(self._worker.after_job_end, self._context(run))

    async def _failed(self, run: Run, ctx: dict[Any, Any], exc: Exception, limit: int) -> Ending | None:
        worker, job_id, name = self._worker, run.claim.lease.job_id, run.function.name
        if isinstance(exc, LeaseLost):
            _note_refused(run)
            return None
        if isinstance(exc, Retry) and worker.retry_jobs:
            worker.jobs_retried += 1
            return again(timedelta(milliseconds=exc.defer_score or 0))
        if isinstance(exc, _REDIS_AWAY):
            log.warning("job_broken_off", job=job_id, task=name, error=type(exc).__name__)
            worker.jobs_retried += 1
            return later(AWAY_PAUSE)
        log.warning("job_failed", job=job_id, task=name, attempt=run.attempt, exc_info=exc)
        if run.attempt >= limit or not worker.retry_jobs:
            why = f"{run.attempt} attempts failed, the last one with {logs.summary(exc)}"
            return await self._spent(run, ctx, why, exc)
        worker.jobs_retried += 1
        metrics.JOBS.labels(name, "retried").inc()
        return again(back_off(run.attempt, random.random()))  # noqa: S311 - jitter, no secret

    async def _spent(self, run: Run, ctx: dict[Any, Any], why: str, exc: Exception) -> Ending | None:
        if not isinstance(run.function, TaskFunction):
            return self.finished(run, exc, success=False)
        try:
            return self.finished(run, await run.function.set_aside(ctx, why, *run.args), success=False)
        except LeaseLost:
            _note_refused(run)
            return None
        except Exception as failure:  # whatever it is, the job is not lost for want of a place to set it aside
            log.warning("set_aside_failed", job=run.claim.lease.job_id, task=run.function.name, exc_info=failure)
            return again(back_off(run.attempt, random.random()))  # noqa: S311 - jitter, no secret

    def _context(self, run: Run) -> dict[Any, Any]:
        return {
            **self._worker.ctx,
            "job_id": run.claim.lease.job_id,
            "job_try": run.attempt,
            "enqueue_time": datetime.fromtimestamp(run.enqueued_ms / 1000, UTC),
            "score": run.claim.due_ms,
            "lease": run.claim.lease,
        }

    async def _hook(self, hook: StartupShutdown | None, ctx: dict[Any, Any]) -> None:
        if hook is None:
            return
        try:
            await hook(ctx)
        except Exception as exc:  # whatever it is, the job has ended already
            log.warning("hook_failed", job=ctx["job_id"], exc_info=exc)

    def _encoded(self, run: Run, result: object, *, success: bool) -> bytes | None:
        job_id = run.claim.lease.job_id
        return serialize_result(
            run.function.name,
            run.args,
            run.kwargs,
            run.attempt,
            run.enqueued_ms,
            success,
            result,
            run.started_ms,
            timestamp_ms(),
            job_id,
            self._worker.queue_name,
            job_id,
            serializer=self._worker.job_serializer,
        )


def _note_refused(run: Run) -> None:
    metrics.LATE_WRITES.labels("refused").inc()
    log.warning("late_write_refused", job=run.claim.lease.job_id, task=run.function.name)


async def _within(seconds: float, work: Awaitable[T]) -> T:
    """Await work no longer than so many seconds; what `asyncio.timeout` does, at a third of its cost.

    Raises:
        TimeoutError: the time is over, and the work was cancelled.
    """
    task = asyncio.current_task()
    if task is None or seconds == math.inf:
        return await work
    over = False

    def expire() -> None:
        nonlocal over
        over = True
        task.cancel()

    timer = asyncio.get_running_loop().call_later(seconds, expire)
    try:
        return await work
    except asyncio.CancelledError as exc:
        if over and task.uncancel() == 0:  # nobody else has cancelled it too
            raise TimeoutError from exc
        raise
    finally:
        timer.cancel()
