"""The `karrio` provider against a real Karrio server: what is believed of it, so that an upgrade tells."""

import asyncio
from datetime import UTC, datetime, timedelta

import aiohttp
import pytest
from msgspec.structs import replace

from rewardpost.addresses import PostalAddress
from rewardpost.settings import Settings
from tests.karrio_server import TOKEN, KarrioServer
from worker.providers import karrio as module
from worker.providers.karrio import Karrio, build
from worker.providers.protocol import (
    Applied,
    Cancellation,
    CannotTell,
    NotApplied,
    Order,
    Outcome,
    Parcel,
    Progress,
    Refused,
    Unknown,
)

PARCEL = Parcel(
    reference="vfy-r_1",
    redemption="r_1",
    customer="cust_1",
    article="mug",
    article_name="Märchen-Tasse",
    address=PostalAddress(
        name="Łucja Żółć",
        company="Übergröße GmbH",
        line_1="ul. Świętojańska 7/3",
        line_2="2. piętro",
        city="Wrocław",
        region="DS",
        postal_code="50-082",
        country="PL",
        phone="+48 71 344 0000",
        email="lucja@example.org",
    ),
)


async def _submit(provider: Karrio, parcel: Parcel = PARCEL) -> Outcome:
    return await provider.submit(parcel, datetime.now(UTC) + provider.call_timeout)


async def _applied(provider: Karrio, reference: str = PARCEL.reference) -> str:
    outcome = await _submit(provider, replace(PARCEL, reference=reference))
    assert isinstance(outcome, Applied)
    return outcome.order


async def test_an_order_is_found_as_it_was_submitted(provider: Karrio, karrio: KarrioServer) -> None:
    """Reference, article and address arrive whole, in any script."""
    outcome = await _submit(provider)
    assert isinstance(outcome, Applied)
    assert outcome.request.startswith("req_")
    expected = Order(id=outcome.order, reference="vfy-r_1", article="mug", quantity=1)
    assert list(await provider.find("vfy-r_1")) == [expected]
    assert await provider.status(outcome.order, "vfy-r_1") == expected
    address = karrio.address("vfy-r_1")
    assert (address["person_name"], address["city"]) == ("Łucja Żółć", "Wrocław")
    assert (address["address_line1"], address["company_name"]) == ("ul. Świętojańska 7/3", "Übergröße GmbH")


async def test_one_reference_is_one_order_however_often_it_is_sent(provider: Karrio, karrio: KarrioServer) -> None:
    """Karrio refuses the second one, whether it comes later or at the same time."""
    outcomes = await asyncio.gather(*(_submit(provider) for _ in range(6)))
    assert sum(isinstance(outcome, Applied) for outcome in outcomes) == 1
    assert sum(isinstance(outcome, Refused) and "duplicate" in outcome.why for outcome in outcomes) == 5
    assert isinstance(await _submit(provider), Refused)
    assert karrio.live("vfy-r_1") == 1


async def test_simultaneous_posts_may_end_unclear_and_never_as_two(session: aiohttp.ClientSession) -> None:
    """SQLite as Karrio configures it answers some with 500: unknown, and the look-up counts one at the most."""
    with KarrioServer(contended=True) as server:
        settings = Settings(karrio_url=server.url, karrio_token=TOKEN, provider_timeout=timedelta(seconds=30))
        provider = build(settings, session)
        outcomes: list[Outcome] = []
        while not any(isinstance(outcome, Unknown) for outcome in outcomes):
            reference = f"vfy-r_{len(outcomes)}"
            outcomes += await asyncio.gather(
                *(_submit(provider, replace(PARCEL, reference=reference)) for _ in range(6))
            )
            assert len(await provider.find(reference)) == server.live(reference) <= 1
        assert Unknown("answered 500") in [_without_request(outcome) for outcome in outcomes]


def _without_request(outcome: Outcome) -> Outcome:
    return replace(outcome, request="")


async def test_a_reference_that_nobody_has_is_absent(provider: Karrio) -> None:
    """Neither a similar one nor another generation is taken for it."""
    await _applied(provider, "vfy-r_1-g2")
    assert list(await provider.find("vfy-r_1")) == []
    with pytest.raises(CannotTell):
        await provider.status("ord_none", "vfy-r_1")


async def test_a_cancelled_order_frees_its_reference_and_is_still_seen(provider: Karrio, karrio: KarrioServer) -> None:
    """After a cancelling it is the look-up that keeps a late request from counting as the first."""
    first = await _applied(provider)
    assert await provider.cancel(first, "vfy-r_1") is Cancellation.CANCELLED
    assert await provider.cancel(first, "vfy-r_1") is Cancellation.CANCELLED
    assert [order.progress for order in await provider.find("vfy-r_1")] == [Progress.CANCELLED]
    second = await _applied(provider)
    assert {order.id: order.live for order in await provider.find("vfy-r_1")} == {first: False, second: True}
    assert karrio.live("vfy-r_1") == 1


async def test_an_order_goes_its_way(provider: Karrio, karrio: KarrioServer) -> None:
    """A label, a tracker's news, the delivery: each is seen, and a cancelling comes too late."""
    order = await _applied(provider)
    await asyncio.to_thread(karrio.send, "vfy-r_1", "TRACK1")
    status = await provider.status(order, "vfy-r_1")
    assert (status.progress, status.tracking) == (Progress.SHIPPED, ("TRACK1",))
    assert await provider.cancel(order, "vfy-r_1") is Cancellation.TOO_LATE
    await asyncio.to_thread(karrio.move, "vfy-r_1", "delivery_failed")
    assert (await provider.status(order, "vfy-r_1")).progress is Progress.EXCEPTION
    await asyncio.to_thread(karrio.move, "vfy-r_1", "delivered")
    assert (await provider.status(order, "vfy-r_1")).progress is Progress.DELIVERED
    assert await provider.cancel(order, "vfy-r_1") is Cancellation.TOO_LATE


async def test_a_delivered_order_frees_its_reference_and_is_still_found(provider: Karrio, karrio: KarrioServer) -> None:
    """Karrio would take the same reference again, so only the look-up says that it is done."""
    await _applied(provider)
    await asyncio.to_thread(karrio.send, "vfy-r_1", "TRACK1")
    await asyncio.to_thread(karrio.move, "vfy-r_1", "delivered")
    assert [order.progress for order in await provider.find("vfy-r_1")] == [Progress.DELIVERED]
    await _applied(provider)
    assert karrio.live("vfy-r_1") == 2


async def test_an_archived_order_hides_and_keeps_its_reference(provider: Karrio, karrio: KarrioServer) -> None:
    """No look-up shows it and none is made anew: refused and not found is for a person."""
    order = await _applied(provider)
    karrio.archive("vfy-r_1")
    assert list(await provider.find("vfy-r_1")) == []
    with pytest.raises(CannotTell, match="404"):
        await provider.status(order, "vfy-r_1")
    assert isinstance(await _submit(provider), Refused)
    assert karrio.live("vfy-r_1") == 1


async def test_a_list_is_walked_to_its_end(
    provider: Karrio, karrio: KarrioServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every order since a time comes once, cancelled ones too, and only ours."""
    monkeypatch.setattr(module, "PAGE", 2)
    old = await _applied(provider, "vfy-old")
    since = datetime.now(UTC)
    references = [f"vfy-r_{number}" for number in range(5)]
    orders = [await _applied(provider, reference) for reference in [*references, "by-hand"]]
    await provider.cancel(orders[0], references[0])
    found: list[str] = []
    after = None
    while True:
        page = await provider.page(since, after)
        found += [order.reference for order in page.orders]
        after = page.next
        if after is None:
            break
    assert sorted(found) == references
    assert old not in orders
    assert sum(karrio.live_orders().values()) == 6


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"postal_code": "x" * 21}, "answered 400 (shipping_to.postal_code)"),
        ({"phone": "none"}, "answered 400 (shipping_to.phone_number)"),
        ({"country": "XX"}, "answered 400 (shipping_to.country_code)"),
    ],
)
async def test_what_karrio_does_not_take_is_refused_by_the_name_of_the_field(
    provider: Karrio, karrio: KarrioServer, changes: dict[str, str], why: str
) -> None:
    """A person sees what to correct, and the reference is still free."""
    outcome = await _submit(provider, replace(PARCEL, address=replace(PARCEL.address, **changes)))
    assert _without_request(outcome) == Refused(why)
    assert karrio.live("vfy-r_1") == 0
    await _applied(provider)


async def test_the_self_check_tells_right_wrong_and_test_credentials(
    provider: Karrio, karrio: KarrioServer, session: aiohttp.ClientSession
) -> None:
    """A wrong token pauses the provider and spends no attempt; one of test mode is said to send nothing."""
    assert [finding.ok for finding in await provider.check()] == [True]
    timeout = timedelta(seconds=30)
    wrong = Karrio(session, url=karrio.url, token="key_wrong", call_timeout=timeout)
    assert [finding.ok for finding in await wrong.check()] == [False]
    outcome = await _submit(wrong)
    assert isinstance(outcome, NotApplied)
    assert not outcome.spends_attempt
    test_mode = Karrio(session, url=karrio.url, token=f"{TOKEN}_of_test_mode", call_timeout=timeout)
    assert ["test mode" in finding.what for finding in await test_mode.check()] == [False, True]


async def test_orders_of_test_mode_and_of_live_mode_do_not_see_each_other(
    provider: Karrio, karrio: KarrioServer, session: aiohttp.ClientSession
) -> None:
    """Changing the token's mode while outcomes are unknown would hide their orders."""
    await _applied(provider)
    test_mode = Karrio(session, url=karrio.url, token=f"{TOKEN}_of_test_mode", call_timeout=provider.call_timeout)
    assert list(await test_mode.find("vfy-r_1")) == []
    await _applied(test_mode)


async def test_a_rate_limit_of_karrio_is_one(session: aiohttp.ClientSession) -> None:
    """Its answer is 429 with the seconds to wait, and nothing came of the call."""
    with KarrioServer(USER_RATE_LIMIT="2/minute") as server:
        settings = Settings(karrio_url=server.url, karrio_token=TOKEN, provider_timeout=timedelta(seconds=30))
        provider = build(settings, session)
        outcome: Outcome = Unknown("not asked yet")
        while not isinstance(outcome, NotApplied):
            outcome = await _submit(provider)
        assert outcome.why == "answered 429"
        assert outcome.retry_after is not None
        assert timedelta(0) < outcome.retry_after <= timedelta(minutes=1)
