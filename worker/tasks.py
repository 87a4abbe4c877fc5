"""The tasks: what arq calls. Each is a thin shell that reads, asks a pure function, writes, and ends its job."""

import contextlib
from collections.abc import Callable
from datetime import datetime
from typing import Any

import msgspec

from rewardpost import codec, logs, metrics, transitions
from rewardpost.changes import Change
from rewardpost.dead_letters import DeadLetters
from rewardpost.delivery import Delivery, delivery_id
from rewardpost.fulfilment import Opening, Personal
from rewardpost.ledger import Ledger, SettledDelivery, Stale
from rewardpost.operations import Operations
from rewardpost.queue import OPEN_DELIVERY
from rewardpost.states import State
from worker import routing
from worker.decisions import Count, Decision, EraseCustomer, LookAgain, OpenReward, RollBack, SetAside
from worker.edge import Job

log = logs.get(__name__)

_START = {
    "ship": State.RECEIVED,
    "not_applicable": State.NOT_APPLICABLE,
    "needs_attention": State.NEEDS_ATTENTION,
}
_WORTH_A_LOOK = frozenset({State.UNKNOWN, State.SUBMITTED, State.SHIPPED})


class OpenDelivery:
    """Opens a delivery: a fulfilment, a rollback, a count, or a dead letter; its job ends in the same write."""

    name = OPEN_DELIVERY

    def __init__(
        self,
        ledger: Ledger,
        dead_letters: DeadLetters,
        operations: Operations,
        *,
        projects: frozenset[str],
        heard: Callable[[str, datetime], None] = lambda _source, _at: None,
    ) -> None:
        self._ledger = ledger
        self._dead_letters = dead_letters
        self._operations = operations
        self._projects = projects
        self._heard = heard

    async def run(self, job: Job, *args: Any) -> str:  # noqa: ANN401 - what was on the queue, not yet known to be right
        """Decide what the delivery means and settle it."""
        try:
            delivery = msgspec.convert(args[0], Delivery)
        except (msgspec.ValidationError, IndexError):
            return await self._set_aside(
                job, "unreadable_job", "expected a delivery as this release or an older one stores it"
            )
        self._heard(delivery.source, delivery.received_at)
        with metrics.DECIDE_SECONDS.time():
            decision = routing.decide(delivery, projects=self._projects)
        outcome = await self._carry_out(job, delivery, decision)
        event = getattr(decision, "event_type", "")
        label = metrics.event_type_label(event)
        metrics.DELIVERIES.labels(label, outcome).inc()
        log.info("delivery_handled", delivery=delivery.id, outcome=outcome, event_type=label)
        return outcome

    async def set_aside(self, job: Job, why: str, *_args: Any) -> str:  # noqa: ANN401 - the same
        """Make the delivery a dead letter."""
        return await self._set_aside(job, "attempts_spent", why)

    async def _carry_out(self, job: Job, delivery: Delivery, decision: Decision) -> str:
        match decision:
            case OpenReward():
                return await self._open(job, delivery, decision)
            case RollBack():
                return await self._roll_back(job, delivery, decision)
            case EraseCustomer():
                return await self._erase(job, delivery, decision)
            case LookAgain():
                return await self._look_again(job, delivery, decision)
            case Count():
                await self._settle(job, delivery, decision.event_type)
                return "counted"
            case SetAside(code=code, why=why):
                return await self._set_aside(job, code, why)

    async def _open(self, job: Job, delivery: Delivery, decision: OpenReward) -> str:
        settled = SettledDelivery(
            id=delivery.id, token=job.lease.token, event=metrics.event_type_label(decision.event_type)
        )
        while True:
            view = await self._ledger.load(decision.reference)
            if view.record is not None or view.done is not None:
                await self._settle(job, delivery, decision.event_type)
                return "duplicate_reward"
            try:
                await self._ledger.apply(
                    transitions.receive(_opening(decision, delivery), now=view.now),
                    before=None,
                    delivery=settled,
                )
            except Stale:
                continue
            log.info("reward_opened", reference=decision.reference, delivery=delivery.id, kind=decision.kind)
            return "opened"

    async def _roll_back(self, job: Job, delivery: Delivery, decision: RollBack) -> str:
        settled = SettledDelivery(
            id=delivery.id, token=job.lease.token, event=metrics.event_type_label(decision.event_type)
        )
        while True:
            view = await self._ledger.load(decision.reference)
            change: Change | None = None
            if view.record is not None:
                change = transitions.roll_back(view.record, now=view.now)
            elif view.done is None:
                change = transitions.roll_back_unknown(decision.reference, decision.redemption, now=view.now)
            if change is None:
                await self._settle(job, delivery, decision.event_type)
                return "nothing_to_roll_back"
            try:
                await self._ledger.apply(change, before=view.record, delivery=settled)
            except Stale:
                continue
            return "rolled_back"

    async def _erase(self, job: Job, delivery: Delivery, decision: EraseCustomer) -> str:
        if decision.customer is None:
            why = "expected data.customer.id, under which what is personal is found"
            return await self._set_aside(job, "no_customer", why)
        await self._operations.erase_customer(decision.customer)
        await self._settle(job, delivery, decision.event_type)
        return "erased"

    async def _look_again(self, job: Job, delivery: Delivery, decision: LookAgain) -> str:
        """Have the rewards' own jobs look now; a hint says nothing that is believed."""
        for reference in decision.references:
            view = await self._ledger.load(reference)
            if view.record is not None and view.record.state in _WORTH_A_LOOK:
                with contextlib.suppress(Stale):  # it is being looked at as it is
                    await self._ledger.defer_job(view.record, view.now, "")
        await self._settle(job, delivery, decision.event_type)
        return "looked_again"

    async def _settle(self, job: Job, delivery: Delivery, event_type: str) -> None:
        await self._dead_letters.settle(job.lease, delivery.id, event=metrics.event_type_label(event_type))

    async def _set_aside(self, job: Job, code: str, why: str) -> str:
        letter = job.id.rpartition(":")[2]
        await self._dead_letters.add(job.lease, letter, code=code, why=why)
        metrics.DEAD_LETTERS.labels(metrics.dead_letter_label(code)).inc()
        log.warning("delivery_set_aside", delivery=letter, kind=code, reason=why)
        return "dead_letter"


class SetUnreadableAside:
    """Takes jobs whose payload cannot be decoded: a delivery becomes a dead letter, a reward's job is written anew."""

    name = codec.UNREADABLE

    def __init__(self, ledger: Ledger, dead_letters: DeadLetters) -> None:
        self._ledger = ledger
        self._dead_letters = dead_letters

    async def run(self, job: Job, *args: Any) -> str:  # noqa: ANN401 - whatever lay on the queue
        """Set the payload aside, whole."""
        return await self.set_aside(job, "expected a job as this release or an older one stores it", *args)

    async def set_aside(self, job: Job, why: str, *args: Any) -> str:  # noqa: ANN401 - the same
        """Do the same: there is nothing else to try."""
        reference = job.id.removeprefix(self._ledger.keys.reward_job(""))
        if reference != job.id:
            view = await self._ledger.load(reference)
            if view.record is not None:
                # All that a reward's job says is its reference, and the job's id says that too.
                await self._ledger.defer_job(view.record, view.now, job.lease.token)
                return "written_anew"
        letter = job.id.rpartition(":")[2] or delivery_id(bytes(args[0]) if args else b"")
        await self._dead_letters.add(job.lease, letter, code="unreadable_job", why=why)
        metrics.DEAD_LETTERS.labels("unreadable_job").inc()
        log.warning("job_set_aside", job=job.id, kind="unreadable_job")
        return "dead_letter"


def _opening(decision: OpenReward, delivery: Delivery) -> Opening:
    person = decision.person
    return Opening(
        reference=decision.reference,
        redemption=decision.redemption,
        customer=decision.customer,
        kind=decision.kind,
        article=decision.article,
        article_name=decision.article_name,
        redeemed_at=decision.redeemed_at,
        received_at=delivery.received_at,
        personal=Personal(name=person.name, email=person.email, source_id=person.source_id),
        state=_START[decision.verdict],
        why=decision.why,
        audited=decision.audited,
    )
