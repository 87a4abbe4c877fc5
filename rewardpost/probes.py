"""What orchestrators and Prometheus ask every process: is it alive, is it ready, what has it counted."""

import os
from collections.abc import Awaitable, Callable

from aiohttp import web
from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.exposition import choose_encoder
from prometheus_client.multiprocess import MultiProcessCollector

from rewardpost.problems import problem

SHARED_METRICS = "PROMETHEUS_MULTIPROC_DIR"
"""The variable by which prometheus-client itself is told where processes that share a port count together."""

_NO_STORE = {"Cache-Control": "no-store"}


def routes(ready: Callable[[], str | None]) -> list[web.RouteDef]:
    """Return `GET /livez`, `/readyz` and `/metrics`.

    `ready` returns why the process cannot do its work now, or None; it is asked at each probe and must not wait.
    """
    return [
        web.get("/livez", _live),
        web.get("/readyz", _readiness(ready)),
        web.get("/metrics", _metrics),
    ]


async def _live(_: web.Request) -> web.Response:
    return web.json_response({"status": "alive"}, headers=_NO_STORE)


def _readiness(ready: Callable[[], str | None]) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def answer(_: web.Request) -> web.Response:
        reason = ready()
        if reason is None:
            return web.json_response({"status": "ready"}, headers=_NO_STORE)
        return problem(503, "Not ready", reason)

    return answer


async def _metrics(request: web.Request) -> web.Response:
    encode, content_type = choose_encoder(request.headers.get("Accept", ""))
    return web.Response(body=encode(_registry()), headers={"Content-Type": content_type, **_NO_STORE})


def _registry() -> CollectorRegistry:
    directory = os.environ.get(SHARED_METRICS)
    if not directory:
        return REGISTRY
    registry = CollectorRegistry()
    MultiProcessCollector(registry, directory)  # type: ignore[no-untyped-call] # prometheus-client leaves it untyped
    return registry
