"""The `webhook` provider against a real HTTP server: what arrives, and what each ending of a call is taken for."""

import json
import socket
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import aiohttp
import pytest
from aiohttp import web
from msgspec.structs import replace
from standardwebhooks import Webhook, WebhookVerificationError

from rewardpost.addresses import PostalAddress
from rewardpost.settings import Settings
from tests.misbehaviours import Behaviour, answers, hangs, hangs_in_the_body, resets
from tests.serving import served
from worker.providers import registry
from worker.providers.protocol import (
    Applied,
    Cancellation,
    CannotTell,
    Guarantee,
    NotApplied,
    Parcel,
    Refused,
    Unknown,
)
from worker.providers.webhook import LARGEST_ANSWER, WebhookOut

SECRET = "whsec_bm90IGEgc2VjcmV0LCBhIHRlc3Q="
PARCEL = Parcel(
    reference="vfy-r_1-g2",
    redemption="r_1",
    customer="cust_1",
    article="mug",
    article_name="Märchen-Tasse",
    address=PostalAddress(name="Ada Muster", line_1="Musterweg 1", city="Köln", postal_code="50667", country="DE"),
)


class _Receiver:
    """A receiver of one behaviour at a time that keeps what it was sent."""

    def __init__(self) -> None:
        self.behaviour: Behaviour = answers(202)
        self.bodies: list[bytes] = []
        self.headers: list[dict[str, str]] = []
        self.peers: list[object] = []
        self.elsewhere = 0
        self.url = ""

    async def hook(self, request: web.Request) -> web.StreamResponse:
        self.peers.append(request.transport and request.transport.get_extra_info("peername"))
        self.headers.append(dict(request.headers))
        self.bodies.append(await request.read())
        return await self.behaviour(request)

    async def other(self, _request: web.Request) -> web.StreamResponse:
        self.elsewhere += 1
        return web.Response()


@pytest.fixture
async def receiver() -> AsyncIterator[_Receiver]:
    """The receiver on a free port, with a second path to which it may redirect."""
    fake = _Receiver()
    app = web.Application()
    app.router.add_post("/hook", fake.hook)
    app.router.add_route("*", "/elsewhere", fake.other)
    async with served(app) as url:
        fake.url = f"{url}/hook"
        yield fake


@pytest.fixture
def provider(session: aiohttp.ClientSession, receiver: _Receiver) -> WebhookOut:
    """The provider under test, made as the worker makes it."""
    return _made(session, receiver.url)


def _made(session: aiohttp.ClientSession, url: str) -> WebhookOut:
    made = registry.build(Settings(provider="webhook", webhook_out_url=url, webhook_out_secret=SECRET), session)
    assert isinstance(made, WebhookOut)
    return made


def _in(seconds: float) -> datetime:
    return datetime.now(UTC) + timedelta(seconds=seconds)


async def _resets_in_the_body(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Length": "100"})
    await response.prepare(request)
    await response.write(b'{"order": ')
    return await resets(request)


async def test_a_parcel_arrives_as_a_cloud_event(provider: WebhookOut, receiver: _Receiver) -> None:
    """Any CloudEvents library reads the body, and everything that a packer needs stands in it."""
    before = datetime.now(UTC)
    assert await provider.submit(PARCEL, _in(5)) == Applied(order="vfy-r_1-g2")
    event = json.loads(receiver.bodies[0])
    assert before <= datetime.fromisoformat(event.pop("time")) <= datetime.now(UTC)
    assert event == {
        "specversion": "1.0",
        "id": "vfy-r_1-g2",
        "source": "/rewardpost",
        "type": "rewardpost.parcel.requested",
        "subject": "vfy-r_1",
        "datacontenttype": "application/json",
        "data": {
            "reference": "vfy-r_1-g2",
            "redemption": "r_1",
            "customer": "cust_1",
            "article": "mug",
            "article_name": "Märchen-Tasse",
            "quantity": 1,
            "address": {
                "name": "Ada Muster",
                "line_1": "Musterweg 1",
                "city": "Köln",
                "postal_code": "50667",
                "country": "DE",
            },
        },
    }
    assert receiver.headers[0]["Content-Type"] == "application/cloudevents+json"


async def test_the_signature_is_one_of_standard_webhooks(provider: WebhookOut, receiver: _Receiver) -> None:
    """The receiver verifies with the library of the standard, and finds the reference as the message's id."""
    await provider.submit(PARCEL, _in(5))
    Webhook(SECRET).verify(receiver.bodies[0], receiver.headers[0])
    assert receiver.headers[0]["webhook-id"] == "vfy-r_1-g2"
    with pytest.raises(WebhookVerificationError):
        Webhook("whsec_b3RoZXI=").verify(receiver.bodies[0], receiver.headers[0])
    with pytest.raises(WebhookVerificationError):
        Webhook(SECRET).verify(receiver.bodies[0] + b" ", receiver.headers[0])


async def test_the_order_and_request_of_the_receiver_are_taken_over(provider: WebhookOut, receiver: _Receiver) -> None:
    """An operator finds the parcel in his own system."""
    receiver.behaviour = answers(201, b'{"order": "A-17"}', X_Request_Id="req-9")
    assert await provider.submit(PARCEL, _in(5)) == Applied(order="A-17", request="req-9")


@pytest.mark.parametrize(
    "behaviour",
    [
        answers(200, b"thanks"),
        answers(200, b'{"order": "' + b"x" * LARGEST_ANSWER + b'"}'),
        answers(200, b"{}", Content_Encoding="gzip"),
        hangs_in_the_body,
        _resets_in_the_body,
    ],
)
async def test_an_accepted_parcel_stays_accepted_without_a_readable_body(
    provider: WebhookOut, receiver: _Receiver, behaviour: Behaviour
) -> None:
    """The status is the receiver's word; the body is optional, and no flood of it is read."""
    receiver.behaviour = behaviour
    assert await provider.submit(PARCEL, _in(0.5)) == Applied(order="vfy-r_1-g2")


@pytest.mark.parametrize(
    ("wait", "seconds"),
    [("30", (30, 30)), ("in {} seconds", (58, 60))],
)
async def test_a_rate_limit_says_when_to_come_back(
    provider: WebhookOut, receiver: _Receiver, wait: str, seconds: tuple[int, int]
) -> None:
    """`Retry-After` is honoured in seconds and as a date, and costs no attempt."""
    date = f"{_in(60):%a, %d %b %Y %H:%M:%S} GMT"
    receiver.behaviour = answers(429, Retry_After=date if "{}" in wait else wait)
    outcome = await provider.submit(PARCEL, _in(5))
    assert isinstance(outcome, NotApplied)
    assert outcome.retry_after is not None
    assert seconds[0] <= outcome.retry_after.total_seconds() <= seconds[1]
    assert not outcome.spends_attempt


@pytest.mark.parametrize("status", [307, 409, 500, 503])
async def test_an_unclear_answer_is_unknown_and_nothing_is_sent_again(
    provider: WebhookOut, receiver: _Receiver, status: int
) -> None:
    """One submit is one request, whatever the answer, and no redirect carries an address elsewhere."""
    receiver.behaviour = answers(status, Location=receiver.url.replace("/hook", "/elsewhere"))
    assert await provider.submit(PARCEL, _in(5)) == Unknown(f"answered {status}")
    assert (len(receiver.bodies), receiver.elsewhere) == (1, 0)


async def test_a_refusal_is_one(provider: WebhookOut, receiver: _Receiver) -> None:
    """The reason holds the status and nothing that the receiver wrote."""
    receiver.behaviour = answers(422, b"no parcels for Ada Muster")
    assert await provider.submit(PARCEL, _in(5)) == Refused("answered 422")


async def test_no_answer_before_the_deadline_is_unknown(provider: WebhookOut, receiver: _Receiver) -> None:
    """The receiver has the parcel and says nothing: nobody knows, and the call ends at its deadline."""
    receiver.behaviour = hangs
    deadline = _in(0.5)
    outcome = await provider.submit(PARCEL, deadline)
    assert isinstance(outcome, Unknown)
    assert deadline <= datetime.now(UTC) < deadline + timedelta(seconds=0.5)
    assert len(receiver.bodies) == 1


async def test_a_reset_is_unknown_and_nothing_is_sent_again(provider: WebhookOut, receiver: _Receiver) -> None:
    """A connection that breaks may have carried the parcel; neither we nor aiohttp send it twice."""
    receiver.behaviour = resets
    assert isinstance(await provider.submit(PARCEL, _in(5)), Unknown)
    assert len(receiver.bodies) == 1


async def test_each_parcel_has_a_connection_of_its_own(provider: WebhookOut, receiver: _Receiver) -> None:
    """A kept connection that the receiver closes as we write would make an unknown outcome of nothing."""
    for _ in range(3):
        assert isinstance(await provider.submit(PARCEL, _in(5)), Applied)
    assert len(set(receiver.peers)) == 3


async def test_a_parcel_goes_out_once_over_a_kept_connection_that_breaks(
    session: aiohttp.ClientSession, receiver: _Receiver
) -> None:
    """What is believed of aiohttp: unlike a GET, a POST is not repeated when a kept connection turns out closed."""
    served = 0

    async def behave(request: web.Request) -> web.StreamResponse:
        nonlocal served
        served += 1
        return web.Response() if served == 1 else await resets(request)

    receiver.behaviour = behave
    async with session.post(receiver.url, data=b"1"):
        pass
    with pytest.raises((aiohttp.ClientOSError, aiohttp.ServerDisconnectedError)):
        await session.post(receiver.url, data=b"2")
    assert receiver.bodies == [b"1", b"2"]
    assert len(set(receiver.peers)) == 1


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:1/hook", "http://nowhere.invalid/hook", "http://:80/hook", "https://127.0.0.1:{}/hook"]
)
async def test_a_connection_that_cannot_be_made_is_certainly_not_applied(
    session: aiohttp.ClientSession, receiver: _Receiver, url: str
) -> None:
    """Refused, no such name, no such address, no TLS: the same reference may go out again."""
    port = receiver.url.split(":")[2].split("/")[0]
    outcome = await _made(session, url.format(port)).submit(PARCEL, _in(5))
    assert isinstance(outcome, NotApplied)
    assert receiver.bodies == []


async def test_a_connection_that_is_never_accepted_is_certainly_not_applied(session: aiohttp.ClientSession) -> None:
    """A server whose queue is full has not seen the parcel; half of the time is for finding that out."""
    with socket.socket() as full, socket.socket() as first, socket.socket() as second:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for filler in (first, second):
            filler.settimeout(0)
            filler.connect_ex(full.getsockname())
        outcome = await _made(session, f"http://127.0.0.1:{full.getsockname()[1]}/").submit(PARCEL, _in(1))
    assert outcome == NotApplied("could not connect (ConnectionTimeoutError)")


async def test_nothing_is_sent_after_the_deadline(provider: WebhookOut, receiver: _Receiver) -> None:
    """A worker that was stopped for a while finds the deadline passed and sends nothing."""
    assert isinstance(await provider.submit(PARCEL, _in(-0.001)), NotApplied)
    assert receiver.peers == []


async def test_nothing_is_sent_when_the_deadline_passes_while_connecting(
    session: aiohttp.ClientSession, receiver: _Receiver
) -> None:
    """The deadline is looked at once more with the connection made: what lands later could not be looked up."""
    deadline = _in(60)
    clock = iter([deadline - timedelta(seconds=5), deadline])
    provider = WebhookOut(session, url=receiver.url, secret=SECRET, source="/test", now=lambda: next(clock))
    assert await provider.submit(PARCEL, deadline) == NotApplied("the deadline passed before the body was sent")
    assert receiver.bodies == []


async def test_text_that_cannot_be_written_is_refused(provider: WebhookOut, receiver: _Receiver) -> None:
    """A lone surrogate would stop every attempt alike."""
    outcome = await provider.submit(replace(PARCEL, article_name="\ud800"), _in(5))
    assert isinstance(outcome, Refused)
    assert receiver.peers == []


async def test_what_the_receiver_cannot_do_is_said(provider: WebhookOut) -> None:
    """No look-up and no cancelling: after an unknown outcome a person decides."""
    assert provider.guarantee is Guarantee.NONE
    with pytest.raises(CannotTell):
        await provider.find("vfy-r_1")
    assert await provider.cancel("o1", "vfy-r_1") is Cancellation.UNSUPPORTED


async def test_the_self_check_sees_whether_anyone_answers(
    provider: WebhookOut, session: aiohttp.ClientSession, receiver: _Receiver
) -> None:
    """`doctor` knocks without ordering anything."""
    assert [finding.ok for finding in await provider.check()] == [True]
    assert [finding.ok for finding in await _made(session, "http://127.0.0.1:1/").check()] == [False]
    assert receiver.bodies == []


async def test_the_manual_provider_takes_every_parcel(session: aiohttp.ClientSession) -> None:
    """The default needs no account: the ledger's own packing list is the provider."""
    manual = registry.build(Settings(), session)
    assert (manual.name, manual.guarantee) == ("manual", Guarantee.LEDGER)
    assert await manual.submit(PARCEL, _in(5)) == Applied(order="vfy-r_1-g2")
    assert await manual.find("vfy-r_1-g2") == []
    assert await manual.cancel("vfy-r_1-g2", "vfy-r_1-g2") is Cancellation.CANCELLED
    assert all(finding.ok for finding in await manual.check())
