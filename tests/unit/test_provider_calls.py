"""One call to a provider: what an exception that no one foresaw, and a provider that cannot tell, make of it."""

from datetime import UTC, datetime, timedelta

import pytest

from rewardpost.turns import Ended, Go
from tests.fakes import FakeProvider
from worker.address_sources.protocol import Unlimited
from worker.provider_calls import ProviderCalls
from worker.providers.protocol import Cancellation, CannotTell, Order, Page

TURN = Go("call")
NOW = datetime(2026, 3, 1, tzinfo=UTC)


class Budget(Unlimited):
    """A budget that remembers how calls ended."""

    def __init__(self) -> None:
        self.ends: list[tuple[Ended, timedelta | None]] = []

    async def ended(self, call: str, how: Ended, *, retry_after: timedelta | None = None) -> None:
        """Remember it."""
        del call
        self.ends.append((how, retry_after))


class Moody(FakeProvider):
    """A provider that does something else than answer."""

    def __init__(self, mood: Exception) -> None:
        super().__init__()
        self.mood = mood

    async def cancel(self, order: str, reference: str) -> Cancellation:
        """Raise."""
        del order, reference
        raise self.mood

    async def status(self, order: str, reference: str) -> Order:
        """Raise."""
        del order, reference
        raise self.mood

    async def page(self, since: datetime, after: str | None) -> Page:
        """Raise."""
        del since, after
        raise self.mood


async def test_a_cancelling_that_raises_has_an_unknown_outcome() -> None:
    """As with an order: nobody knows what the provider did."""
    budget = Budget()
    calls = ProviderCalls(Moody(RuntimeError("nobody foresaw this")), budget)
    assert await calls.cancel(TURN, "o1", "vfy-r_1") is Cancellation.UNKNOWN
    assert budget.ends == [(Ended.FAILED, None)]


@pytest.mark.parametrize("wait", [None, timedelta(seconds=7)])
async def test_a_provider_that_cannot_tell_says_when_to_come_again(wait: timedelta | None) -> None:
    """All workers keep away for so long."""
    budget = Budget()
    calls = ProviderCalls(Moody(CannotTell("busy", retry_after=wait)), budget)
    with pytest.raises(CannotTell):
        await calls.status(TURN, "o1", "vfy-r_1")
    with pytest.raises(CannotTell):
        await calls.page(TURN, NOW, None)
    assert budget.ends == [(Ended.FAILED, wait)] * 2


async def test_an_answer_is_one_whatever_it_says() -> None:
    """An order, or none, is an answer."""
    budget = Budget()
    calls = ProviderCalls(FakeProvider(), budget)
    assert await calls.find(TURN, "vfy-r_1") == []
    assert (await calls.page(TURN, NOW, None)).orders == ()
    assert budget.ends == [(Ended.ANSWERED, None)] * 2
