"""The jobs in hand: each from its claim over its run to the moment in which its end is written down."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from arq.worker import Worker

from rewardpost import logs, metrics
from rewardpost.connection import UNREACHABLE
from rewardpost.group_commit import GroupCommit
from rewardpost.lease import Lease
from worker.claims import Claim, Claims, Ending, give_back
from worker.runner import Run, Runner

_MOST_ENDINGS = 200

log = logs.get(__name__)


class InHand:
    """Starts jobs and writes down how they ended, many in one call.

    `leases` maps each job in hand to its deadline on the monotonic clock, for whoever renews them; `pause` waits after
    an error, before the next try.
    """

    def __init__(
        self,
        worker: Worker,
        claims: Claims,
        leases: dict[Lease, float],
        pause: Callable[[Exception], Awaitable[None]],
    ) -> None:
        self.freed = asyncio.Event()
        """Set whenever a job has run or its end is written."""
        self._worker = worker
        self._claims = claims
        self._leases = leases
        self._pause = pause
        self._runner = Runner(worker)
        self._runs: dict[Lease, Run] = {}
        self._endings: GroupCommit[tuple[Claim, Ending], bool] = GroupCommit(self._write_endings, most=_MOST_ENDINGS)

    def __len__(self) -> int:
        return len(self._leases)

    async def settle(self) -> None:
        """Wait until the end of every job that has run is written down."""
        await self._endings.settle()

    async def abandon(self) -> None:
        """Write nothing more down: those jobs are due again when their leases end."""
        await self._endings.abandon()

    def start(self, claim: Claim, *, aborted: bool) -> None:
        """Run a job that was claimed, unless it was aborted before that."""
        lease = claim.lease
        run = self._runner.begin(claim)
        if isinstance(run, Ending):
            self._leases[lease] = time.monotonic()
            self._put(claim, run)
            return
        self._leases[lease] = time.monotonic() + self._runner.timeout(run.function)
        self._runs[lease] = run
        if aborted:
            self._put(claim, self._runner.aborted(run))
            return
        task = self._worker.loop.create_task(self._runner.carry_out(run))
        self._worker.tasks[f"{lease.job_id} {lease.token}"] = self._worker.job_tasks[lease.job_id] = task
        task.add_done_callback(partial(self._has_run, run))

    def _has_run(self, run: Run, task: "asyncio.Task[Ending | None]") -> None:
        claim, job_id = run.claim, run.claim.lease.job_id
        del self._worker.tasks[f"{job_id} {claim.lease.token}"]
        if self._worker.job_tasks.get(job_id) is task:
            del self._worker.job_tasks[job_id]
        self.freed.set()
        aborting = job_id in self._worker.aborting_tasks
        # Whatever it answered: otherwise a later run of it would be ended where it is to be given back.
        self._worker.aborting_tasks.discard(job_id)
        if not task.cancelled():
            ending = task.result()
        elif aborting:
            ending = self._runner.aborted(run)
        else:
            self._worker.jobs_retried += 1
            ending = give_back(claim)
        if ending is None:
            self._forget(claim)
        else:
            self._put(claim, ending)

    def _put(self, claim: Claim, ending: Ending) -> None:
        self._endings.put((claim, ending)).add_done_callback(partial(self._is_written, claim, ending))

    def _is_written(self, claim: Claim, ending: Ending, answer: "asyncio.Future[bool]") -> None:
        run = self._forget(claim)
        self.freed.set()
        if answer.cancelled() or run is None:
            return
        if not answer.result() and ending.what != "back":
            metrics.LATE_WRITES.labels("refused").inc()
            log.warning("late_ending_refused", job=claim.lease.job_id, outcome=ending.what)
        elif self._worker.after_job_end:
            self._worker.loop.create_task(self._runner.after(run))

    def _forget(self, claim: Claim) -> Run | None:
        self._leases.pop(claim.lease, None)
        return self._runs.pop(claim.lease, None)

    async def _write_endings(self, endings: Sequence[tuple[Claim, Ending]]) -> list[bool]:
        """Write down how jobs ended, as often as it takes; what was written the first time is refused the second."""
        repeated = False
        while True:
            try:
                written = await self._claims.end(endings)
            except UNREACHABLE as exc:
                repeated = True
                await self._pause(exc)
            else:
                return [True] * len(written) if repeated else written

    def note_lost(self, lease: Lease) -> None:
        """Count and log a lease that another worker may have by now."""
        run = self._runs.get(lease)
        metrics.LEASES_LOST.labels(run.function.name if run else "").inc()
        log.warning("lease_lost", job=lease.job_id)
