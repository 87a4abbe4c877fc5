"""The task that carries a reward out: ask `shipping` what comes next, do it, write it down, until it rests."""

import asyncio
from collections.abc import Coroutine, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from rewardpost import logs, transitions
from rewardpost.addresses import AddressProblem, PostalAddress
from rewardpost.changes import WORKER, Change
from rewardpost.connection import UNREACHABLE
from rewardpost.fulfilment import Fulfilment
from rewardpost.ledger import Ledger, Stale, View
from rewardpost.queue import SHIP_REWARD
from rewardpost.settings import Settings
from rewardpost.states import SETTLED, State
from rewardpost.turns import Go
from worker import outcomes, shipping
from worker.address_sources.look_up import look_up
from worker.address_sources.protocol import AddressSource, Customer, TryLater
from worker.edge import Job
from worker.order_steps import OrderSteps, wait_for
from worker.provider_calls import ProviderCalls
from worker.providers.protocol import Guarantee, Outcome, Parcel
from worker.reward_steps import Step, Steps
from worker.shipping import (
    Adopt,
    AskStatus,
    CancelOrder,
    Dispatch,
    FindAddress,
    LookUp,
    Policy,
    Rest,
    Wait,
)

ADDRESS_PAUSE = timedelta(minutes=1)
"""Wait before an address source that could not answer is asked again, where it names no time itself."""
_REDIS_PAUSE_SECONDS = 0.5

log = logs.get(__name__)


class ShipReward:
    """Carries one reward as far as it can go now."""

    name = SHIP_REWARD

    def __init__(
        self,
        ledger: Ledger,
        calls: ProviderCalls,
        sources: Sequence[AddressSource],
        settings: Settings,
    ) -> None:
        self._ledger = ledger
        self._steps = Steps(ledger)
        self._calls = calls
        self._orders = OrderSteps(self._steps, calls)
        self._provider = calls.provider
        self._sources = sources
        self._settings = settings
        self._quiet_time = calls.provider.look_up_lag + settings.provider_quiet

    async def run(self, job: Job, *args: Any) -> str:  # noqa: ANN401 - the reference
        """Take steps until the reward rests or waits; a step decided on an old record is decided anew."""
        reference: str = args[0]
        step: Step | str | None = None
        while True:
            try:
                if step is None:
                    step = await self._steps.read(reference, job.lease.token)
                if isinstance(step, str):
                    return step
                step = await self._go_on(step)
            except Stale:
                step = None

    async def set_aside(self, job: Job, why: str, *args: Any) -> str:  # noqa: ANN401 - the reference
        """Move the record to needs_attention in the step that ends the job."""
        reference: str = args[0]
        while True:
            step = await self._steps.read(reference, job.lease.token)
            if isinstance(step, str):
                return step
            try:
                if step.record.state in SETTLED or step.record.state is State.NEEDS_ATTENTION:
                    await self._ledger.end_job(step.record, step.token)
                else:
                    await self._steps.write(step, transitions.wants_attention(step.record, why, now=step.now))
            except Stale:
                continue
            return "set_aside"

    async def _go_on(self, step: Step) -> Step | str | None:
        policy = await self._policy(step.view)
        action = shipping.next_action(step.record, now=step.now, policy=policy)
        match action:
            case Rest():
                await self._ledger.end_job(step.record, step.token)
                return "done"
            case Wait(due):
                return await self._steps.defer(step, due)
            case FindAddress():
                return await self._find_address(step)
            case Dispatch():
                return await self._dispatch(step)
            case LookUp() | Adopt() | CancelOrder() | AskStatus():
                return await self._orders.take(step, action, policy)
            case Change() as change:
                return await self._steps.write(step, change)

    async def _find_address(self, step: Step) -> Step | str:
        record, personal = step.record, step.view.personal
        found = await look_up(
            self._sources,
            Customer(id=record.customer, source_id=personal.source_id, name=personal.name, reference=record.reference),
            served=self._settings.ship_to_countries,
        )
        match found:
            case PostalAddress() as address:
                known = msgspec.structs.replace(personal, address=address)
                change = transitions.address_found(record, known, by=WORKER, now=step.now)
                view = msgspec.structs.replace(step.view, personal=known)
                return msgspec.structs.replace(step, view=view, record=change.record, pending=change)
            case AddressProblem(kind=kind, fields=fields):
                why = f"address {kind.replace('_', ' ')}" + (f": {', '.join(fields)}" if fields else "")
                return await self._steps.write(step, transitions.address_wanted(record, why, now=step.now))
            case TryLater(why=why, retry_after=retry_after):
                log.info("address_look_up_postponed", reference=record.reference, reason=why)
                return await self._steps.defer(step, step.now + (ADDRESS_PAUSE if retry_after is None else retry_after))

    async def _dispatch(self, step: Step) -> Step | str | None:
        record, address = step.record, step.view.personal.address
        if address is None:
            why = "its address has been erased; expected a new one"
            return await self._steps.write(step, transitions.wants_attention(record, why, now=step.now))
        parcel = _parcel(record, address)
        if self._provider.guarantee is Guarantee.LEDGER:
            change = transitions.submit_at_once(record, self._provider.name, parcel.reference, now=step.now)
            return await self._steps.write(step, change)
        turn = await self._calls.turn(record.reference)
        if not isinstance(turn, Go):
            return await self._steps.defer(step, step.now + turn.after)
        timeout = self._provider.call_timeout
        local = datetime.now(UTC)  # read first, so that the deadline by this clock is never the later one
        now = step.now
        change = transitions.begin_dispatch(record, self._provider.name, deadline=now + timeout, now=now)
        try:
            begun = await self._steps.write(step, change)
        except BaseException:
            await self._calls.give_up(turn)
            raise
        if not isinstance(begun, Step):
            raise TypeError("expected the job to go on after the dispatch has begun")
        return await _to_its_end(self._call(begun, turn, parcel, local + timeout))

    async def _call(self, begun: Step, turn: Go, parcel: Parcel, deadline: datetime) -> Step | str | None:
        """Submit, and write the outcome down as often as it takes, whatever flag was set: nobody else knows it."""
        outcome = await self._calls.submit(turn, parcel, deadline)
        step: Step | str = begun
        while isinstance(step, Step):
            try:
                change = await self._after_call(step, begun.record.token, outcome)
                if change is None:
                    break
                return await self._steps.write(step, change)
            except Stale:
                step = await self._read_again(begun)
            except UNREACHABLE:
                await asyncio.sleep(_REDIS_PAUSE_SECONDS)
                step = await self._read_again(begun)
        log.warning("late_outcome_refused", reference=begun.record.reference, outcome=type(outcome).__name__)
        return None

    async def _read_again(self, begun: Step) -> Step | str:
        while True:
            try:
                return await self._steps.read(begun.record.reference, begun.token)
            except UNREACHABLE:
                await asyncio.sleep(_REDIS_PAUSE_SECONDS)

    async def _after_call(self, step: Step, token: int, outcome: Outcome) -> Change | None:
        return outcomes.after_call(
            step.record,
            token,
            outcome,
            now=step.now,
            back_off=wait_for(step.record),
            policy=await self._policy(step.view),
        )

    async def _policy(self, view: View) -> Policy:
        settings = self._settings
        since = settings.ship_since or view.installed_at or await self._ledger.installed()
        return Policy(
            dispatch=settings.dispatch == "on",
            ship_since=since,
            holds=view.holds,
            provider=self._provider.name,
            guarantee=self._provider.guarantee,
            quiet_time=self._quiet_time,
            limit=settings.worker_max_attempts,
            watched_since=view.watched_since,
            poll=settings.provider_poll if self._provider.reports_status else None,
        )


async def _to_its_end(call: Coroutine[None, None, Step | str | None]) -> Step | str | None:
    """Await a call and the writing down of its outcome, even when the job is cancelled meanwhile.

    A worker that stops would otherwise leave an unknown outcome behind.
    """
    task = asyncio.ensure_future(call)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task})
        raise


def _parcel(record: Fulfilment, address: PostalAddress) -> Parcel:
    return Parcel(
        reference=record.provider_reference,
        redemption=record.redemption,
        customer=record.customer,
        article=record.article or "",
        article_name=record.article_name,
        address=address,
    )
