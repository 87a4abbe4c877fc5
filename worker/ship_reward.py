"""The task that carries a reward out: ask `shipping` what comes next, do it, write it down, until it rests."""

import asyncio
import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from redis.exceptions import RedisError

from rewardpost import logs, metrics, transitions
from rewardpost.addresses import AddressProblem, PostalAddress
from rewardpost.changes import WORKER, Change, Due, End
from rewardpost.fulfilment import Fulfilment
from rewardpost.ledger import Ledger, Stale, View
from rewardpost.queue import SHIP_REWARD
from rewardpost.settings import Settings
from rewardpost.states import SETTLED, State
from worker import shipping
from worker.address_sources.look_up import look_up
from worker.address_sources.protocol import AddressSource, Customer, TryLater
from worker.backoff import back_off
from worker.edge import Job
from worker.providers.protocol import CannotTell, Guarantee, Order, Outcome, Parcel, Provider, Unknown
from worker.shipping import CancelOrder, Dispatch, FindAddress, LookUp, Policy, Rest, Wait

ADDRESS_PAUSE = timedelta(minutes=1)
"""Wait before an address source that could not answer is asked again, where it names no time itself."""
QUIET_MARGIN = timedelta(seconds=30)
"""What the quiet time has beyond the provider's own look-up lag."""
_REDIS_PAUSE_SECONDS = 0.5

log = logs.get(__name__)


class ShipReward:
    """Carries one reward as far as it can go now."""

    name = SHIP_REWARD

    def __init__(
        self,
        ledger: Ledger,
        provider: Provider,
        sources: Sequence[AddressSource],
        settings: Settings,
        *,
        quiet_margin: timedelta = QUIET_MARGIN,
    ) -> None:
        self._ledger = ledger
        self._provider = provider
        self._sources = sources
        self._settings = settings
        self._quiet_time = provider.look_up_lag + quiet_margin

    async def run(self, _job: Job, *args: Any) -> str:  # noqa: ANN401 - the reference
        """Take steps until the reward rests or waits; a step decided on an old record is decided anew."""
        reference: str = args[0]
        while True:
            local = datetime.now(UTC)  # before Redis's clock is read: a deadline by this one is never the later one
            view = await self._ledger.load(reference)
            if view.record is None:
                return await self._forget(reference)
            try:
                outcome = await self._step(view, view.record, local)
            except Stale:
                continue
            if outcome is not None:
                return outcome

    async def set_aside(self, _job: Job, why: str, *args: Any) -> str:  # noqa: ANN401 - the reference
        """Move the record to needs_attention in the step that ends the job."""
        reference: str = args[0]
        while True:
            view = await self._ledger.load(reference)
            record = view.record
            if record is None:
                return await self._forget(reference)
            try:
                if record.state in SETTLED or record.state is State.NEEDS_ATTENTION:
                    await self._ledger.end_job(record)
                else:
                    await self._apply(transitions.wants_attention(record, why, now=view.now), record)
            except Stale:
                continue
            return "set_aside"

    async def _step(self, view: View, record: Fulfilment, local: datetime) -> str | None:
        policy = await self._policy(view)
        match shipping.next_action(record, now=view.now, policy=policy):
            case Rest():
                await self._ledger.end_job(record)
                return "done"
            case Wait(due):
                await self._ledger.defer_job(record, due)
                return "deferred"
            case FindAddress():
                return await self._find_address(record, view.now)
            case Dispatch():
                return await self._dispatch(record, view.now, local)
            case LookUp():
                return await self._look_up(record, policy, view.now)
            case CancelOrder():
                change = shipping.after_cancel(
                    record,
                    await self._provider.cancel(record.provider_order or ""),
                    now=view.now,
                    policy=policy,
                )
                return await self._apply(change, record)
            case Change() as change:
                return await self._apply(change, record)

    async def _apply(self, change: Change, before: Fulfilment) -> str | None:
        after = await self._ledger.apply(change, before=before, running=True)
        log.info(
            "reward_moved",
            reference=after.reference,
            before=before.state,
            after=after.state,
            reason=change.record.why,
        )
        for entry in change.entries:
            if entry.before is not entry.after:
                metrics.TRANSITIONS.labels(entry.after.value).inc()
        match change.job:
            case End():
                return "done"
            case Due():
                return "deferred"
            case _:
                return None

    async def _find_address(self, record: Fulfilment, now: datetime) -> str | None:
        personal = await self._ledger.personal(record.reference)
        found = await look_up(
            self._sources,
            Customer(id=record.customer, source_id=personal.source_id, name=personal.name),
            served=self._settings.ship_to_countries,
        )
        match found:
            case PostalAddress() as address:
                change = transitions.address_found(
                    record, msgspec.structs.replace(personal, address=address), by=WORKER, now=now
                )
            case AddressProblem(kind=kind, fields=fields):
                why = f"address {kind.replace('_', ' ')}" + (f": {', '.join(fields)}" if fields else "")
                change = transitions.address_wanted(record, why, now=now)
            case TryLater(why=why, retry_after=retry_after):
                log.info("address_look_up_postponed", reference=record.reference, reason=why)
                await self._ledger.defer_job(record, now + (retry_after or ADDRESS_PAUSE))
                return "deferred"
        return await self._apply(change, record)

    async def _dispatch(self, record: Fulfilment, now: datetime, local: datetime) -> str | None:
        personal = await self._ledger.personal(record.reference)
        if personal.address is None:
            change = transitions.wants_attention(record, "its address has been erased; expected a new one", now=now)
            return await self._apply(change, record)
        parcel = _parcel(record, personal.address)
        if self._provider.guarantee is Guarantee.LEDGER:
            change = transitions.submit_at_once(record, self._provider.name, parcel.reference, now=now)
            return await self._apply(change, record)
        timeout = self._provider.call_timeout
        begun = await self._ledger.apply(
            transitions.begin_dispatch(record, self._provider.name, deadline=now + timeout, now=now),
            before=record,
        )
        outcome = await self._submit(parcel, local + timeout)
        return await self._settle(begun, outcome)

    async def _submit(self, parcel: Parcel, deadline: datetime) -> Outcome:
        with metrics.PROVIDER_CALL_SECONDS.labels(self._provider.name).time():
            try:
                outcome = await self._provider.submit(parcel, deadline)
            except Exception as exc:  # noqa: BLE001 - one that no one foresaw says nothing of what the provider did
                outcome = Unknown(why=f"the call failed with {logs.summary(exc)}")
        metrics.PROVIDER_CALLS.labels(self._provider.name, type(outcome).__name__.lower()).inc()
        return outcome

    async def _settle(self, begun: Fulfilment, outcome: Outcome) -> str | None:
        """Write an outcome down, whatever flag was set meanwhile, and as often as it takes: nobody else knows it."""
        while True:
            try:
                view = await self._ledger.load(begun.reference)
                change = self._after_call(view, begun, outcome)
                if view.record is None or change is None:
                    log.warning("late_outcome_refused", reference=begun.reference, outcome=type(outcome).__name__)
                    return None
                return await self._apply(change, view.record)
            except Stale:
                continue
            except RedisError:
                await asyncio.sleep(_REDIS_PAUSE_SECONDS)

    def _after_call(self, view: View, begun: Fulfilment, outcome: Outcome) -> Change | None:
        if view.record is None:
            return None
        wait = back_off(begun.spent + 1, random.random())  # noqa: S311 - jitter, no secret
        limit = self._settings.worker_max_attempts
        return shipping.after_call(view.record, begun.token, outcome, now=view.now, limit=limit, back_off=wait)

    async def _look_up(self, record: Fulfilment, policy: Policy, now: datetime) -> str | None:
        try:
            orders: Sequence[Order] = await self._provider.find(record.provider_reference)
        except CannotTell as exc:
            if record.deadline is not None and now - record.deadline > shipping.LOOK_UP_LIMIT:
                return await self._apply(
                    transitions.wants_attention(
                        record, f"the provider cannot say whether it has the order: {exc}", now=now
                    ),
                    record,
                )
            return await self._apply(transitions.wait(record, now + policy.quiet_time, str(exc), now=now), record)
        if record.state is State.SUBMITTED:
            return await self._apply(shipping.after_cancel_look_up(record, orders, now=now), record)
        wait = back_off(record.spent + 1, random.random())  # noqa: S311 - jitter, no secret
        limit = self._settings.worker_max_attempts
        return await self._apply(shipping.after_look_up(record, orders, now=now, limit=limit, back_off=wait), record)

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
        )

    async def _forget(self, reference: str) -> str:
        """End the job of a reward whose record is gone: it expired, or the ledger was emptied."""
        log.warning("reward_without_record", reference=reference)
        await self._ledger.end_job(Fulfilment(reference=reference, state=State.RECEIVED))
        return "gone"


def _parcel(record: Fulfilment, address: PostalAddress) -> Parcel:
    return Parcel(
        reference=record.provider_reference,
        redemption=record.redemption,
        customer=record.customer,
        article=record.article or "",
        article_name=record.article_name,
        address=address,
    )
