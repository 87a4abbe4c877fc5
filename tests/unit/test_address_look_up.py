"""What several address sources' answers come to."""

from collections.abc import Sequence
from datetime import timedelta

import pytest
from msgspec.structs import replace

from rewardpost.addresses import AddressDraft, AddressProblem, PostalAddress
from worker.address_sources.look_up import look_up
from worker.address_sources.protocol import Answer, Customer, Found, NotFound, TryLater
from worker.providers.protocol import Finding

GOOD = AddressDraft(name="Ada", line_1="Musterweg 1", city="Berlin", postal_code="10115", country="DE")
NO_ADDRESS = AddressDraft(name="Ada", email="ada@example.com")
NO_CITY = replace(GOOD, city=None)
CUSTOMER = Customer(id="cust_1")


class _Source:
    """A source that gives one answer and knows whether it was asked."""

    name = "fake"

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.asked = 0

    async def find(self, customer: Customer) -> Answer:
        assert customer.id == CUSTOMER.id
        self.asked += 1
        return self.answer

    async def check(self) -> Sequence[Finding]:
        return []

    async def close(self) -> None:
        return None


async def _result(
    *answers: Answer, customer: Customer = CUSTOMER, served: frozenset[str] | None = None
) -> PostalAddress | AddressProblem | TryLater:
    return await look_up([_Source(answer) for answer in answers], customer, served=served)


async def test_the_first_address_wins_and_later_sources_are_not_asked() -> None:
    """Calls that nobody needs are not made."""
    first, second = _Source(Found(GOOD)), _Source(Found(replace(GOOD, line_1="Elsewhere 2")))
    result = await look_up([first, second], CUSTOMER, served=None)
    assert isinstance(result, PostalAddress)
    assert result.line_1 == "Musterweg 1"
    assert second.asked == 0


@pytest.mark.parametrize("before", [NotFound(), Found(NO_ADDRESS), Found(NO_CITY), TryLater("down")])
async def test_a_later_source_makes_up_for_an_earlier_one(before: Answer) -> None:
    """Neither an unknown customer, nor half an address, nor a source that is down hides a good one."""
    assert isinstance(await _result(before, Found(GOOD)), PostalAddress)


@pytest.mark.parametrize("before", [NotFound(), Found(NO_ADDRESS), Found(NO_CITY)])
async def test_a_source_that_could_not_be_asked_may_still_have_it(before: Answer) -> None:
    """No person is asked for an address while a source that may know it is out of reach."""
    assert await _result(before, TryLater("down")) == TryLater("down")
    assert await _result(TryLater("down"), before) == TryLater("down")


async def test_whoever_waits_for_a_turn_is_not_sent_to_another_source() -> None:
    """Which source gives the address must not depend on how busy an earlier one is; when it is down, it may."""
    later = _Source(Found(GOOD))
    waiting = TryLater("not yet", timedelta(seconds=2), in_line=True)
    assert await look_up([_Source(waiting), later], CUSTOMER, served=None) == waiting
    assert later.asked == 0
    assert isinstance(await _result(TryLater("circuit", timedelta(seconds=2)), Found(GOOD)), PostalAddress)


async def test_the_source_that_can_be_asked_first_decides_the_wait() -> None:
    """One source's long wait does not delay what another may know sooner."""
    slow, quick, unsaid = (TryLater("slow", timedelta(hours=1)), TryLater("quick", timedelta(seconds=5)), TryLater("?"))
    assert await _result(slow, quick) == quick
    assert await _result(quick, slow) == quick
    assert await _result(unsaid, quick) == unsaid
    assert await _result(quick, unsaid) == unsaid


async def test_the_problem_that_says_the_most_is_reported() -> None:
    """Who completes the address learns what is wrong with it, not that another source has none."""
    incomplete = AddressProblem(kind="incomplete", fields=("city",))
    assert await _result(Found(NO_CITY), Found(NO_ADDRESS)) == incomplete
    assert await _result(Found(NO_ADDRESS), NotFound(), Found(NO_CITY)) == incomplete


@pytest.mark.parametrize("answers", [(), (NotFound(),), (NotFound(), Found(NO_ADDRESS))])
async def test_without_any_address_it_is_missing(answers: tuple[Answer, ...]) -> None:
    """No source, no customer and no address all mean that a person must give one."""
    result = await _result(*answers)
    assert isinstance(result, AddressProblem)
    assert result.kind == "missing"


async def test_a_country_that_is_not_served_is_reported() -> None:
    """The countries of the settings reach the check."""
    result = await _result(Found(GOOD), served=frozenset({"FR"}))
    assert result == AddressProblem(kind="country_not_served", fields=("country",))


@pytest.mark.parametrize("blank", [None, " ", "-"])
async def test_a_missing_name_is_filled_from_the_webhook(blank: str | None) -> None:
    """The event names its customer even where the source does not."""
    customer = Customer(id="cust_1", name="Ada from the event")
    result = await _result(Found(replace(GOOD, name=blank)), customer=customer)
    assert isinstance(result, PostalAddress)
    assert result.name == "Ada from the event"


async def test_a_missing_name_is_filled_from_an_earlier_source_first() -> None:
    """What a source says now is newer than what the event said."""
    customer = Customer(id="cust_1", name="Ada from the event")
    result = await _result(Found(NO_ADDRESS), Found(replace(GOOD, name=None)), customer=customer)
    assert isinstance(result, PostalAddress)
    assert result.name == "Ada"


def test_nothing_personal_shows_in_a_repr() -> None:
    """A customer or an answer may end up in a log."""
    shown = repr(Customer(id="cust_1", source_id="ada@example.com", name="Ada")) + repr(Found(GOOD))
    assert not [word for word in ("ada@example.com", "Ada", "Musterweg", "Berlin", "10115") if word in shown]
