"""The `karrio` provider against a server that misbehaves: what each ending of a call is taken for, and what is sent.

What a real Karrio does stands in `tests/karrio`.
"""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from msgspec.structs import replace

from rewardpost.addresses import PostalAddress
from rewardpost.settings import Settings
from tests.misbehaviours import Behaviour, answers, hangs, hangs_in_the_body, resets
from tests.serving import served
from worker.providers import registry
from worker.providers.karrio import LARGEST_ANSWER, Karrio
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

REFERENCE = "vfy-r_1-g2"
PARCEL = Parcel(
    reference=REFERENCE,
    redemption="r_1",
    customer="cust_1",
    article="mug",
    article_name="Märchen-Tasse",
    address=PostalAddress(name="Ada Muster", line_1="Musterweg 1", city="Köln", postal_code="50667", country="DE"),
)
ORDER = {"id": "ord_1", "order_id": REFERENCE, "source": "rewardpost", "status": "unfulfilled"}
CANCELLED = {**ORDER, "status": "cancelled"}
TOO_MUCH = b" " * (LARGEST_ANSWER + 1)
Asking = Callable[[Karrio], Awaitable[object]]


class _Server:
    """Answers POST and GET in one way each, and keeps what it was sent."""

    def __init__(self) -> None:
        self.posted: Behaviour = _json(201, ORDER)
        self.got: Behaviour = _json(200, {"count": 0, "results": []})
        self.requests: list[tuple[str, str]] = []
        self.bodies: list[Any] = []
        self.headers: list[dict[str, str]] = []
        self.peers: list[object] = []
        self.url = ""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.requests.append((request.method, request.raw_path))
        self.headers.append(dict(request.headers))
        self.peers.append(request.transport and request.transport.get_extra_info("peername"))
        if request.method == "GET":
            return await self.got(request)
        self.bodies.append(await request.json())
        return await self.posted(request)


def _json(status: int, tree: object, **headers: str) -> Behaviour:
    return answers(status, json.dumps(tree).encode(), **headers)


def _listed(*orders: object, **changes: object) -> Behaviour:
    return _json(200, {"count": len(orders), "next": None, "results": orders, **changes})


@pytest.fixture
async def server() -> AsyncIterator[_Server]:
    """The server on a free port."""
    fake = _Server()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", fake.handle)
    async with served(app) as url:
        fake.url = url
        yield fake


@pytest.fixture
def provider(session: aiohttp.ClientSession, server: _Server) -> Karrio:
    """The provider under test, made as the worker makes it."""
    return _made(session, f"{server.url}/")


def _made(session: aiohttp.ClientSession, url: str) -> Karrio:
    settings = Settings(
        provider="karrio", karrio_url=url, karrio_token="key_1", provider_timeout=timedelta(seconds=0.5)
    )
    made = registry.build(settings, session)
    assert isinstance(made, Karrio)
    return made


def _in(seconds: float) -> datetime:
    return datetime.now(UTC) + timedelta(seconds=seconds)


async def test_an_order_holds_all_that_a_packer_needs(provider: Karrio, server: _Server) -> None:
    """Reference, article and address go out, and no part of the address is left empty or added."""
    parcel = replace(PARCEL, address=replace(PARCEL.address, phone="+49 221 1", region="NW"))
    assert await provider.submit(parcel, _in(5)) == Applied(order="ord_1")
    assert server.requests == [("POST", "/v1/orders")]
    assert server.headers[0]["Authorization"] == "Token key_1"
    assert server.bodies == [
        {
            "order_id": REFERENCE,
            "source": "rewardpost",
            "shipping_to": {
                "person_name": "Ada Muster",
                "address_line1": "Musterweg 1",
                "city": "Köln",
                "state_code": "NW",
                "postal_code": "50667",
                "country_code": "DE",
                "phone_number": "+49 221 1",
            },
            "line_items": [{"sku": "mug", "title": "Märchen-Tasse", "quantity": 1, "weight": 0.5, "weight_unit": "KG"}],
            "metadata": {"redemption": "r_1"},
        }
    ]


async def test_a_name_that_is_too_long_is_cut_and_stops_no_parcel(provider: Karrio, server: _Server) -> None:
    """An article's name is for reading; Karrio takes 200 characters of it."""
    await provider.submit(replace(PARCEL, article_name="x" * 300, redemption=None), _in(5))
    assert server.bodies[0]["line_items"][0]["title"] == "x" * 200
    assert server.bodies[0]["metadata"] == {}


async def test_a_rate_limit_says_when_to_come_back(provider: Karrio, server: _Server) -> None:
    """`Retry-After` is honoured and costs no attempt; a look-up hands it on too."""
    server.posted = server.got = answers(429, Retry_After="30", X_Request_Id="req_9")
    assert await provider.submit(PARCEL, _in(5)) == NotApplied(
        "answered 429", retry_after=timedelta(seconds=30), spends_attempt=False, request="req_9"
    )
    with pytest.raises(CannotTell, match="429") as caught:
        await provider.find(REFERENCE)
    assert caught.value.retry_after == timedelta(seconds=30)


@pytest.mark.parametrize(
    "behaviour",
    [
        answers(307, Location="/v1/orders"),
        answers(500, b'{"errors": [{"message": "database is locked"}]}'),
        answers(503, Retry_After="1"),
        answers(200, b"thanks"),
        answers(201, TOO_MUCH),
        answers(201, b"{}", Content_Encoding="gzip"),
        _json(201, {**ORDER, "order_id": "vfy-r_1"}),
        hangs,
        hangs_in_the_body,
        resets,
    ],
)
async def test_an_unclear_answer_is_unknown_and_nothing_is_sent_again(
    provider: Karrio, server: _Server, behaviour: Behaviour
) -> None:
    """One submit is one request, whatever the answer, and it ends at its deadline."""
    server.posted = behaviour
    assert isinstance(await provider.submit(PARCEL, _in(0.5)), Unknown)
    assert server.requests == [("POST", "/v1/orders")]


async def test_a_taken_reference_is_refused_and_a_refusal_holds_nothing_personal(
    provider: Karrio, server: _Server
) -> None:
    """The core looks after a refusal, so a reference that is taken is found."""
    server.posted = _json(409, {"errors": [{"code": "duplicate_order_id", "message": REFERENCE}]})
    outcome = await provider.submit(PARCEL, _in(5))
    assert isinstance(outcome, Refused)
    assert outcome.why.startswith("duplicate_order_id")
    server.posted = _json(400, {"errors": [{"code": "validation", "message": "shipping_to.city: Köln is long"}]})
    assert await provider.submit(PARCEL, _in(5)) == Refused("answered 400 (shipping_to.city)")


async def test_each_write_has_a_connection_of_its_own(provider: Karrio, server: _Server) -> None:
    """A kept connection that Karrio closes as we write would make an unknown outcome of nothing; no read leaves one."""
    for _ in range(3):
        await provider.submit(PARCEL, _in(5))
        await provider.find(REFERENCE)
    assert len(set(server.peers)) == 6


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "http://nowhere.invalid", "https://127.0.0.1:{}"])
async def test_a_connection_that_cannot_be_made_is_certainly_not_applied(
    session: aiohttp.ClientSession, server: _Server, url: str
) -> None:
    """Refused, no such name, no TLS: the same reference may go out again, and a look-up tells nothing."""
    made = _made(session, url.format(server.url.rpartition(":")[2]))
    assert isinstance(await made.submit(PARCEL, _in(5)), NotApplied)
    with pytest.raises(CannotTell):
        await made.find(REFERENCE)
    assert await made.cancel("ord_1", REFERENCE) is Cancellation.UNKNOWN
    assert server.requests == []


async def test_nothing_is_sent_after_the_deadline(
    provider: Karrio, session: aiohttp.ClientSession, server: _Server
) -> None:
    """A worker that was stopped for a while, before the call or while connecting, sends no order."""
    assert isinstance(await provider.submit(PARCEL, _in(-0.001)), NotApplied)
    assert server.requests == []
    deadline = _in(60)
    clock = iter([deadline - timedelta(seconds=5), deadline])
    late = Karrio(session, url=server.url, token="key_1", call_timeout=timedelta(seconds=1), now=lambda: next(clock))
    assert await late.submit(PARCEL, deadline) == NotApplied("the deadline passed before the body was sent")
    assert server.bodies == []


async def test_text_that_cannot_be_written_is_refused(provider: Karrio, server: _Server) -> None:
    """A lone surrogate would stop every attempt alike."""
    assert isinstance(await provider.submit(replace(PARCEL, article_name="\ud800"), _in(5)), Refused)
    assert server.requests == []


async def test_a_look_up_asks_for_the_reference_and_our_source(provider: Karrio, server: _Server) -> None:
    """All orders of the reference come back, cancelled ones too; an empty list proves that there is none."""
    assert provider.guarantee is Guarantee.UNIQUE_KEY
    assert await provider.find(REFERENCE) == ()
    assert server.requests == [("GET", f"/v1/orders?order_id={REFERENCE}&source=rewardpost&limit=50")]
    server.got = _listed(ORDER, {**CANCELLED, "id": "ord_0"})
    assert [(order.id, order.live) for order in await provider.find(REFERENCE)] == [("ord_1", True), ("ord_0", False)]


@pytest.mark.parametrize(
    "behaviour",
    [
        _listed({**ORDER, "order_id": "vfy-r_1"}),
        _listed(ORDER, {**ORDER, "order_id": "vfy-r_2"}),
        _listed({**ORDER, "source": "API"}),
        _listed({**ORDER, "id": None}),
        _listed(count=1),
        _listed(ORDER, count=2),
        _listed(next="http://x/?offset=50"),
        _json(200, {}),
        _json(200, []),
        answers(200, b""),
        answers(200, TOO_MUCH),
        answers(204),
        answers(302, Location="/v1/orders"),
        answers(401),
        answers(404),
        answers(500),
        hangs,
        hangs_in_the_body,
        resets,
    ],
)
@pytest.mark.parametrize(
    "asking", [lambda karrio: karrio.find(REFERENCE), lambda karrio: karrio.status("ord_1", REFERENCE)]
)
async def test_only_a_positive_answer_tells_anything(
    provider: Karrio, server: _Server, behaviour: Behaviour, asking: Asking
) -> None:
    """A filter that was not followed, a part of a list, a failure: none of them is "absent"."""
    server.got = behaviour
    with pytest.raises(CannotTell):
        await asking(provider)


async def test_a_status_is_that_of_the_order_that_was_asked_for(provider: Karrio, server: _Server) -> None:
    """Id and reference have to agree."""
    server.got = _json(200, ORDER)
    assert (await provider.status("ord_1", REFERENCE)).id == "ord_1"
    assert server.requests == [("GET", "/v1/orders/ord_1")]
    for order, reference in (("ord_2", REFERENCE), ("ord_1", "vfy-r_1")):
        with pytest.raises(CannotTell):
            await provider.status(order, reference)


@pytest.mark.parametrize(
    ("posted", "got", "cancellation", "requests"),
    [
        (_json(200, CANCELLED), hangs, Cancellation.CANCELLED, 1),
        (_json(200, ORDER), hangs, Cancellation.UNKNOWN, 1),
        (_json(200, {**CANCELLED, "order_id": "x"}), hangs, Cancellation.UNKNOWN, 1),
        (answers(404), hangs, Cancellation.UNKNOWN, 1),
        (answers(500), hangs, Cancellation.UNKNOWN, 1),
        (hangs, hangs, Cancellation.UNKNOWN, 1),
        (resets, hangs, Cancellation.UNKNOWN, 1),
        (answers(409), _json(200, CANCELLED), Cancellation.CANCELLED, 2),
        (answers(409), _json(200, {**ORDER, "status": "fulfilled"}), Cancellation.TOO_LATE, 2),
        (answers(409), _json(200, {**ORDER, "status": "delivered"}), Cancellation.TOO_LATE, 2),
        (answers(409), _json(200, ORDER), Cancellation.UNKNOWN, 2),
        (answers(409), answers(500), Cancellation.UNKNOWN, 2),
        (answers(409), hangs, Cancellation.UNKNOWN, 2),
    ],
)
async def test_each_ending_of_a_cancelling(
    provider: Karrio,
    server: _Server,
    posted: Behaviour,
    got: Behaviour,
    cancellation: Cancellation,
    requests: int,
) -> None:
    """Karrio refuses alike what is cancelled and what is gone, so the order itself is asked."""
    server.posted, server.got = posted, got
    assert await provider.cancel("ord_1", REFERENCE) is cancellation
    assert server.requests[0] == ("POST", "/v1/orders/ord_1/cancel")
    assert len(server.requests) == requests


async def test_an_id_stays_one_part_of_the_path(provider: Karrio, server: _Server) -> None:
    """An id that someone else made up leads nowhere else."""
    server.posted = answers(404)
    await provider.cancel("../x?y", REFERENCE)
    assert server.requests == [("POST", "/v1/orders/..%2Fx%3Fy/cancel")]


async def test_a_list_goes_on_until_its_last_page(provider: Karrio, server: _Server) -> None:
    """Only references of ours come back, and each page is one call."""
    server.got = _listed(ORDER, {**ORDER, "order_id": "manual-1"}, count=3, next="http://elsewhere/?offset=2")
    since = datetime(2026, 3, 1, 12, tzinfo=UTC)
    page = await provider.page(since, None)
    assert ([order.reference for order in page.orders], page.next) == ([REFERENCE], "2")
    server.got = _listed(CANCELLED, count=3)
    page = await provider.page(since, page.next)
    assert ([order.live for order in page.orders], page.next) == ([False], None)
    query = "source=rewardpost&created_after=2026-03-01T12:00:00%2B00:00&limit=50"
    assert [path for _, path in server.requests] == [f"/v1/orders?{query}&offset={offset}" for offset in (0, 2)]


async def test_a_list_whose_page_is_empty_ends(provider: Karrio, server: _Server) -> None:
    """A server that always promises more cannot keep an audit going for ever."""
    server.got = _listed(next="http://x/?offset=1")
    assert (await provider.page(_in(-60), None)).next is None


@pytest.mark.parametrize(
    ("behaviour", "ok", "word"),
    [
        (_listed(), [True], "accepts"),
        (_json(200, {"count": 0, "results": []}, X_test_mode="False"), [True], "accepts"),
        (_json(200, {"count": 0, "results": []}, X_test_mode="True"), [True, True], "test mode"),
        (answers(401), [False], "KARRIO_TOKEN"),
        (answers(403), [False], "KARRIO_TOKEN"),
        (answers(404), [False], "404"),
        (answers(200, b"<html>"), [False], "something else"),
        (resets, [False], "out of reach"),
    ],
)
async def test_the_self_check_tells_what_is_wrong(
    provider: Karrio, server: _Server, behaviour: Behaviour, ok: list[bool], word: str
) -> None:
    """`doctor` sees credentials, address and test mode without writing anything."""
    server.got = behaviour
    findings = await provider.check()
    assert [finding.ok for finding in findings] == ok
    assert word in findings[-1].what
    assert all(finding.ok or finding.todo for finding in findings)
    assert {method for method, _ in server.requests} == {"GET"}
