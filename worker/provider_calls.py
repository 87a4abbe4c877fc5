"""The provider behind its limit: whose turn it is, one call, and what its outcome says of the provider's health."""

from collections.abc import Awaitable, Sequence
from datetime import datetime
from typing import TypeVar

from rewardpost import logs, metrics
from rewardpost.turns import Ended, Go, Wait
from worker.address_sources.protocol import Budget, Unlimited
from worker.providers.protocol import (
    Cancellation,
    CannotTell,
    Guarantee,
    NotApplied,
    Order,
    Outcome,
    Page,
    Parcel,
    Provider,
    Unknown,
)

T = TypeVar("T")

log = logs.get(__name__)


class ProviderCalls:
    """Calls to one provider; each needs a turn, which it uses up."""

    def __init__(self, provider: Provider, budget: Budget | None = None) -> None:
        self.provider = provider
        # What is done in our own ledger needs no turn.
        self._budget = Unlimited() if budget is None or provider.guarantee is Guarantee.LEDGER else budget

    async def turn(self, who: str) -> Go | Wait:
        """Let `who` call now, or say when to come again."""
        return await self._budget.turn(who)

    async def submit(self, turn: Go, parcel: Parcel, deadline: datetime) -> Outcome:
        """Write the order once; whatever happens is an outcome."""
        how = Ended.ABANDONED
        try:
            with metrics.PROVIDER_CALL_SECONDS.labels(self.provider.name).time():
                try:
                    outcome = await self.provider.submit(parcel, deadline)
                except Exception as exc:  # noqa: BLE001 - one that no one foresaw says nothing of what the provider did
                    outcome = Unknown(why=f"the call failed with {logs.summary(exc)}")
            metrics.PROVIDER_CALLS.labels(self.provider.name, type(outcome).__name__.lower()).inc()
            how = Ended.FAILED if isinstance(outcome, Unknown | NotApplied) else Ended.ANSWERED
        finally:
            await self._ended(turn, how, outcome if how is Ended.FAILED else None)
        return outcome

    async def find(self, turn: Go, reference: str) -> Sequence[Order]:
        """Return every order with this reference.

        Raises:
            CannotTell: the provider could not be asked, or did not say.
        """
        return await self._told(turn, self.provider.find(reference))

    async def status(self, turn: Go, order: str, reference: str) -> Order:
        """Return an order as it stands now; both names are those of `Provider.status`.

        Raises:
            CannotTell: the provider could not be asked, or did not say.
        """
        return await self._told(turn, self.provider.status(order, reference))

    async def page(self, turn: Go, since: datetime, after: str | None) -> Page:
        """Return some of the provider's orders, as `Provider.page` does.

        Raises:
            CannotTell: the provider could not be asked, or did not say.
        """
        return await self._told(turn, self.provider.page(since, after))

    async def cancel(self, turn: Go, order: str, reference: str) -> Cancellation:
        """Ask the provider to cancel this order, once."""
        how = Ended.ABANDONED
        try:
            try:
                cancellation = await self.provider.cancel(order, reference)
            except Exception as exc:  # one that no one foresaw says nothing of what the provider did
                log.warning("cancel_failed", reference=reference, exc_info=exc)
                cancellation = Cancellation.UNKNOWN
            how = Ended.FAILED if cancellation is Cancellation.UNKNOWN else Ended.ANSWERED
        finally:
            await self._ended(turn, how)
        return cancellation

    async def give_up(self, turn: Go) -> None:
        """Note that the call of a turn was not made."""
        await self._ended(turn, Ended.ABANDONED)

    async def _told(self, turn: Go, question: Awaitable[T]) -> T:
        how, retry_after = Ended.ABANDONED, None
        try:
            answer = await question
            how = Ended.ANSWERED
        except CannotTell as exc:
            how, retry_after = Ended.FAILED, exc.retry_after
            raise
        finally:
            await self._budget.ended(turn.call, how, retry_after=retry_after)
        return answer

    async def _ended(self, turn: Go, how: Ended, outcome: Outcome | None = None) -> None:
        retry_after = outcome.retry_after if isinstance(outcome, NotApplied) else None
        await self._budget.ended(turn.call, how, retry_after=retry_after)
