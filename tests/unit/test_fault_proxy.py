"""The proxy of the chaos runs does to each request what its plan or its seed says, and to the rest nothing."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Mapping

import aiohttp
import pytest
from aiohttp import web

from tests.fault_proxy import Fault, FaultProxy
from tests.serving import served

DELAY_SECONDS = 0.2
PATIENCE = aiohttp.ClientTimeout(total=5)
IMPATIENCE = aiohttp.ClientTimeout(total=DELAY_SECONDS / 4)


class _Target:
    """The provider behind the proxy: it commits what reaches it."""

    def __init__(self) -> None:
        self.committed: list[tuple[str, str, bytes]] = []
        self.headers: list[Mapping[str, str]] = []
        self.arrived = asyncio.Event()
        self.url = ""

    async def handle(self, request: web.Request) -> web.Response:
        self.committed.append((request.method, request.raw_path, await request.read()))
        self.headers.append(dict(request.headers))
        self.arrived.set()
        return web.Response(status=201, body=b"made", headers={"X-Request-Id": "req_1"})


@pytest.fixture
async def target() -> AsyncIterator[_Target]:
    """The provider on a free port."""
    made = _Target()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", made.handle)
    async with served(app) as url:
        made.url = url
        yield made


@pytest.fixture
async def proxy(target: _Target) -> AsyncIterator[FaultProxy]:
    """The proxy without any chance of a fault."""
    async with FaultProxy(target.url, delay=DELAY_SECONDS) as proxy:
        yield proxy


async def _post(
    proxy: FaultProxy, time_out: aiohttp.ClientTimeout = PATIENCE, method: str = "POST"
) -> tuple[int, bytes, Mapping[str, str]] | None:
    """Return the answer; None where the connection broke or the answer did not come in time."""
    async with aiohttp.ClientSession() as session:
        try:
            async with session.request(
                method, f"{proxy.url}/v1/a%2Fb?c=%2B", data=b"body", headers={"X-Key": "1"}, timeout=time_out
            ) as answer:
                return answer.status, await answer.read(), answer.headers
        except (aiohttp.ClientConnectionError, TimeoutError):
            return None


async def test_without_a_fault_all_passes_as_it_is(proxy: FaultProxy, target: _Target) -> None:
    """Path, body, headers and answer are the provider's and the caller's own."""
    answer = await _post(proxy)
    assert answer is not None
    assert answer[:2] == (201, b"made")
    assert answer[2]["X-Request-Id"] == "req_1"
    assert target.committed == [("POST", "/v1/a%2Fb?c=%2B", b"body")]
    assert target.headers[0]["X-Key"] == "1"
    assert proxy.seen == {"POST": 1}


@pytest.mark.parametrize(
    ("fault", "status", "commits"),
    [
        (None, 201, 1),
        (Fault.LOSE_REQUEST, None, 0),
        (Fault.LOSE_ANSWER, None, 1),
        (Fault.DELAY_ANSWER, 201, 1),
        (Fault.DELAY_REQUEST, 201, 1),
        (Fault.STATUS_429, 429, 0),
        (Fault.STATUS_502, 502, 0),
        (Fault.STATUS_503, 503, 0),
        (Fault.LATE_502, 502, 1),
    ],
)
async def test_each_fault_does_what_it_says(
    proxy: FaultProxy, target: _Target, fault: Fault | None, status: int | None, commits: int
) -> None:
    """What the caller sees and what the provider did are two things, and the next request is unharmed."""
    proxy.plan = [fault]
    answer = await _post(proxy)
    assert (answer and answer[0]) == status
    assert len(target.committed) == commits
    assert await _post(proxy) is not None
    assert len(target.committed) == commits + 1


@pytest.mark.parametrize("fault", [Fault.STATUS_429, Fault.STATUS_503])
async def test_a_forged_refusal_names_the_time_to_wait(proxy: FaultProxy, fault: Fault) -> None:
    """A provider that is overloaded says when to come again."""
    proxy.plan = [fault]
    answer = await _post(proxy)
    assert answer is not None
    assert answer[2]["Retry-After"] == "1"


@pytest.mark.parametrize("fault", [Fault.DELAY_ANSWER, Fault.DELAY_REQUEST])
async def test_what_is_on_its_way_arrives_when_nobody_waits_any_more(
    proxy: FaultProxy, target: _Target, fault: Fault
) -> None:
    """The caller gives up before the answer, and the provider commits all the same."""
    proxy.plan = [fault]
    assert await _post(proxy, IMPATIENCE) is None
    async with asyncio.timeout(5):
        await target.arrived.wait()
    assert len(target.committed) == 1


async def test_one_seed_gives_the_same_faults_again(target: _Target) -> None:
    """A run that failed can be run again, and another seed is another run."""
    rates = {Fault.STATUS_429: 0.3, Fault.STATUS_502: 0.3}

    async def run(seed: int) -> list[int | None]:
        async with FaultProxy(target.url, seed=seed, rates=rates) as proxy:
            answers = [await _post(proxy) for _ in range(30)]
            return [answer and answer[0] for answer in answers]

    first = await run(1)
    assert await run(1) == first
    assert await run(2) != first
    assert set(first) == {201, 429, 502}


async def test_rates_are_parts_of_all_requests(target: _Target) -> None:
    """A rate of one spares nothing, and a rate of nothing strikes never."""
    async with FaultProxy(target.url, rates={Fault.STATUS_429: 0.0, Fault.STATUS_502: 1.0}) as proxy:
        for _ in range(10):
            await _post(proxy)
        assert proxy.seen == Counter({"POST": 10, "502": 10})
    assert target.committed == []


async def test_only_writes_lets_looking_through(target: _Target) -> None:
    """Faults of writes can be tried alone."""
    async with FaultProxy(target.url, rates={Fault.STATUS_502: 1.0}, only_writes=True) as proxy:
        looked, wrote = await _post(proxy, method="GET"), await _post(proxy)
    assert looked is not None
    assert wrote is not None
    assert (looked[0], wrote[0]) == (201, 502)
