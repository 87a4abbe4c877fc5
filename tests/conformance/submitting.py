"""Scenarios of `submit`: what each ending of the one write is taken for, and what arrives."""

import secrets
from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import replace

from rewardpost.reference import PREFIX
from tests.conformance.bed import Bed, ShowsAddresses
from tests.conformance.faults import answering, away, late, proxy_of
from tests.conformance.steps import ADDRESS, GARBAGE, found, new_parcel, ready, submit, until
from tests.fault_proxy import Fault
from tests.misbehaviours import answers
from worker.providers.protocol import Applied, Guarantee, NotApplied, Progress, Refused, Unknown

_NAMES = ("Jörg Ümläut-Straßer", "山田 太郎", "Zoë 🎁 O'Neil", 'Ann "Q" \\ <b>&amp;</b>', "नमस्ते Łukasz Żółć")
_STATUS_IS_THE_WORD = frozenset({"webhook"})
# Providers whose receivers need not send a body that can be read.


async def applied_once_and_found(bed: Bed) -> None:
    """An order that was taken is found under its reference and the id that was given for it."""
    parcel = new_parcel()
    outcome = await submit(bed, parcel)
    (order,) = await found(bed, parcel.reference, live=1)
    assert outcome == Applied(order=order.id, request=getattr(outcome, "request", ""))
    assert (order.reference, order.progress) == (parcel.reference, Progress.OPEN)
    assert order.article in {None, parcel.article}
    assert order.quantity in {None, parcel.quantity}
    assert await bed.live(parcel.reference) == 1


async def applied_is_said(bed: Bed) -> None:
    """A parcel that was taken is said to be, and the other side has it."""
    parcel = new_parcel()
    assert isinstance(await submit(bed, parcel), Applied)
    if bed.provider.guarantee is not Guarantee.LEDGER:
        assert await bed.live(parcel.reference) == 1


async def same_reference_twice_is_one_order(bed: Bed) -> None:
    """The other side keeps one, and what is said of the second time leads nobody to a third."""
    parcel = new_parcel()
    first = await submit(bed, parcel)
    second = await submit(bed, parcel)
    assert isinstance(first, Applied)
    assert not isinstance(second, NotApplied)
    if isinstance(second, Applied):
        assert second.order == first.order
    assert await bed.live(parcel.reference) == 1
    if bed.provider.guarantee.can_be_asked:
        assert [order.id for order in await found(bed, parcel.reference, live=1)] == [first.order]


async def all_orders_of_a_reference_are_found(bed: Bed) -> None:
    """Where the other side may take it twice, the look-up shows both: a person decides."""
    parcel = new_parcel()
    for _ in range(2):
        await submit(bed, parcel)
    live = await bed.live(parcel.reference)
    assert len({order.id for order in await found(bed, parcel.reference, live=live)}) == live == 2


async def answer_lost(bed: Bed) -> None:
    """Nobody knows, and where the other side can be asked, it shows the one order with our reference."""
    parcel = new_parcel()
    assert isinstance(await submit(bed, parcel, Fault.LOSE_ANSWER), Unknown)
    assert await bed.live(parcel.reference) == 1
    if bed.provider.guarantee.can_be_asked:
        assert [order.reference for order in await found(bed, parcel.reference, live=1)] == [parcel.reference]


async def request_lost(bed: Bed) -> None:
    """It is not said to be applied, and where the other side can be asked, it shows that there is none."""
    parcel = new_parcel()
    assert isinstance(await submit(bed, parcel, Fault.LOSE_REQUEST), Unknown | NotApplied)
    assert await bed.live(parcel.reference) == 0
    if bed.provider.guarantee.can_be_asked:
        assert not await bed.provider.find(parcel.reference)


async def answer_after_the_deadline(bed: Bed) -> None:
    """The call ends without the answer, and nobody knows."""
    parcel = new_parcel()
    async with late(bed):
        assert isinstance(await submit(bed, parcel, Fault.DELAY_ANSWER), Unknown)
    await until(lambda: bed.live(parcel.reference), 1)


async def request_after_the_deadline(bed: Bed) -> None:
    """A request that is held up on its way lands under our reference, long after the call has ended."""
    parcel = new_parcel()
    async with late(bed):
        assert isinstance(await submit(bed, parcel, Fault.DELAY_REQUEST), Unknown)
    await until(lambda: bed.live(parcel.reference), 1)
    if bed.provider.guarantee.can_be_asked:
        assert [order.reference for order in await found(bed, parcel.reference, live=1)] == [parcel.reference]


async def nothing_is_sent_after_the_deadline(bed: Bed) -> None:
    """A worker that was stopped for a while sends nothing that could land after a look-up."""
    before = proxy_of(bed).seen.total()
    outcome = await bed.provider.submit(new_parcel(), datetime.now(UTC) - timedelta(milliseconds=1))
    assert isinstance(outcome, NotApplied)
    assert proxy_of(bed).seen.total() == before


async def limit_reached(bed: Bed) -> None:
    """429 is certainly not applied, costs no attempt, and its wait is kept."""
    parcel = new_parcel()
    outcome = await submit(bed, parcel, Fault.STATUS_429)
    assert isinstance(outcome, NotApplied)
    assert not outcome.spends_attempt
    assert outcome.retry_after is not None
    assert timedelta() < outcome.retry_after <= timedelta(seconds=1)
    assert await bed.live(parcel.reference) == 0


async def wrong_credentials(bed: Bed) -> None:
    """401 and 403 are no fault of the order: certainly not applied, and no attempt is spent."""
    for status in (401, 403):
        async with answering(bed, answers(status, b"{}")):
            outcome = await submit(bed, new_parcel())
        assert isinstance(outcome, NotApplied)
        assert not outcome.spends_attempt


async def server_error(bed: Bed) -> None:
    """500, 502, 503 and 504 say nothing of what the other side did; nor does a redirect, which is not followed."""
    for fault in (Fault.STATUS_502, Fault.STATUS_503):
        assert isinstance(await submit(bed, new_parcel(), fault), Unknown)
        await ready(bed)
    for status in (307, 408, 500, 504):
        async with answering(bed, answers(status, b"{}", Location="/elsewhere")):
            before = proxy_of(bed).seen.total()
            assert isinstance(await submit(bed, new_parcel()), Unknown)
            assert proxy_of(bed).seen.total() == before + 1


async def server_error_after_the_commit(bed: Bed) -> None:
    """A gateway's 502 hides an order that was taken: the look-up shows it."""
    parcel = new_parcel()
    assert isinstance(await submit(bed, parcel, Fault.LATE_502), Unknown)
    assert await bed.live(parcel.reference) == 1


async def unreadable_success(bed: Bed) -> None:
    """A 2xx that cannot be read or lacks our reference is no proof, unless the status alone is a receiver's word."""
    expected = Applied if bed.provider.name in _STATUS_IS_THE_WORD else Unknown
    for status in (200, 201):
        for garbage in GARBAGE:
            async with answering(bed, answers(status, garbage)):
                assert isinstance(await submit(bed, new_parcel()), expected)


async def connection_refused(bed: Bed) -> None:
    """Nobody listens: certainly not applied."""
    async with away(proxy_of(bed)):
        assert isinstance(await submit(bed, new_parcel()), NotApplied)


async def refused_article(bed: Bed) -> None:
    """An article that the other side does not have is refused for good, and nothing is ordered."""
    if bed.unknown_article is None:
        pytest.skip("the other side takes any article")
    parcel = new_parcel(article=bed.unknown_article)
    assert isinstance(await submit(bed, parcel), Refused)
    assert await bed.live(parcel.reference) == 0


async def names_arrive_as_they_are(bed: Bed) -> None:
    """Every script, quotes and markup arrive as the customer wrote them, or the parcel is refused."""
    for name in _NAMES:
        address = replace(ADDRESS, name=name, line_1=f"{name} 7", city=f"Ort {name}"[:40])
        parcel = new_parcel(address=address, article_name=name)
        outcome = await submit(bed, parcel)
        assert isinstance(outcome, Applied | Refused)
        assert await bed.live(parcel.reference) == isinstance(outcome, Applied)
        if isinstance(outcome, Applied) and isinstance(bed, ShowsAddresses):
            arrived = await bed.address(parcel.reference)
            assert (arrived.name, arrived.line_1, arrived.city) == (address.name, address.line_1, address.city)
    if not isinstance(bed, ShowsAddresses):
        pytest.skip("the bed does not show addresses: only that the parcels were taken is known")


async def text_that_cannot_be_written(bed: Bed) -> None:
    """A lone surrogate would stop every attempt alike: refused, and nothing goes out."""
    before = proxy_of(bed).seen.total()
    assert isinstance(await submit(bed, new_parcel(article_name="\ud800")), Refused)
    assert proxy_of(bed).seen.total() == before


async def longest_reference_survives(bed: Bed) -> None:
    """All of its 40 characters come back, the generation behind them too; one that is like it is another one."""
    reference = f"{PREFIX}r_{secrets.token_hex(15)}-g12"
    assert len(reference) == 40
    outcome = await submit(bed, new_parcel(reference=reference))
    assert isinstance(outcome, Applied)
    assert await bed.live(reference) == 1
    if bed.provider.guarantee.can_be_asked:
        assert [order.reference for order in await found(bed, reference, live=1)] == [reference]
        assert not await bed.provider.find(reference[:-1])
        assert not await bed.provider.find(reference.removesuffix("-g12"))
