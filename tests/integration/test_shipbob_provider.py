"""The `shipbob` provider sends: what arrives at ShipBob, and what each ending of a call is taken for."""

from collections.abc import AsyncIterator
from datetime import timedelta

import aiohttp
import pytest
from aiohttp import web
from msgspec.structs import replace

from rewardpost.settings import Settings
from tests.fault_proxy import Fault, FaultProxy
from tests.misbehaviours import Behaviour, answers, hangs, hangs_in_the_body, resets
from tests.shipbob_calls import ADDRESS, PARCEL, REFERENCE, adapter, after, ordered, serving
from tests.shipbob_fake import CHANNEL, READ_ONLY_CHANNEL, TOKEN, ShipBobFake
from worker.providers import registry
from worker.providers.protocol import (
    Applied,
    Cancellation,
    CannotTell,
    Guarantee,
    NotApplied,
    Progress,
    Refused,
    Unknown,
)
from worker.providers.shipbob import ShipBob


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
    """The provider under test, made as the worker makes it."""
    settings = Settings(provider="shipbob", shipbob_url=fake.url, shipbob_token=TOKEN, shipbob_channel_id=CHANNEL)
    made = registry.build(settings, session)
    assert isinstance(made, ShipBob)
    return made


async def test_an_order_says_all_that_a_packer_needs(provider: ShipBob, fake: ShipBobFake) -> None:
    """One product by the merchant's own name for it, to the address as the customer wrote it."""
    address = replace(
        ADDRESS, line_2="Hinterhaus", company="Muster GmbH", region="NRW", phone="+49 221 1", email="ada@example.com"
    )
    assert await provider.submit(replace(PARCEL, address=address), after(5)) == Applied(order="1000001")
    assert fake.bodies == [
        {
            "reference_id": REFERENCE,
            "shipping_method": "Standard",
            "type": "DTC",
            "recipient": {
                "name": "Ada Muster",
                "address": {
                    "address1": "Musterweg 1",
                    "address2": "Hinterhaus",
                    "company_name": "Muster GmbH",
                    "city": "Köln",
                    "state": "NRW",
                    "zip_code": "50667",
                    "country": "DE",
                },
                "email": "ada@example.com",
                "phone_number": "+49 221 1",
            },
            "products": [{"reference_id": "mug-blue", "name": "Märchen-Tasse", "quantity": 1}],
        }
    ]
    assert fake.headers[0]["shipbob_channel_id"] == str(CHANNEL)


async def test_each_order_has_a_connection_of_its_own(provider: ShipBob, fake: ShipBobFake) -> None:
    """One that a look-up has left open may be closed by ShipBob just as the order is written."""
    await provider.find(REFERENCE)
    await ordered(provider)
    await provider.find(REFERENCE)
    assert await provider.cancel("1000001", REFERENCE) is Cancellation.CANCELLED
    assert len(set(fake.peers)) == len(fake.peers) == 4


async def test_what_is_not_known_is_left_out(provider: ShipBob, fake: ShipBobFake) -> None:
    """An e-mail address that is none would have the whole order refused; the parcel needs none."""
    await ordered(provider, replace(PARCEL, article_name="", address=replace(ADDRESS, email="ada(at)example")))
    assert fake.bodies[0]["recipient"] == {
        "name": "Ada Muster",
        "address": {"address1": "Musterweg 1", "city": "Köln", "zip_code": "50667", "country": "DE"},
    }
    assert fake.bodies[0]["products"][0]["name"] == "mug-blue"


async def test_a_second_order_with_the_reference_is_refused_and_the_first_is_found(
    provider: ShipBob, fake: ShipBobFake
) -> None:
    """ShipBob keeps the reference unique, and a look-up tells which kind of refusal it was."""
    order = await ordered(provider)
    assert await provider.submit(PARCEL, after(5)) == Refused("answered 422")
    found = await provider.find(REFERENCE)
    assert [(each.id, each.reference, each.article, each.quantity) for each in found] == [
        (order, REFERENCE, "mug-blue", 1)
    ]
    assert fake.live(REFERENCE) == 1


async def test_a_refusal_names_the_field_and_nothing_of_its_content(provider: ShipBob, fake: ShipBobFake) -> None:
    """A person reads which part of the address ShipBob does not take."""
    elsewhere = replace(PARCEL, address=replace(ADDRESS, country="Germany"))
    assert await provider.submit(elsewhere, after(5)) == Refused("answered 422: recipient.address.country")
    assert await provider.find(REFERENCE) == []
    assert fake.calls["POST /2026-01/order"] == 1


async def test_an_unknown_article_waits_at_shipbob(provider: ShipBob, fake: ShipBobFake) -> None:
    """ShipBob takes the order, and its status tells that it cannot go on."""
    fake.articles = {"cap"}
    status = await provider.status(await ordered(provider), REFERENCE)
    assert (status.progress, status.why) == (Progress.EXCEPTION, "shipment Exception (OutOfStock)")


async def test_a_wrong_token_is_no_fault_of_the_order(session: aiohttp.ClientSession, fake: ShipBobFake) -> None:
    """Nothing was applied, no attempt is spent, and nobody takes the order for absent."""
    provider = adapter(session, fake.url, token="another")
    assert await provider.submit(PARCEL, after(5)) == NotApplied("answered 401", spends_attempt=False)
    with pytest.raises(CannotTell, match="SHIPBOB_TOKEN"):
        await provider.find(REFERENCE)
    findings = await provider.check()
    assert [(finding.ok, "SHIPBOB_TOKEN" in finding.todo) for finding in findings] == [(False, True)]


@pytest.mark.parametrize(("channel", "ok"), [(CHANNEL, True), (READ_ONLY_CHANNEL, False), (1, False)])
async def test_the_self_check_knows_the_channel(
    session: aiohttp.ClientSession,
    fake: ShipBobFake,
    channel: int,
    ok: bool,  # noqa: FBT001 - a column of the table
) -> None:
    """A token that works is not enough: the channel has to be its own and to take orders."""
    provider = ShipBob(session, url=f"{fake.url}/", token=TOKEN, channel_id=channel)
    assert [finding.ok for finding in await provider.check()] == [ok]
    assert set(fake.calls) == {"GET /2026-01/channel"}


async def test_a_lost_answer_is_unknown_and_the_look_up_finds_the_order(
    session: aiohttp.ClientSession, fake: ShipBobFake, faults: FaultProxy
) -> None:
    """ShipBob has the order and nobody heard of it; nothing is sent again by itself."""
    provider = adapter(session, faults.url)
    faults.plan = [Fault.LOSE_ANSWER]
    assert isinstance(await provider.submit(PARCEL, after(5)), Unknown)
    assert fake.calls["POST /2026-01/order"] == 1
    assert [order.live for order in await provider.find(REFERENCE)] == [True]


async def test_a_lost_request_is_unknown_and_the_look_up_proves_absence(
    session: aiohttp.ClientSession, fake: ShipBobFake, faults: FaultProxy
) -> None:
    """From here it looks the same as a lost answer; only ShipBob can tell."""
    provider = adapter(session, faults.url)
    faults.plan = [Fault.LOSE_REQUEST]
    assert isinstance(await provider.submit(PARCEL, after(5)), Unknown)
    assert await provider.find(REFERENCE) == []
    assert fake.orders == {}


@pytest.mark.parametrize(
    "behaviour",
    [
        hangs,
        resets,
        hangs_in_the_body,
        answers(500),
        answers(503, Retry_After="5"),
        answers(307, Location="/elsewhere"),
        answers(201, b"{}"),
        answers(200, b"<html>"),
        answers(201, b"{}", Content_Encoding="gzip"),
    ],
)
async def test_an_unclear_ending_is_unknown(session: aiohttp.ClientSession, behaviour: Behaviour) -> None:
    """One submit is one request, whatever becomes of it, and no redirect is followed."""
    async with serving(behaviour) as (url, seen):
        outcome = await adapter(session, url).submit(PARCEL, after(0.5))
    assert isinstance(outcome, Unknown)
    assert seen == ["POST /2026-01/order"]


async def test_a_refusal_whose_reason_breaks_off_stays_one(session: aiohttp.ClientSession) -> None:
    """The status is ShipBob's word; the field's name is a help."""

    async def behave(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(status=422)
        await response.prepare(request)
        await response.write(b'{"recipient')
        return await resets(request)

    async with serving(behave) as (url, _):
        assert await adapter(session, url).submit(PARCEL, after(5)) == Refused("answered 422")


async def test_a_connection_that_cannot_be_made_is_certainly_not_applied(session: aiohttp.ClientSession) -> None:
    """The same reference may go out again."""
    provider = adapter(session, "http://127.0.0.1:1")
    assert isinstance(await provider.submit(PARCEL, after(5)), NotApplied)
    with pytest.raises(CannotTell):
        await provider.find(REFERENCE)
    assert [finding.ok for finding in await provider.check()] == [False]
    assert await provider.cancel("1000001", REFERENCE) is Cancellation.UNKNOWN


async def test_nothing_is_sent_after_the_deadline(provider: ShipBob, fake: ShipBobFake) -> None:
    """A worker that was stopped for a while finds the deadline passed and sends nothing."""
    assert isinstance(await provider.submit(PARCEL, after(-0.001)), NotApplied)
    assert not fake.calls


async def test_nothing_is_sent_when_the_deadline_passes_while_connecting(
    session: aiohttp.ClientSession, fake: ShipBobFake
) -> None:
    """What would land after the look-up is withheld."""
    deadline = after(60)
    times = iter([deadline - timedelta(seconds=5), deadline])
    provider = ShipBob(session, url=fake.url, token=TOKEN, channel_id=CHANNEL, now=lambda: next(times))
    assert await provider.submit(PARCEL, deadline) == NotApplied("the deadline passed before the body was sent")
    assert fake.orders == {}


async def test_text_that_cannot_be_written_is_refused(provider: ShipBob, fake: ShipBobFake) -> None:
    """A lone surrogate would stop every attempt alike."""
    assert isinstance(await provider.submit(replace(PARCEL, article_name="\ud800"), after(5)), Refused)
    assert not fake.calls


async def test_what_it_says_of_itself(provider: ShipBob) -> None:
    """The core asks before it sends again, and gives a late order time to show up."""
    assert (provider.name, provider.guarantee) == ("shipbob", Guarantee.UNIQUE_KEY)
    assert provider.guarantee.can_be_asked
    assert (provider.reports_status, provider.lists_orders) == (True, True)
    assert provider.call_timeout == timedelta(seconds=10)
    assert provider.look_up_lag >= timedelta(seconds=60)
