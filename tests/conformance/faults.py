"""Ways to let something happen to the calls of a bed: faults, other answers, nobody there."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

from tests.conformance.bed import Bed
from tests.fault_proxy import Fault, FaultProxy
from tests.misbehaviours import Behaviour
from tests.serving import served


def proxy_of(bed: Bed) -> FaultProxy:
    """Return the proxy of a bed that has one."""
    assert bed.faults is not None, "expected a proxy before what is outside the ledger"
    return bed.faults


def writes(faults: FaultProxy) -> int:
    """Count the requests so far that may change something."""
    return sum(faults.seen[method] for method in ("POST", "PUT", "PATCH", "DELETE"))


@asynccontextmanager
async def always(bed: Bed, fault: Fault) -> AsyncIterator[None]:
    """Let this happen to every request."""
    faults = proxy_of(bed)
    faults.rates = {fault: 1.0}
    try:
        yield
    finally:
        faults.rates = {}


@asynccontextmanager
async def late(bed: Bed) -> AsyncIterator[None]:
    """Let what is delayed be so by more than a call may take."""
    faults = proxy_of(bed)
    before, faults.delay = faults.delay, 2 * bed.provider.call_timeout.total_seconds()
    try:
        yield
    finally:
        faults.delay = before


@asynccontextmanager
async def answering(bed: Bed, behaviour: Behaviour) -> AsyncIterator[None]:
    """Let another server stand where the other side was."""
    app = web.Application(client_max_size=2**24)
    app.router.add_route("*", "/{path:.*}", behaviour)
    faults = proxy_of(bed)
    async with served(app) as url:
        before, faults.target = faults.target, url
        try:
            yield
        finally:
            faults.target = before


@asynccontextmanager
async def away(faults: FaultProxy) -> AsyncIterator[None]:
    """Let nobody listen for new connections, and then somebody again at the same port."""
    runner = faults._runner  # noqa: SLF001 - the proxy has no way to stop listening and begin again
    (site,) = runner.sites
    port = runner.addresses[0][1]
    await site.stop()
    try:
        yield
    finally:
        await web.TCPSite(runner, "127.0.0.1", port).start()
