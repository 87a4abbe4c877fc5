"""The sweep: rewards that should have a job and have none, be it lost or never enqueued, get it back."""

from datetime import UTC, datetime, timedelta

from rewardpost import metrics
from rewardpost.audits import Audits
from rewardpost.fulfilment import Fulfilment
from rewardpost.missing_jobs import MissingJobs
from rewardpost.states import BEFORE_DISPATCH, State
from worker import shipping
from worker.providers.protocol import Provider
from worker.reconcilers.protocol import Report, Scope
from worker.shipping import Policy

STATES = (
    State.RECEIVED,
    State.READY,
    State.DISPATCHING,
    State.UNKNOWN,
    State.SUBMITTED,
    State.SHIPPED,
)
"""Those in which a job may be needed; in the others a reward waits for a person, or has ended."""

_NAME = "sweep"


class Sweep:
    """Gives jobs back; a run that takes too long goes on in the next one."""

    def __init__(self, jobs: MissingJobs, audits: Audits, provider: Provider, *, poll: timedelta) -> None:
        self._jobs = jobs
        self._audits = audits
        self._policy = polling_policy(provider, poll)

    async def run(self, scope: Scope) -> Report:
        """Look at every reward in these states, those that have a job at the cost of one look at the queue."""
        states, cursor = list(STATES), 0
        kept = await self._audits.position(_NAME) if scope.is_bounded else None
        if kept:
            state, _, kept_cursor = kept.partition(":")
            states, cursor = states[states.index(State(state)) :], int(kept_cursor)
        checked = restored = 0
        for state in states:
            while True:
                page = await self._jobs.page(state, cursor)
                checked += page.looked_at
                restored += await self._restore(page.jobless, dry_run=scope.dry_run)
                cursor = page.next
                if cursor == 0:
                    break
                if scope.is_over:
                    await self._audits.keep_position(_NAME, f"{state}:{cursor}")
                    return Report(done=restored, checked=checked, unfinished="there are many rewards")
        if kept:
            await self._audits.keep_position(_NAME, "")
        return Report(done=restored, checked=checked)

    async def _restore(self, jobless: tuple[Fulfilment, ...], *, dry_run: bool) -> int:
        if not jobless:
            return 0
        now = await self._audits.now()
        jobs = [(record, due) for record in jobless if (due := job_due(record, now=now, policy=self._policy))]
        if dry_run:
            return len(jobs)
        restored = await self._jobs.restore(jobs)
        metrics.JOBS_RESTORED.inc(restored)
        return restored


def job_due(record: Fulfilment, *, now: datetime, policy: Policy) -> datetime | None:
    """Return when the job of a reward that has none should run; None where it needs none."""
    wanted = max(record.due or now, now)
    if record.state in BEFORE_DISPATCH:
        is_waiting = record.state is State.NEEDS_ADDRESS or record.hold is not None
        return None if is_waiting and record.cancelling is None else wanted
    if record.state in {State.DISPATCHING, State.UNKNOWN}:
        return wanted
    if record.state is State.SUBMITTED and record.cancelling is not None:
        return wanted
    if record.state in {State.SUBMITTED, State.SHIPPED}:
        return shipping.next_poll(record, now=now, policy=policy)
    return None


def polling_policy(provider: Provider, poll: timedelta) -> Policy:
    """Return as much of a policy as decides whether an order is to be asked about."""
    return Policy(
        dispatch=True,
        ship_since=datetime.min.replace(tzinfo=UTC),
        holds={},
        provider=provider.name,
        guarantee=provider.guarantee,
        quiet_time=timedelta(),
        poll=poll if provider.reports_status else None,
    )
