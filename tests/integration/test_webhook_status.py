"""The `webhook` provider with a status URL: what it asks, how it is signed, what the settings make of its guarantee."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import aiohttp
import pytest
from aiohttp import web
from standardwebhooks import Webhook, WebhookVerificationError

from rewardpost.addresses import PostalAddress
from rewardpost.settings import Settings
from tests.misbehaviours import Behaviour, answers, hangs, hangs_in_the_body, resets
from tests.serving import served
from worker.providers import registry
from worker.providers.protocol import (
    Cancellation,
    CannotTell,
    Guarantee,
    Order,
    Outcome,
    Parcel,
    Progress,
    Provider,
    Refused,
    Unknown,
)
from worker.providers.webhook import LARGEST_ANSWER

SECRET = "whsec_YW5vdGhlciBzZWNyZXQgb2YgYSB0ZXN0"
REFERENCE = "vfy-r_1-g2"
SHIPPED = b'{"reference": "vfy-r_1-g2", "order": "A-17", "state": "shipped", "tracking": ["T1"]}'


PARCEL = Parcel(
    reference=REFERENCE,
    redemption="r_1",
    customer="cust_1",
    article="mug",
    article_name="A mug",
    address=PostalAddress(
        name="Tess Testperson", line_1="Probestrasse 7", city="Musterstadt", postal_code="10117", country="DE"
    ),
)


class _Receiver:
    """A receiver of one behaviour at a time that keeps what it was asked."""

    def __init__(self) -> None:
        self.behaviour: Behaviour = answers(200, SHIPPED)
        self.asked: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.url = ""

    async def status(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(f"{request.method} {request.path_qs}")
        self.headers.append(dict(request.headers))
        return await self.behaviour(request)


@pytest.fixture
async def receiver() -> AsyncIterator[_Receiver]:
    """The receiver on a free port."""
    fake = _Receiver()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", fake.status)
    async with served(app) as url:
        fake.url = url
        yield fake


@pytest.fixture
def provider(session: aiohttp.ClientSession, receiver: _Receiver) -> Provider:
    """The provider under test, made as the worker makes it."""
    return _made(session, receiver.url)


def _made(
    session: aiohttp.ClientSession, url: str, *, status: str = "/parcels/{reference}?full=1", once: bool = False
) -> Provider:
    settings = Settings(
        provider="webhook",
        provider_timeout=timedelta(seconds=0.5),
        webhook_out_url=f"{url}/hook",
        webhook_out_secret=SECRET,
        webhook_out_status_url=f"{url}{status}" if status else "",
        webhook_out_removes_duplicates=once,
    )
    return registry.build(settings, session)


async def test_the_question_names_the_reference_and_is_signed(provider: Provider, receiver: _Receiver) -> None:
    """The receiver verifies it as it verifies a parcel: over an empty body, for this very reference."""
    await provider.find(REFERENCE)
    assert receiver.asked == [f"GET /parcels/{REFERENCE}?full=1"]
    (headers,) = receiver.headers
    Webhook(SECRET).verify(b"", headers, json_parse=False)
    assert headers["webhook-id"] == REFERENCE
    with pytest.raises(WebhookVerificationError):
        Webhook(SECRET).verify(b"", {**headers, "webhook-id": "vfy-r_2"}, json_parse=False)


async def test_look_up_and_status_tell_the_same(provider: Provider) -> None:
    """Both ask by our reference; the order's own id is taken over."""
    order = Order(id="A-17", reference=REFERENCE, progress=Progress.SHIPPED, tracking=("T1",))
    assert await provider.find(REFERENCE) == [order]
    assert await provider.status("A-17", REFERENCE) == order
    # A receiver whose answer to the POST had no id.
    assert await provider.status(REFERENCE, REFERENCE) == order


async def test_absence_has_to_name_the_reference(provider: Provider, receiver: _Receiver) -> None:
    """A 404 of the receiver's own is a proof, one of a web server with another path is none."""
    receiver.behaviour = answers(404, b'{"reference": "vfy-r_1-g2"}')
    assert await provider.find(REFERENCE) == []
    with pytest.raises(CannotTell):
        await provider.status("A-17", REFERENCE)
    receiver.behaviour = answers(404, b"404: Not Found")
    with pytest.raises(CannotTell):
        await provider.find(REFERENCE)


async def test_of_several_orders_the_status_is_that_of_the_one(provider: Provider, receiver: _Receiver) -> None:
    """Two orders under one reference are told apart by the receiver's own id."""
    other = SHIPPED.replace(b"A-17", b"A-18").replace(b"shipped", b"cancelled")
    receiver.behaviour = answers(200, b"[" + SHIPPED + b", " + other + b"]")
    assert [order.id for order in await provider.find(REFERENCE)] == ["A-17", "A-18"]
    assert (await provider.status("A-18", REFERENCE)).progress is Progress.CANCELLED
    with pytest.raises(CannotTell):
        await provider.status("A-19", REFERENCE)


@pytest.mark.parametrize("status", [429, 503])
async def test_a_wait_that_is_asked_for_is_kept(provider: Provider, receiver: _Receiver, status: int) -> None:
    """`Retry-After` tells when to ask again."""
    receiver.behaviour = answers(status, Retry_After="30")
    with pytest.raises(CannotTell) as caught:
        await provider.find(REFERENCE)
    assert caught.value.retry_after == timedelta(seconds=30)


@pytest.mark.parametrize(
    "behaviour",
    [
        resets,
        hangs,
        hangs_in_the_body,
        answers(200, b'{"reference": "vfy-r_1-g2", "state": "open", "more": "' + b"x" * LARGEST_ANSWER + b'"}'),
        answers(200, SHIPPED, Content_Encoding="gzip"),
        answers(307, SHIPPED, Location="/elsewhere"),
    ],
)
async def test_an_answer_that_does_not_come_proves_nothing(
    provider: Provider, receiver: _Receiver, behaviour: Behaviour
) -> None:
    """Silence, a flood and a redirect are no proof; the question is carried nowhere else, if repeated by aiohttp."""
    receiver.behaviour = behaviour
    with pytest.raises(CannotTell):
        await provider.find(REFERENCE)
    assert set(receiver.asked) == {f"GET /parcels/{REFERENCE}?full=1"}


@pytest.mark.parametrize(
    ("status", "outcome"), [("/{reference}", Refused("answered 409")), ("", Unknown("answered 409"))]
)
async def test_a_conflict_is_looked_into_where_that_can_be_done(
    session: aiohttp.ClientSession, receiver: _Receiver, status: str, outcome: Outcome
) -> None:
    """A receiver that has the parcel already says so; without a status URL nobody can find out whether it does."""
    receiver.behaviour = answers(409)
    provider = _made(session, receiver.url, status=status)
    assert await provider.submit(PARCEL, datetime.now(UTC) + timedelta(seconds=5)) == outcome


async def test_nobody_there_proves_nothing(session: aiohttp.ClientSession) -> None:
    """A receiver that is away has not said that it has no parcel."""
    with pytest.raises(CannotTell):
        await _made(session, "http://127.0.0.1:1").find(REFERENCE)


@pytest.mark.parametrize(
    ("status", "once", "guarantee"),
    [
        ("/{reference}", True, Guarantee.UNIQUE_KEY),
        ("/{reference}", False, Guarantee.LOOK_UP),
        ("", True, Guarantee.IDEMPOTENT),
        ("", False, Guarantee.NONE),
    ],
)
async def test_the_guarantee_is_what_the_settings_undertake(
    session: aiohttp.ClientSession, receiver: _Receiver, status: str, *, once: bool, guarantee: Guarantee
) -> None:
    """Nothing is promised that the receiver was not said to do, and nothing is asked that it cannot answer."""
    provider = _made(session, receiver.url, status=status, once=once)
    assert provider.guarantee is guarantee
    assert provider.reports_status is bool(status)
    assert provider.lists_orders is False
    assert provider.call_timeout == timedelta(seconds=0.5)
    assert await provider.cancel("A-17", REFERENCE) is Cancellation.UNSUPPORTED
    with pytest.raises(CannotTell):
        await provider.page(datetime.now(UTC), None)
    assert receiver.asked == []


@pytest.mark.parametrize(
    ("behaviour", "ok"),
    [
        (answers(404, b'{"reference": "rewardpost-check"}'), True),
        (answers(404), False),
        (answers(200, b'{"reference": "rewardpost-check", "state": "open"}'), False),
        (answers(401), False),
        (resets, False),
    ],
)
async def test_the_self_check_tries_the_status_url(
    provider: Provider, receiver: _Receiver, behaviour: Behaviour, *, ok: bool
) -> None:
    """A status URL that could never prove anything is seen before the first parcel is in doubt."""
    receiver.behaviour = behaviour
    finding = (await provider.check())[-1]
    assert "STATUS_URL" in finding.what
    assert (finding.ok, bool(finding.todo)) == (ok, not ok)
    assert receiver.asked[-1] == "GET /parcels/rewardpost-check?full=1"
