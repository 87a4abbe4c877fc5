"""The steps of a reward's job that are about an order which the provider has, or may have."""

import random
from collections.abc import Sequence
from datetime import datetime, timedelta

import msgspec

from rewardpost import logs, transitions
from rewardpost.fulfilment import Fulfilment, Hold
from rewardpost.states import State
from rewardpost.turns import Go
from worker import outcomes, shipping
from worker.backoff import back_off
from worker.provider_calls import ProviderCalls
from worker.providers.protocol import CannotTell, Order
from worker.reward_steps import Step, Steps
from worker.shipping import Adopt, AskStatus, CancelOrder, LookUp, Policy

log = logs.get(__name__)


class Found(msgspec.Struct, frozen=True):
    """What a look-up found."""

    orders: Sequence[Order]


class OrderSteps:
    """Looks orders up, follows and cancels them; each step is one call, for which the job may have to wait."""

    def __init__(self, steps: Steps, calls: ProviderCalls) -> None:
        self._steps = steps
        self._calls = calls

    async def take(self, step: Step, action: LookUp | Adopt | CancelOrder | AskStatus, policy: Policy) -> Step | str:
        """Take the step that was decided on, when it is its turn, and return where it leads."""
        turn = await self._calls.turn(step.record.reference)
        if not isinstance(turn, Go):
            return await self._steps.defer(step, step.now + turn.after)
        match action:
            case LookUp():
                return await self._look_up(step, turn, policy)
            case Adopt(hold):
                return await self._first_look(step, turn, policy, hold)
            case CancelOrder():
                return await self._cancel(step, turn, policy)
            case AskStatus():
                return await self._ask_status(step, turn, policy)

    async def _look_up(self, step: Step, turn: Go, policy: Policy) -> Step | str:
        record = step.record
        orders = await self._find(step, turn, since=record.deadline or record.changed_at)
        if not isinstance(orders, Found):
            return orders
        if record.state is State.SUBMITTED:
            change = outcomes.after_cancel_look_up(record, orders.orders, now=step.now, policy=policy)
        else:
            change = outcomes.after_look_up(
                record, orders.orders, now=step.now, back_off=wait_for(record), policy=policy
            )
        return await self._steps.write(step, change)

    async def _first_look(self, step: Step, turn: Go, policy: Policy, hold: Hold | None) -> Step | str:
        orders = await self._find(step, turn, since=None)
        if not isinstance(orders, Found):
            return orders
        change = outcomes.after_first_look(step.record, orders.orders, hold, now=step.now, policy=policy)
        return await self._steps.write(step, change)

    async def _find(self, step: Step, turn: Go, *, since: datetime | None) -> "Found | Step | str":
        """Look for the orders of a reward; where that leads instead while the provider cannot tell."""
        try:
            return Found(await self._calls.find(turn, step.record.provider_reference))
        except CannotTell as exc:
            now = step.now
            if since is not None and now - since > shipping.LOOK_UP_LIMIT:
                why = f"the provider cannot say whether it has the order: {exc}"
                return await self._steps.write(step, transitions.wants_attention(step.record, why, now=now))
            return await self._later(step, exc, since=since)

    async def _later(self, step: Step, exc: CannotTell, *, since: datetime | None) -> Step | str:
        log.info("look_up_postponed", reference=step.record.reference, reason=str(exc))
        now = step.now
        due = shipping.next_look(since or step.record.changed_at or now, now=now)
        if exc.retry_after is not None:
            due = max(due, now + exc.retry_after)
        return await self._steps.defer(step, due)

    async def _cancel(self, step: Step, turn: Go, policy: Policy) -> Step | str:
        record = step.record
        cancellation = await self._calls.cancel(turn, record.provider_order or "", record.provider_reference)
        change = outcomes.after_cancel(record, cancellation, now=step.now, policy=policy)
        return await self._steps.write(step, change)

    async def _ask_status(self, step: Step, turn: Go, policy: Policy) -> Step | str:
        record = step.record
        try:
            order = await self._calls.status(turn, record.provider_order or "", record.provider_reference)
        except CannotTell as exc:
            return await self._later(step, exc, since=None)
        change = outcomes.after_status(record, order, now=step.now, policy=policy)
        if change is not None:
            return await self._steps.write(step, change)
        due = shipping.next_poll(record, now=step.now, policy=policy)
        return await self._steps.defer(step, due if due is not None else step.now)


def wait_for(record: Fulfilment) -> timedelta:
    """Return how long to wait before another call for a reward."""
    return back_off(record.spent + 1, random.random())  # noqa: S311 - jitter, no secret
