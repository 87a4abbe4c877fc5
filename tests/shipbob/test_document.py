"""Adapter and fake against ShipBob's own OpenAPI document: neither breaks it, whatever is asked and answered."""

import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiohttp
import pytest
from msgspec.structs import replace

from tests.shipbob import prism
from tests.shipbob_calls import ADDRESS, PARCEL, REFERENCE, adapter, after, ordered
from tests.shipbob_fake import CHANNEL, TOKEN, ShipBobFake
from worker.providers.protocol import Cancellation, CannotTell, NotApplied, Progress, Refused
from worker.providers.shipbob import ShipBob
from worker.providers.shipbob_orders import ORDER_PROGRESS, SHIPMENT_PROGRESS

WHY_NOT = prism.missing()
COMPLAINTS = (b"Violation", b"prism/errors#")
"""What prism writes of a broken document; a status that it does not have is only written, and let through."""

pytestmark = pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT)


@pytest.fixture(scope="module")
def upstream_port() -> int:
    """The port that each test's fake takes in its turn."""
    return prism.free_port()


@pytest.fixture(scope="module")
def prism_log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What prism says."""
    return tmp_path_factory.mktemp("prism") / "prism.log"


@pytest.fixture(scope="module")
def prism_url(upstream_port: int, prism_log: Path) -> Iterator[str]:
    """Prism, which takes a few seconds to read the document."""
    with prism.running(upstream_port, prism_log) as url:
        yield url


@pytest.fixture
async def fake(upstream_port: int) -> AsyncIterator[ShipBobFake]:
    """ShipBob's side, behind prism."""
    async with ShipBobFake(port=upstream_port) as fake:
        yield fake


@pytest.fixture
async def provider(prism_url: str) -> AsyncIterator[ShipBob]:
    """The adapter, which knows only prism."""
    async with aiohttp.ClientSession() as session:
        yield adapter(session, prism_url, seconds=20)


@pytest.fixture
def _undisturbed(prism_log: Path, prism_url: str) -> Iterator[None]:
    del prism_url
    before = len(prism_log.read_bytes())
    yield
    said = prism_log.read_bytes()[before:]
    assert not any(complaint in said for complaint in COMPLAINTS)


@pytest.mark.usefixtures("_undisturbed")
async def test_an_order_is_taken_found_and_refused_a_second_time(provider: ShipBob, fake: ShipBobFake) -> None:
    """The whole life of a reference, once with every field and once with the fewest."""
    address = replace(
        ADDRESS, line_2="Hinterhaus", company="Muster GmbH", region="NRW", phone="+49 221 1", email="ada@example.com"
    )
    assert await provider.find(REFERENCE) == []
    order = await ordered(provider, replace(PARCEL, address=address))
    await ordered(provider, replace(PARCEL, reference="vfy-r_2", address=replace(ADDRESS, postal_code="")))
    assert await provider.submit(PARCEL, after(20)) == Refused("answered 422")
    assert [found.id for found in await provider.find(REFERENCE)] == [order]
    assert (await provider.status(order, REFERENCE)).progress is Progress.OPEN
    assert fake.live(REFERENCE) == 1


@pytest.mark.usefixtures("_undisturbed")
async def test_each_status_can_be_told(provider: ShipBob, fake: ShipBobFake) -> None:
    """Every row of both tables is a word of the document's, with everything that the adapter reads beside it."""
    order = await ordered(provider)
    for status, progress in SHIPMENT_PROGRESS.items():
        fake.move(REFERENCE, status, detail="Detail", tracking="T1", delivered="2026-03-02T10:00:00Z")
        now = await provider.status(order, REFERENCE)
        assert now.progress is (Progress.DELIVERED if progress is Progress.SHIPPED else progress)
        fake.orders[int(order)]["status"] = "Processing"
    for status, progress in ORDER_PROGRESS.items():
        fake.orders[int(order)] |= {"status": status, "shipments": None}
        assert (await provider.status(order, REFERENCE)).progress is progress


@pytest.mark.usefixtures("_undisturbed")
async def test_orders_are_listed_and_cancelled(provider: ShipBob, fake: ShipBobFake) -> None:
    """Pages, each ending of a cancelling, and orders that are not there."""
    first = await ordered(provider)
    second = await ordered(provider, replace(PARCEL, reference="vfy-r_2"))
    fake.move("vfy-r_2", "Completed")
    assert await provider.cancel(first, REFERENCE) is Cancellation.CANCELLED
    assert await provider.cancel(first, REFERENCE) is Cancellation.CANCELLED
    assert await provider.cancel(second, "vfy-r_2") is Cancellation.TOO_LATE
    assert await provider.cancel("77", "vfy-r_3") is Cancellation.UNSUPPORTED
    page = await provider.page(after(-3600), None)
    assert [order.live for order in page.orders] == [False, True]
    assert (await provider.page(after(-3600), page.next)).next is None
    with pytest.raises(CannotTell):
        await provider.status("77", "vfy-r_3")


@pytest.mark.usefixtures("_undisturbed")
async def test_the_self_check_and_a_wrong_token(provider: ShipBob, fake: ShipBobFake, prism_url: str) -> None:
    """What `doctor` asks, and how a token is refused."""
    assert [finding.ok for finding in await provider.check()] == [True]
    async with aiohttp.ClientSession() as session:
        stranger = adapter(session, prism_url, seconds=20, token="another")
        assert isinstance(await stranger.submit(PARCEL, after(20)), NotApplied)
        assert [finding.ok for finding in await stranger.check()] == [False]
    assert fake.orders == {}


async def test_an_answer_that_breaks_the_document_is_noticed(provider: ShipBob, fake: ShipBobFake) -> None:
    """Otherwise the tests above would prove nothing: a status that no enum has does not come through."""
    order = await ordered(provider)
    fake.orders[int(order)]["status"] = "Quantum"
    with pytest.raises(CannotTell, match="got 500"):
        await provider.status(order, REFERENCE)
    fake.orders.clear()
    fake.add(REFERENCE)["shipments"][0]["tracking"] = "T1"
    with pytest.raises(CannotTell, match="got 500"):
        await provider.find(REFERENCE)


async def test_a_request_that_breaks_the_document_is_noticed(prism_url: str, fake: ShipBobFake) -> None:
    """And so is an order without an address, before it reaches the fake."""
    headers = {"Authorization": f"Bearer {TOKEN}", "shipbob_channel_id": str(CHANNEL)}
    order = {"reference_id": "vfy-r_1", "shipping_method": "Standard", "type": "DTC", "products": [], "recipient": {}}
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{prism_url}/2026-01/order", json=order, headers=headers) as response,
    ):
        assert response.status == 422
    assert not fake.calls


def test_complaints_are_found_in_the_log(prism_log: Path, prism_url: str) -> None:
    """Prism's words for a broken request are those that the other tests look for."""
    request = urllib.request.Request(f"{prism_url}/2026-01/order", data=b"{}", method="POST")  # noqa: S310 - to prism
    with pytest.raises(urllib.error.HTTPError) as raised:
        urllib.request.urlopen(request)  # noqa: S310 - the same
    raised.value.close()
    assert any(complaint in prism_log.read_bytes() for complaint in COMPLAINTS)
