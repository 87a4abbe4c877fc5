"""What the tests of the `shipbob` provider share: a parcel, the adapter, and a server that misbehaves."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import aiohttp
from aiohttp import web

from rewardpost.addresses import PostalAddress
from tests.misbehaviours import Behaviour
from tests.serving import served
from tests.shipbob_fake import CHANNEL, TOKEN
from worker.providers.protocol import Applied, Parcel
from worker.providers.shipbob import ShipBob

REFERENCE = "vfy-r_1-g2"
ADDRESS = PostalAddress(name="Ada Muster", line_1="Musterweg 1", city="Köln", postal_code="50667", country="DE")
PARCEL = Parcel(
    reference=REFERENCE,
    redemption="r_1",
    customer="cust_1",
    article="mug-blue",
    article_name="Märchen-Tasse",
    address=ADDRESS,
)


class StoppedClock:
    """A clock that only a test moves."""

    def __init__(self) -> None:
        self.time = datetime.now(UTC)

    def __call__(self) -> datetime:
        """Return the time."""
        return self.time


def adapter(session: aiohttp.ClientSession, url: str, *, seconds: float = 5, token: str = TOKEN) -> ShipBob:
    """Return the provider for a server at this address."""
    return ShipBob(session, url=url, token=token, channel_id=CHANNEL, call_timeout=timedelta(seconds=seconds))


def after(seconds: float) -> datetime:
    """Return the time so many seconds from now."""
    return datetime.now(UTC) + timedelta(seconds=seconds)


async def ordered(provider: ShipBob, parcel: Parcel = PARCEL) -> str:
    """Submit a parcel and return the order's id."""
    outcome = await provider.submit(parcel, after(5))
    assert isinstance(outcome, Applied)
    return outcome.order


@asynccontextmanager
async def serving(behaviour: Behaviour) -> AsyncIterator[tuple[str, list[str]]]:
    """A server of one behaviour and the requests that it has seen."""
    seen: list[str] = []

    async def handle(request: web.Request) -> web.StreamResponse:
        await request.read()
        seen.append(f"{request.method} {request.path}")
        return await behaviour(request)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handle)
    async with served(app) as url:
        yield url, seen
