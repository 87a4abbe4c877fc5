"""Addresses from Voucherify, against a real HTTP server that behaves and misbehaves as it does."""

import asyncio
import gzip
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from urllib.parse import unquote

import aiohttp
import pytest
from aiohttp import web
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from rewardpost.addresses import AddressDraft
from rewardpost.turns import Ended, Go, Wait, Why
from tests.misbehaviours import Behaviour, answers, hangs, hangs_in_the_body, resets
from tests.serving import served
from worker.address_sources.protocol import Answer, Budget, Customer, Found, NotFound, TryLater
from worker.address_sources.voucherify import LARGEST_ANSWER, Voucherify

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
ADA = {
    "id": "cust_1",
    "source_id": "ada-1",
    "name": "Ada Muster",
    "email": "ada@example.com",
    "phone": "+49 30 1",
    "address": {
        "line_1": "Musterweg 1",
        "line_2": None,
        "city": "Berlin",
        "state": None,
        "postal_code": 10115,
        "country": "Germany",
        "unexpected": [],
    },
    "unexpected": {"nested": [None]},
    "object": "customer",
}


class _Voucherify:
    """A server of one behaviour at a time that remembers what it was asked."""

    def __init__(self) -> None:
        self.behaviour: Behaviour = _answers(200, ADA)
        self.ids: list[str] = []
        self.credentials: list[tuple[str | None, str | None]] = []
        self.elsewhere = 0
        self.url = ""

    async def customer(self, request: web.Request) -> web.StreamResponse:
        # As sent: aiohttp's own routing has decoded some of it already.
        self.ids.append(unquote(request.raw_path.removeprefix("/v1/customers/")))
        self.credentials.append((request.headers.get("X-App-Id"), request.headers.get("X-App-Token")))
        return await self.behaviour(request)

    async def other(self, _request: web.Request) -> web.StreamResponse:
        self.elsewhere += 1
        return web.json_response(ADA)


@asynccontextmanager
async def _running() -> AsyncIterator[_Voucherify]:
    fake = _Voucherify()
    app = web.Application()
    app.router.add_get(r"/v1/customers/{id:[\s\S]+}", fake.customer)
    app.router.add_get("/{tail:.*}", fake.other)
    async with served(app) as url:
        fake.url = url
        yield fake


@pytest.fixture
async def server() -> AsyncIterator[_Voucherify]:
    """The fake on a free port, with a second path to which it may redirect."""
    async with _running() as fake:
        yield fake


@pytest.fixture
async def source(server: _Voucherify) -> AsyncIterator[Voucherify]:
    """The source under test, with a time-out that a test can wait for."""
    async with aiohttp.ClientSession() as session:
        yield _source(session, server.url)


def _source(session: aiohttp.ClientSession, url: str, budget: Budget | None = None) -> Voucherify:
    return Voucherify(
        session,
        api_url=url,
        app_id="app",
        app_token="token",
        budget=budget,
        time_out=timedelta(seconds=0.5),
        now=lambda: NOW,
    )


class _Budget:
    """A budget that gives one answer, and remembers who asked and how the calls ended."""

    def __init__(self, answer: Go | Wait) -> None:
        self.answer = answer
        self.asked: list[str] = []
        self.ends: list[tuple[str, Ended, timedelta | None]] = []

    async def turn(self, who: str) -> Go | Wait:
        self.asked.append(who)
        return self.answer

    async def ended(self, call: str, how: Ended, *, retry_after: timedelta | None = None) -> None:
        self.ends.append((call, how, retry_after))


def _not_yet(why: Why) -> Wait:
    return Wait(due=NOW + timedelta(seconds=40), after=timedelta(seconds=40), why=why)


def _answers(status: int, body: object = None, **headers: str) -> Behaviour:
    return answers(status, body if isinstance(body, bytes) else json.dumps(body).encode(), **headers)


async def _find(source: Voucherify) -> Answer:
    return await source.find(Customer(id="cust_1", source_id="ada-1"))


async def test_a_customer_becomes_a_draft(source: Voucherify, server: _Voucherify) -> None:
    """Every field that a label needs is taken over, numbers as text; what is unknown is passed over."""
    assert await _find(source) == Found(
        AddressDraft(
            name="Ada Muster",
            line_1="Musterweg 1",
            city="Berlin",
            postal_code="10115",
            country="Germany",
            phone="+49 30 1",
            email="ada@example.com",
        )
    )
    assert server.ids == ["cust_1"]
    assert server.credentials == [("app", "token")]


@pytest.mark.parametrize("address", [None, [], "somewhere", {}])
async def test_a_customer_without_an_address_is_still_found(
    source: Voucherify, server: _Voucherify, address: object
) -> None:
    """The name may complete what another source knows."""
    server.behaviour = _answers(200, {**ADA, "address": address})
    assert await _find(source) == Found(AddressDraft(name="Ada Muster", phone="+49 30 1", email="ada@example.com"))


async def test_the_source_id_is_asked_for_where_there_is_no_id(source: Voucherify, server: _Voucherify) -> None:
    """Voucherify takes either in the same place."""
    await source.find(Customer(source_id="ada-1"))
    assert server.ids == ["ada-1"]


@pytest.mark.parametrize(
    "customer", [Customer(), Customer(id=""), Customer(id="."), Customer(source_id=".."), Customer(id="\ud800")]
)
async def test_an_id_that_cannot_be_asked_for_is_not_found(
    source: Voucherify, server: _Voucherify, customer: Customer
) -> None:
    """No request goes to another path than the customer's."""
    assert await source.find(customer) == NotFound()
    assert (server.ids, server.elsewhere) == ([], 0)


@settings(max_examples=60, deadline=None)  # each example runs a server of its own
@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=60))
@example("a/b?c=d#e%2F+f é")
@example("../../v1/orders")
def test_any_source_id_arrives_as_it_is(text: str) -> None:
    """Slashes, question marks, e-mail addresses and percent signs are part of the id, not of the path."""
    assume(text not in {".", ".."})

    async def ask() -> None:
        async with _running() as fake, aiohttp.ClientSession() as session:
            assert isinstance(await _source(session, fake.url).find(Customer(source_id=text)), Found)
            assert fake.ids == [text]

    asyncio.run(ask())


@pytest.mark.parametrize("status", [400, 404, 410, 414, 422])
async def test_an_unknown_customer_is_not_found(source: Voucherify, server: _Voucherify, status: int) -> None:
    """What will not change by asking again needs a person."""
    server.behaviour = _answers(status, {"code": status, "key": "not_found"})
    assert await _find(source) == NotFound()


@pytest.mark.parametrize("status", [401, 403])
async def test_wrong_credentials_are_the_operators_affair(source: Voucherify, server: _Voucherify, status: int) -> None:
    """No customer loses his parcel because a token was changed; the reason names the settings."""
    server.behaviour = _answers(status, {})
    answer = await _find(source)
    assert isinstance(answer, TryLater)
    assert "VOUCHERIFY_APP_TOKEN" in answer.why


@pytest.mark.parametrize(
    ("header", "wait"),
    [("30", timedelta(seconds=30)), ("Sun, 01 Mar 2026 12:02:00 GMT", timedelta(minutes=2)), ("soon", None)],
)
async def test_a_rate_limit_says_when_to_come_back(
    source: Voucherify, server: _Voucherify, header: str, wait: timedelta | None
) -> None:
    """`Retry-After` is honoured in seconds and as a date."""
    server.behaviour = _answers(429, {}, Retry_After=header)
    answer = await _find(source)
    assert isinstance(answer, TryLater)
    assert answer.retry_after == wait


@pytest.mark.parametrize(
    "behaviour",
    [
        _answers(500, {}),
        _answers(502, b"<html>"),
        _answers(503, {}),
        _answers(204, b""),
        _answers(405, {}),
        _answers(200, b""),
        _answers(200, b"{"),
        _answers(200, b"\xff\xfe"),
        _answers(200, b"[" * 100_000),
        _answers(200, []),
        _answers(200, None),
        _answers(200, b"{}", Content_Encoding="gzip"),
        _answers(200, json.dumps({"name": "x" * LARGEST_ANSWER}).encode()),
        _answers(200, gzip.compress(b" " * 50 * LARGEST_ANSWER), Content_Encoding="gzip"),
        hangs,
        hangs_in_the_body,
        resets,
    ],
)
async def test_every_failure_is_tried_later(source: Voucherify, server: _Voucherify, behaviour: Behaviour) -> None:
    """A failing, slow, broken or flooding server says nothing of the customer, and is asked once only."""
    server.behaviour = behaviour
    assert isinstance(await _find(source), TryLater)


async def test_a_server_that_is_not_there_is_tried_later() -> None:
    """A refused connection is a reason to come back."""
    async with aiohttp.ClientSession() as session:
        assert isinstance(await _find(_source(session, "http://127.0.0.1:1")), TryLater)


async def test_no_redirect_is_followed(source: Voucherify, server: _Voucherify) -> None:
    """The credentials are for one host alone."""
    server.behaviour = _answers(302, {}, Location=f"{server.url}/elsewhere")
    assert isinstance(await _find(source), TryLater)
    assert server.elsewhere == 0


async def test_no_reason_holds_what_the_server_said(source: Voucherify, server: _Voucherify) -> None:
    """Reasons go to the log; names and addresses do not."""
    server.behaviour = _answers(500, ADA)
    assert "Ada" not in repr(await _find(source))
    server.behaviour = _answers(200, b'{"name": "Ada Muster"')
    assert "Ada" not in repr(await _find(source))


async def test_the_self_check_takes_an_unknown_customer_for_right_credentials(
    source: Voucherify, server: _Voucherify
) -> None:
    """`doctor` finds wrong credentials and a wrong address without reading anyone's data."""
    server.behaviour = _answers(404, {})
    assert [finding.ok for finding in await source.check()] == [True]
    server.behaviour = _answers(401, {})
    assert [(finding.ok, bool(finding.todo)) for finding in await source.check()] == [(False, True)]
    assert set(server.ids) == {"rewardpost-check"}


@pytest.mark.parametrize(
    ("why", "in_line"), [(Why.TURN, True), (Why.FULL, True), (Why.OPEN, False), (Why.PROBE, False)]
)
async def test_who_has_to_wait_for_a_turn_is_told_how_long(server: _Voucherify, why: Why, *, in_line: bool) -> None:
    """No call is made, and the answer says whether a place is kept, or Voucherify is out of order."""
    budget = _Budget(_not_yet(why))
    async with aiohttp.ClientSession() as session:
        answer = await _source(session, server.url, budget).find(Customer(id="cust_1", reference="vfy-r_1"))
    assert isinstance(answer, TryLater)
    assert (answer.retry_after, answer.in_line) == (timedelta(seconds=40), in_line)
    assert (budget.asked, budget.ends, server.ids) == (["vfy-r_1"], [], [])


async def test_a_place_in_the_line_bears_no_personal_data(server: _Voucherify) -> None:
    """Without a reward's reference the place is kept under a name that is the same each time, and tells nothing."""
    budget = _Budget(_not_yet(Why.TURN))
    async with aiohttp.ClientSession() as session:
        for _ in range(2):
            await _source(session, server.url, budget).find(Customer(source_id="ada@example.com"))
    assert len(set(budget.asked)) == 1
    assert "ada" not in budget.asked[0]


@pytest.mark.parametrize(
    ("behaviour", "how", "retry_after"),
    [
        (_answers(200, ADA), Ended.ANSWERED, None),
        (_answers(200, b"{"), Ended.ANSWERED, None),
        (_answers(404, {}), Ended.ANSWERED, None),
        (_answers(422, {}), Ended.ANSWERED, None),
        (_answers(401, {}), Ended.FAILED, None),
        (_answers(429, {}), Ended.FAILED, None),
        (_answers(429, {}, Retry_After="7"), Ended.FAILED, timedelta(seconds=7)),
        (_answers(503, {}, Retry_After="7"), Ended.FAILED, timedelta(seconds=7)),
        (_answers(500, {}), Ended.FAILED, None),
        (hangs, Ended.FAILED, None),
        (hangs_in_the_body, Ended.FAILED, None),
        (resets, Ended.FAILED, None),
    ],
)
async def test_the_end_of_each_call_is_reported(
    server: _Voucherify, behaviour: Behaviour, how: Ended, retry_after: timedelta | None
) -> None:
    """An answer is one whatever it says of the customer; what speaks of Voucherify's own state is a failure."""
    server.behaviour = behaviour
    budget = _Budget(Go("call-1"))
    async with aiohttp.ClientSession() as session:
        await _find(_source(session, server.url, budget))
    assert budget.ends == [("call-1", how, retry_after)]


async def test_a_call_that_is_broken_off_is_reported_too(server: _Voucherify) -> None:
    """A worker that stops frees the slot, and says nothing of Voucherify."""
    server.behaviour = hangs
    budget = _Budget(Go("call-1"))
    async with aiohttp.ClientSession() as session:
        finding = asyncio.create_task(_find(_source(session, server.url, budget)))
        while not server.ids:
            await asyncio.sleep(0.001)
        finding.cancel()
        with pytest.raises(asyncio.CancelledError):
            await finding
    assert budget.ends == [("call-1", Ended.ABANDONED, None)]


async def test_no_turn_is_taken_for_an_id_that_cannot_be_asked_for(server: _Voucherify) -> None:
    """What needs no call costs none."""
    budget = _Budget(Go("call-1"))
    async with aiohttp.ClientSession() as session:
        assert await _source(session, server.url, budget).find(Customer(id="..")) == NotFound()
    assert budget.asked == []


async def test_the_self_check_takes_no_turn(server: _Voucherify) -> None:
    """A person who asks what is wrong need not wait behind five thousand rewards."""
    server.behaviour = _answers(404, {})
    budget = _Budget(_not_yet(Why.TURN))
    async with aiohttp.ClientSession() as session:
        assert [finding.ok for finding in await _source(session, server.url, budget).check()] == [True]
    assert budget.asked == []
