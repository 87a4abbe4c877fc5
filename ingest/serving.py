"""Opening and closing the door: the wiring of one process, from its settings to a listening socket and back."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta

from aiohttp import web
from redis.asyncio import Redis

from ingest.app import WRITES, create_app, straight_to_the_door
from rewardpost import logs
from rewardpost.connection import connect
from rewardpost.durability import DurabilityWatch
from rewardpost.keys import Keys
from rewardpost.problems import problem
from rewardpost.queue import Queue
from rewardpost.settings import Settings, SettingsError

_LOOK_TIMEOUT = timedelta(seconds=1)
_GRACE = timedelta(seconds=1)
"""On top of the deadline, how long requests in hand may take when the door closes."""
_KEEP_ALIVE_SECONDS = 75
"""Longer than proxies keep an idle connection; also how long a request's head may take to arrive."""
_BACKLOG = 1024
"""How many connections may wait to be accepted."""

_log = logs.get(__name__)


class PortTaken(Exception):  # noqa: N818 - named after what it is
    """The address cannot be listened on; the message names the settings and what was expected."""


@asynccontextmanager
async def open_door(settings: Settings, *, shared_port: int | None = None) -> AsyncIterator[list[tuple[str, int]]]:
    """Take webhooks in as long as the context lasts, and finish what is in hand after it.

    Yields the addresses that are listened on, with port 0 resolved. With `shared_port` the door listens on that port
    together with others.

    Raises:
        SettingsError: `REDIS_URL` is no address, or see `create_app`.
        PortTaken: the address is in use, or is none of this machine's.
    """
    async with AsyncExitStack() as stack:
        # Nobody waits for an answer longer than the deadline; with a longer time-out the connections to a
        # server that hangs would pile up, with a shorter one an answer in time would be thrown away.
        redis = _connect(settings, call_timeout=settings.ingest_deadline)
        stack.push_async_callback(redis.aclose)
        # A client of its own: looks have less patience than writes.
        looking = _connect(settings, call_timeout=_LOOK_TIMEOUT)
        stack.push_async_callback(looking.aclose)
        watch = DurabilityWatch(looking, trust=settings.redis_durability == "trust", room=True)
        app = create_app(settings, Queue(redis, Keys(settings.key_prefix)), watch)
        await watch.look()
        stack.push_async_callback(_end, asyncio.create_task(watch.run()))
        stack.push_async_callback(app[WRITES].settle, _GRACE)
        runner = web.AppRunner(
            app,
            access_log=None,
            shutdown_timeout=(settings.ingest_deadline + _GRACE).total_seconds(),
        )
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        server = await _listen(runner, app, settings, shared_port)
        stack.callback(server.close)
        addresses = [bound.getsockname()[:2] for bound in server.sockets]
        for host, port in addresses:
            _log.info("door_opened", host=host, port=port)
        yield addresses
        _log.info("door_closing")
        await asyncio.sleep(0)  # what the kernel has accepted meanwhile is taken over before its queue is closed


def _connect(settings: Settings, *, call_timeout: timedelta) -> Redis:
    try:
        return connect(settings.redis_url, call_timeout=call_timeout)
    except ValueError as exc:
        raise SettingsError(f"REDIS_URL: expected {exc}") from exc


def listening_socket(settings: Settings, port: int, *, shared: bool) -> socket.socket:
    """Return a socket that listens on this port of the configured host; a shared one beside others of this user.

    Raises:
        PortTaken: the address is in use, or is none of this machine's.
    """
    host = settings.ingest_host
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=_BACKLOG, reuse_port=shared)
    except OSError as exc:
        raise _not_free(settings, exc) from exc


async def _listen(
    runner: web.AppRunner, app: web.Application, settings: Settings, shared_port: int | None
) -> asyncio.Server:
    loop = asyncio.get_running_loop()
    manager = runner.server
    if manager is None:
        raise RuntimeError("expected a runner that is set up")
    manager.request_handler = straight_to_the_door(app, manager.request_handler)  # type: ignore[assignment] # an application's requests alone come here

    def protocol() -> web.RequestHandler:
        return _Protocol(
            manager,
            loop=loop,
            auto_decompress=False,
            keepalive_timeout=_KEEP_ALIVE_SECONDS,
            access_log=None,  # type: ignore[arg-type] # as AppRunner's own parameter of this name allows
        )

    if shared_port is not None:
        listening = listening_socket(settings, shared_port, shared=True)
        return await loop.create_server(protocol, sock=listening, backlog=_BACKLOG)
    try:
        return await loop.create_server(protocol, settings.ingest_host or None, settings.ingest_port, backlog=_BACKLOG)
    except OSError as exc:
        raise _not_free(settings, exc) from exc


def _not_free(settings: Settings, exc: OSError) -> PortTaken:
    """Return the error that says which settings to change."""
    return PortTaken(
        f"INGEST_HOST, INGEST_PORT: expected an address to listen on, {settings.ingest_host}:{settings.ingest_port} "
        f"is not free ({exc.strerror or type(exc).__name__})",
    )


class _Protocol(web.RequestHandler):
    """aiohttp's handler of one connection, with our own words for requests that are no HTTP."""

    __slots__ = ()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer what aiohttp could not parse; its own answer would repeat a part of the request."""
        del message
        _log.info("request_refused", status=status, error=type(exc).__name__)
        if request.writer.output_size > 0:
            raise ConnectionError("an answer has begun already")
        answer = problem(400, "Bad request", "expected a request in HTTP/1.1")
        if status != web.HTTPBadRequest.status_code:
            answer = problem(503, "Not stored", "the door failed", {"Retry-After": "5"})
        answer.force_close()
        return answer


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait({task})
