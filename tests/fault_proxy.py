"""A proxy between a provider's module and the provider itself, which loses, delays and forges as a network does."""

import asyncio
import random
from collections import Counter
from collections.abc import Mapping
from enum import StrEnum
from typing import Self

from aiohttp import ClientSession, ClientTimeout, DummyCookieJar, TCPConnector, web
from yarl import URL

_HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "content-encoding", "host"}
_LONGEST = ClientTimeout(total=120)


class Fault(StrEnum):
    """What may happen to one request."""

    LOSE_REQUEST = "lose request"
    """The connection breaks before the provider has seen anything."""
    LOSE_ANSWER = "lose answer"
    """The provider commits, and the connection breaks instead of the answer."""
    DELAY_ANSWER = "delay answer"
    """The provider commits, and the answer comes after `delay`."""
    DELAY_REQUEST = "delay request"
    """The request reaches the provider after `delay`, whether or not anyone still waits for the answer."""
    STATUS_429 = "429"
    STATUS_502 = "502"
    STATUS_503 = "503"
    """Forged: the provider has seen nothing."""
    LATE_502 = "502 after the commit"
    """The provider commits, and a gateway says 502."""


class FaultProxy:
    """Forwards to `target`, faults by seeded chance or, first of all, as `plan` says.

    Args:
        target: `http://host:port` of the provider.
        seed: two runs with one seed and the same requests see the same faults.
        rates: how often each fault happens, as parts of 1; the rest is forwarded.
        delay: seconds that a delayed answer or request is late.
        only_writes: let GET through untouched.
    """

    def __init__(
        self,
        target: str,
        *,
        seed: int = 0,
        rates: Mapping[Fault, float] | None = None,
        delay: float = 1.0,
        only_writes: bool = False,
    ) -> None:
        self.target = target
        self.rates = dict(rates or {})
        self.delay = delay
        self.url = ""
        self.plan: list[Fault | None] = []
        """What happens to the next requests, one each; None forwards untouched."""
        self.seen: Counter[str] = Counter()
        """Requests by method, and faults by name."""
        self._chance = random.Random(seed)  # noqa: S311 - chance of a test, no secret
        self._only_writes = only_writes
        self._late: set[asyncio.Task[web.Response]] = set()

    async def __aenter__(self) -> Self:
        self._session = ClientSession(
            timeout=_LONGEST,
            cookie_jar=DummyCookieJar(),
            connector=TCPConnector(force_close=True),
            auto_decompress=False,
        )
        app = web.Application(client_max_size=2**24)
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.gather(*self._late, return_exceptions=True)
        await self._runner.cleanup()
        await self._session.close()

    def _draw(self, method: str) -> Fault | None:
        if self.plan:
            return self.plan.pop(0)
        if self._only_writes and method == "GET":
            return None
        point = self._chance.random()
        for fault, rate in self.rates.items():
            if point < rate:
                return fault
            point -= rate
        return None

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        fault = self._draw(request.method)
        self.seen[request.method] += 1
        if fault is not None:
            self.seen[fault.value] += 1
        match fault:
            case Fault.STATUS_429 | Fault.STATUS_503:
                return web.Response(status=int(fault), headers={"Retry-After": "1"}, text="slow down")
            case Fault.STATUS_502:
                return web.Response(status=502, text="<html>Bad Gateway</html>", content_type="text/html")
            case Fault.LOSE_REQUEST:
                return _cut(request)
            case Fault.DELAY_REQUEST:
                await asyncio.sleep(self.delay)
        # Goes on when whoever asked has given up: what is on its way arrives.
        forwarding = asyncio.ensure_future(self._forward(request, body))
        self._late.add(forwarding)
        forwarding.add_done_callback(self._late.discard)
        answer = await asyncio.shield(forwarding)
        match fault:
            case Fault.LOSE_ANSWER:
                return _cut(request)
            case Fault.LATE_502:
                return web.Response(status=502, text="<html>Bad Gateway</html>", content_type="text/html")
            case Fault.DELAY_ANSWER:
                await asyncio.sleep(self.delay)
        return answer

    async def _forward(self, request: web.Request, body: bytes) -> web.Response:
        headers = {name: value for name, value in request.headers.items() if name.lower() not in _HOP_BY_HOP}
        url = URL(f"{self.target}{request.raw_path}", encoded=True)
        async with self._session.request(
            request.method, url, data=body or None, headers=headers, allow_redirects=False
        ) as answer:
            content = await answer.read()
            kept = {
                name: value
                for name, value in answer.headers.items()
                if name.lower() not in _HOP_BY_HOP - {"content-encoding"}
            }
            return web.Response(status=answer.status, body=content, headers=kept)


def _cut(request: web.Request) -> web.Response:
    if request.transport is not None:
        request.transport.abort()
    return web.Response()
