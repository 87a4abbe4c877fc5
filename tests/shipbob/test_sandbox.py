"""The adapter against ShipBob's own sandbox: what no fake can prove. Opt-in, it writes orders to the account.

`SHIPBOB_SANDBOX_TOKEN` and `SHIPBOB_SANDBOX_CHANNEL_ID` name the account; `SHIPBOB_SANDBOX_ARTICLE` may name a product
in stock there, without which no order can be shipped. What is measured is printed with `-s`.
"""

import asyncio
import os
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta

import aiohttp
import pytest
from msgspec.structs import replace

from rewardpost.addresses import PostalAddress
from tests.shipbob_calls import PARCEL, after
from worker.providers.protocol import Applied, Cancellation, CannotTell, Order, Progress, Refused
from worker.providers.shipbob import VERSION, ShipBob

URL = "https://sandbox-api.shipbob.com"
TOKEN = os.environ.get("SHIPBOB_SANDBOX_TOKEN", "")
CHANNEL = os.environ.get("SHIPBOB_SANDBOX_CHANNEL_ID", "")
ARTICLE = os.environ.get("SHIPBOB_SANDBOX_ARTICLE", "")
ADDRESS = PostalAddress(
    name="Testa Probe", line_1="100 N Racine Ave", city="Chicago", region="IL", postal_code="60607", country="US"
)
PATIENCE_SECONDS = 240.0

pytestmark = [
    pytest.mark.skipif(
        not (TOKEN and CHANNEL), reason="SHIPBOB_SANDBOX_TOKEN and SHIPBOB_SANDBOX_CHANNEL_ID name no account"
    ),
    pytest.mark.timeout(900),
]


@pytest.fixture
def provider(session: aiohttp.ClientSession) -> ShipBob:
    """The adapter for the sandbox."""
    return ShipBob(session, url=URL, token=TOKEN, channel_id=int(CHANNEL), call_timeout=timedelta(seconds=30))


@pytest.fixture
def reference() -> str:
    """A reference that nobody has used."""
    return f"vfy-sandbox_{secrets.token_hex(8)}"


async def _ordered(provider: ShipBob, reference: str) -> str:
    article = ARTICLE or "rewardpost-sandbox"
    parcel = replace(PARCEL, reference=reference, article=article, article_name=article, address=ADDRESS)
    outcome = await provider.submit(parcel, after(30))
    assert isinstance(outcome, Applied), outcome
    return outcome.order


async def _until(ask: Callable[[], Awaitable[bool]], *, pause: float = 2) -> float:
    """Ask until it is so, through rate limits, and return the seconds that it took."""
    began = time.monotonic()
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            try:
                if await ask():
                    return time.monotonic() - began
                await asyncio.sleep(pause)
            except CannotTell as exc:
                await asyncio.sleep((exc.retry_after or timedelta(seconds=5)).total_seconds())


async def test_the_token_and_the_channel_work(provider: ShipBob) -> None:
    """Without them the rest would say nothing."""
    assert [finding.ok for finding in await provider.check()] == [True]


async def test_a_reference_is_unique_and_found(provider: ShipBob, reference: str) -> None:
    """One order, a refusal for the second, and a look-up that shows it sooner than `look_up_lag`."""
    assert await provider.find(reference) == []
    order = await _ordered(provider, reference)
    found: Sequence[Order] = ()

    async def shown() -> bool:
        nonlocal found
        found = await provider.find(reference)
        return bool(found)

    lag = await _until(shown, pause=0.5)
    print(f"the list shows a new order after {lag:.1f} s")  # noqa: T201 - what this test is there to measure
    assert lag < provider.look_up_lag.total_seconds()
    assert [each.id for each in found] == [order]
    parcel = replace(PARCEL, reference=reference, address=ADDRESS)
    assert isinstance(await provider.submit(parcel, after(30)), Refused)
    assert len(await provider.find(reference)) == 1
    assert (await provider.status(order, reference)).reference == reference


async def test_a_cancelled_order_stays_in_the_list(provider: ShipBob, reference: str) -> None:
    """A second cancelling is no other answer; whether the reference is free again is printed."""
    order = await _ordered(provider, reference)

    async def listed() -> bool:
        return bool(await provider.find(reference))

    await _until(listed)
    assert await provider.cancel(order, reference) is Cancellation.CANCELLED
    assert await provider.cancel(order, reference) is Cancellation.CANCELLED

    async def cancelled() -> bool:
        return [each.live for each in await provider.find(reference)] == [False]

    await _until(cancelled)
    again = await provider.submit(replace(PARCEL, reference=reference, address=ADDRESS), after(30))
    print(f"a second order after the cancelling is {type(again).__name__.lower()}")  # noqa: T201 - what this test is there to measure
    assert isinstance(again, Applied | Refused)


async def test_pages_count_from_one(provider: ShipBob, reference: str) -> None:
    """The page that is asked for first holds what was ordered last, and the list ends."""
    began = after(-5)
    await _ordered(provider, reference)

    async def listed() -> bool:
        rest, seen = None, set[str]()
        while True:
            page = await provider.page(began, rest)
            seen |= {order.reference for order in page.orders}
            rest = page.next
            if rest is None:
                return reference in seen

    await _until(listed)


@pytest.mark.skipif(not ARTICLE, reason="SHIPBOB_SANDBOX_ARTICLE names no product that is in stock there")
async def test_an_order_is_shipped_and_delivered(
    provider: ShipBob, session: aiohttp.ClientSession, reference: str
) -> None:
    """The sandbox simulates both, and the statuses are those of our tables."""
    order = await _ordered(provider, reference)
    headers = {"Authorization": f"Bearer {TOKEN}"}
    async with session.get(f"{URL}/{VERSION}/order/{order}", headers=headers) as response:
        shipment = (await response.json())["shipments"][0]["id"]
    simulation = {"action": "ShipOrder", "delay": 0, "next": {"action": "DeliverOrder", "delay": 0}}
    async with session.post(
        f"{URL}/{VERSION}/simulate/shipment",
        headers=headers,
        json={"shipment_id": str(shipment), "simulation": simulation},
    ) as response:
        assert response.status == 200

    async def delivered() -> bool:
        now = await provider.status(order, reference)
        assert now.progress is not Progress.EXCEPTION, now.why
        return now.progress is Progress.DELIVERED

    await _until(delivered, pause=5)
    assert (await provider.status(order, reference)).tracking
