"""The `shipbob` provider looks and cancels: orders found and followed, and what proves nothing."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import aiohttp
import pytest
from msgspec.structs import replace

from tests.fault_proxy import Fault, FaultProxy
from tests.misbehaviours import Behaviour, answers, hangs, hangs_in_the_body, resets
from tests.shipbob_calls import PARCEL, REFERENCE, StoppedClock, adapter, ordered, serving
from tests.shipbob_fake import CHANNEL, READ_ONLY_CHANNEL, TOKEN, ShipBobFake
from worker.providers.protocol import (
    Applied,
    Cancellation,
    CannotTell,
    NotApplied,
    Progress,
)
from worker.providers.shipbob import ShipBob

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


@pytest.fixture
async def fake() -> AsyncIterator[ShipBobFake]:
    """ShipBob's side."""
    async with ShipBobFake() as fake:
        yield fake


@pytest.fixture
async def faults(fake: ShipBobFake) -> AsyncIterator[FaultProxy]:
    """The network between."""
    async with FaultProxy(fake.url) as proxy:
        yield proxy


@pytest.fixture
def provider(session: aiohttp.ClientSession, fake: ShipBobFake) -> ShipBob:
    """The provider under test."""
    return adapter(session, fake.url)


@pytest.mark.parametrize(
    "behaviour",
    [
        hangs,
        resets,
        hangs_in_the_body,
        answers(404),
        answers(500),
        answers(302, Location="/elsewhere"),
        answers(204),
        answers(200, b"{}"),
        answers(200, b'[{"id": 1, "reference_id": "vfy-r_1"}]'),
    ],
)
async def test_a_look_up_in_doubt_is_never_taken_for_absence(
    session: aiohttp.ClientSession, behaviour: Behaviour
) -> None:
    """Only a list that was asked for this reference, and can be read, proves anything."""
    async with serving(behaviour) as (url, _):
        provider = adapter(session, url, seconds=1)
        with pytest.raises(CannotTell):
            await provider.find(REFERENCE)
        with pytest.raises(CannotTell):
            await provider.status("1", REFERENCE)


async def test_two_references_in_one_are_not_asked_for(provider: ShipBob, fake: ShipBobFake) -> None:
    """ShipBob splits at commas, and would answer for other orders."""
    with pytest.raises(CannotTell):
        await provider.find("vfy-a,vfy-b")
    assert not fake.calls


async def test_a_look_up_says_how_long_to_wait(session: aiohttp.ClientSession) -> None:
    """A ShipBob that is down may ask for time."""
    async with serving(answers(503, Retry_After="25")) as (url, _):
        with pytest.raises(CannotTell) as raised:
            await adapter(session, url).find(REFERENCE)
    assert raised.value.retry_after == timedelta(seconds=25)


async def test_an_order_is_followed_from_the_shelf_to_the_door(provider: ShipBob, fake: ShipBobFake) -> None:
    """Each status of ShipBob's becomes progress, with the tracking number."""
    order = await ordered(provider)
    seen = []
    for status, details in [
        ("Processing", {}),
        ("OnHold", {"detail": "InvalidAddress"}),
        ("LabeledCreated", {"tracking": "T1"}),
        ("Completed", {"detail": "InTransit"}),
        ("Completed", {"detail": "Delivered", "delivered": "2026-03-02T10:00:00Z"}),
    ]:
        fake.move(REFERENCE, status, **details)
        now = await provider.status(order, REFERENCE)
        seen.append((now.progress, now.tracking, now.why))
    assert seen == [
        (Progress.OPEN, (), ""),
        (Progress.EXCEPTION, (), "shipment OnHold (InvalidAddress)"),
        (Progress.OPEN, ("T1",), ""),
        (Progress.SHIPPED, ("T1",), ""),
        (Progress.DELIVERED, ("T1",), ""),
    ]


async def test_the_status_of_another_order_is_not_taken_over(provider: ShipBob, fake: ShipBobFake) -> None:
    """An id that leads to another reference is a slip somewhere; no reward moves by it."""
    order = fake.add("vfy-r_9")
    for number, wanted in ((str(order["id"]), REFERENCE), ("77", "vfy-r_9"), ("../channel", "vfy-r_9")):
        with pytest.raises(CannotTell):
            await provider.status(number, wanted)


async def test_all_our_orders_are_listed_page_by_page(provider: ShipBob, fake: ShipBobFake) -> None:
    """Cancelled ones too, but neither those of others nor those of another channel; each page is one call."""
    fake.page_limit = 2
    for reference in ("vfy-a", "shop-1", "shop-2", "shop-3", "vfy-b"):
        fake.add(reference)
    fake.add("vfy-c", channel=READ_ONLY_CHANNEL)
    await provider.cancel("1000005", "vfy-b")
    seen, rest, pages = [], None, 0
    while pages == 0 or rest is not None:
        page = await provider.page(LONG_AGO, rest)
        seen += [(order.reference, order.live) for order in page.orders]
        rest, pages = page.next, pages + 1
    assert seen == [("vfy-a", True), ("vfy-b", False)]
    assert fake.calls["GET /2026-01/order"] == pages == 4


async def test_only_orders_since_a_time_are_listed(provider: ShipBob, fake: ShipBobFake) -> None:
    """An audit looks back as far as it says."""
    fake.add("vfy-old")["created_date"] = "2026-03-01T11:59:00Z"
    fake.add("vfy-same")["created_date"] = "2026-03-01T12:00:00Z"
    page = await provider.page(datetime.fromisoformat("2026-03-01T13:00:00+01:00"), None)
    assert [order.reference for order in page.orders] == ["vfy-same"]


async def test_an_order_is_cancelled_and_found_so(provider: ShipBob, fake: ShipBobFake) -> None:
    """Asked again, as after a lost answer, ShipBob refuses; the order itself tells that it is done."""
    order = await ordered(provider)
    assert await provider.cancel(order, REFERENCE) is Cancellation.CANCELLED
    assert [found.live for found in await provider.find(REFERENCE)] == [False]
    assert await provider.cancel(order, REFERENCE) is Cancellation.CANCELLED
    assert fake.live(REFERENCE) == 0


async def test_a_lost_answer_to_a_cancelling_is_unknown(
    session: aiohttp.ClientSession, fake: ShipBobFake, faults: FaultProxy
) -> None:
    """It is asked again later, and then known."""
    provider = adapter(session, faults.url)
    order = await ordered(provider)
    faults.plan = [Fault.LOSE_ANSWER]
    assert await provider.cancel(order, REFERENCE) is Cancellation.UNKNOWN
    assert fake.live(REFERENCE) == 0
    assert await provider.cancel(order, REFERENCE) is Cancellation.CANCELLED


@pytest.mark.parametrize("sent", [1, 2])
async def test_a_parcel_on_its_way_cannot_be_cancelled(provider: ShipBob, fake: ShipBobFake, sent: int) -> None:
    """One of two shipments is enough."""
    order = await ordered(provider)
    shipments = fake.orders[int(order)]["shipments"]
    shipments.append(dict(shipments[0], id=2))
    for shipment in shipments[:sent]:
        shipment["status"] = "Completed"
    assert await provider.cancel(order, REFERENCE) is Cancellation.TOO_LATE
    assert fake.live(REFERENCE) == 1


@pytest.mark.parametrize(
    ("behaviour", "said"),
    [
        (answers(401), Cancellation.UNKNOWN),
        (answers(404), Cancellation.UNSUPPORTED),
        (answers(422), Cancellation.UNKNOWN),
        (answers(500), Cancellation.UNKNOWN),
        (answers(200, b"{}"), Cancellation.UNKNOWN),
        (hangs, Cancellation.UNKNOWN),
    ],
)
async def test_each_other_ending_of_a_cancelling(
    session: aiohttp.ClientSession, behaviour: Behaviour, said: Cancellation
) -> None:
    """An order that ShipBob does not know is for a person; whatever is in doubt is asked again."""
    async with serving(behaviour) as (url, seen):
        assert await adapter(session, url, seconds=1).cancel("1000001", REFERENCE) is said
    assert seen.count("POST /2026-01/order/1000001:cancel") == 1


async def test_an_order_without_a_number_cannot_be_cancelled_here(provider: ShipBob, fake: ShipBobFake) -> None:
    """What a person typed in is for a person."""
    assert await provider.cancel("SB/1?x", REFERENCE) is Cancellation.UNSUPPORTED
    assert not fake.calls


async def test_no_call_is_made_while_the_limit_is_reached(session: aiohttp.ClientSession, fake: ShipBobFake) -> None:
    """ShipBob says how long; until then each call is answered here, and costs the order nothing."""
    clock = StoppedClock()
    provider = ShipBob(session, url=fake.url, token=TOKEN, channel_id=CHANNEL, now=clock)
    fake.calls_left, fake.wait = 2, ""
    assert isinstance(await provider.submit(PARCEL, clock() + timedelta(seconds=5)), Applied)
    asked = fake.calls.total()
    outcome = await provider.submit(replace(PARCEL, reference="vfy-r_2"), clock() + timedelta(seconds=5))
    assert isinstance(outcome, NotApplied)
    assert not outcome.spends_attempt
    assert outcome.retry_after == timedelta(seconds=60)
    for ask in (provider.find(REFERENCE), provider.status("1000001", REFERENCE), provider.page(LONG_AGO, None)):
        with pytest.raises(CannotTell) as raised:
            await ask
        assert raised.value.retry_after == timedelta(seconds=60)
    assert await provider.cancel("1000001", REFERENCE) is Cancellation.UNKNOWN
    assert [finding.ok for finding in await provider.check()] == [False]
    assert fake.calls.total() == asked
    clock.time += timedelta(seconds=60)
    fake.calls_left = 149
    assert len(await provider.find(REFERENCE)) == 1


async def test_a_refused_call_waits_as_long_as_shipbob_says(session: aiohttp.ClientSession, fake: ShipBobFake) -> None:
    """A 429 is certain: nothing was applied, and the same order may go out after the time."""
    clock = StoppedClock()
    provider = ShipBob(session, url=fake.url, token=TOKEN, channel_id=CHANNEL, now=clock)
    fake.calls_left, fake.wait = 0, "25"
    outcome = await provider.submit(PARCEL, clock() + timedelta(seconds=5))
    assert isinstance(outcome, NotApplied)
    assert not outcome.spends_attempt
    assert outcome.retry_after == timedelta(seconds=25)
    clock.time += timedelta(seconds=25)
    fake.calls_left = 149
    assert isinstance(await provider.submit(PARCEL, clock() + timedelta(seconds=5)), Applied)
    assert fake.live(REFERENCE) == 1
