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
from tests.misbehaviours import Behaviour, answers, hangs, hangs_in_the_body, resets
from worker.address_sources.protocol import Answer, Customer, Found, NotFound, TryLater
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
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    fake.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield fake
    finally:
        await runner.cleanup()


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


def _source(session: aiohttp.ClientSession, url: str) -> Voucherify:
    return Voucherify(
        session, api_url=url, app_id="app", app_token="token", time_out=timedelta(seconds=0.5), now=lambda: NOW
    )


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
