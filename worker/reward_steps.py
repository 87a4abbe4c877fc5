"""The steps of one run of a reward's job: read once, decided on, written down, and gone on from."""

import time
from datetime import datetime, timedelta

import msgspec

from rewardpost import logs, metrics
from rewardpost.changes import Change, Due, End, followed_by
from rewardpost.fulfilment import Fulfilment
from rewardpost.ledger import Ledger, View
from rewardpost.states import State

log = logs.get(__name__)


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """A reward at one moment of one run of its job."""

    view: View
    record: Fulfilment
    token: str
    """Under which the reward's job is held."""
    read_at: float
    """When the view was read, on the monotonic clock."""
    pending: Change | None = None
    """Decided already, and to be written together with what comes next."""

    @property
    def now(self) -> datetime:
        """Redis's clock, as far as it has moved on since the view was read."""
        return self.view.now + timedelta(seconds=time.monotonic() - self.read_at)


class Steps:
    """Takes a reward's job from one step to the next; a word instead of a step says how the run ended."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    async def read(self, reference: str, token: str) -> Step | str:
        """Read a reward; a word where it is gone and its job has ended."""
        read_at = time.monotonic()  # before Redis's clock is read: a deadline by this one is never the later one
        view = await self._ledger.load(reference)
        if view.record is not None:
            return Step(view=view, record=view.record, token=token, read_at=read_at)
        # Its record expired, or the ledger was emptied.
        log.warning("reward_without_record", reference=reference)
        await self._ledger.end_job(Fulfilment(reference=reference, state=State.RECEIVED), token)
        return "gone"

    async def write(self, step: Step, change: Change) -> Step | str:
        """Write a change, together with what is pending; return where that leads."""
        if step.pending is not None:
            change = followed_by(step.pending, change)
        after = await self._ledger.apply(change, before=step.view.record, token=step.token)
        log.info(
            "reward_moved",
            reference=after.reference,
            before=step.view.record.state if step.view.record is not None else None,
            after=after.state,
            reason=change.record.why,
        )
        for entry in change.entries:
            if entry.before is not entry.after:
                metrics.TRANSITIONS.labels(entry.after.value).inc()
                if entry.after is State.SUBMITTED:
                    _note_submitted(after, entry.at)
        match change.job:
            case End():
                return "done"
            case Due():
                return "deferred"
            case _:
                personal = change.personal if change.personal is not None else step.view.personal
                view = msgspec.structs.replace(step.view, record=after, personal=personal)
                return msgspec.structs.replace(step, view=view, record=after, pending=None)

    async def defer(self, step: Step, due: datetime) -> Step | str:
        """Have the job run again at a time, and write what is pending."""
        if step.pending is not None:
            decided = msgspec.structs.replace(step, pending=None)
            return await self.write(decided, msgspec.structs.replace(step.pending, job=Due(due)))
        await self._ledger.defer_job(step.record, due, step.token)
        return "deferred"


def _note_submitted(record: Fulfilment, at: datetime) -> None:
    if record.received_at is not None and record.generation == 1:  # a later one began with a person, not a webhook
        metrics.SUBMIT_SECONDS.observe(max((at - record.received_at).total_seconds(), 0))
