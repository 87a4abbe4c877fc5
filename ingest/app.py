"""The door's routes, and the path of one webhook through them: read, verify, seal, store, answer."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from functools import partial
from typing import Protocol

from aiohttp import HttpVersion11, hdrs, web

from ingest.reading import BodyTooLarge, BodyUnreadable, read_body
from ingest.sources import Source, providers, voucherify
from ingest.writing import NotStored, PendingWrites, Store
from rewardpost import logs, metrics, probes
from rewardpost.delivery import KEPT_HEADERS, Delivery, delivery_id
from rewardpost.metrics import Answer
from rewardpost.problems import problem
from rewardpost.queue import Receipt
from rewardpost.settings import Settings, SettingsError

PATH = "/webhooks/voucherify"
"""The path that is asked for all the time."""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

WRITES = web.AppKey("writes", PendingWrites)
"""The application's writes under way, which whoever stops it waits for."""
RECEIVE: web.AppKey[Handler] = web.AppKey("receive")
"""What answers a webhook, for `straight_to_the_door`."""

_WEBHOOKS = "/webhooks/"
_KEPT_HEADERS = sorted(KEPT_HEADERS)
_LONGEST_HEADER = 256
_MOST_WAITING = 1000  # with bodies of 1 MiB each this is what one process may need in memory
_RETRY_AFTER = {"Retry-After": "5"}

_JSON = {"Content-Type": "application/json; charset=utf-8"}
_COUNTED = {receipt: metrics.WEBHOOKS.labels(Answer(receipt)) for receipt in Receipt}

_log = logs.get(__name__)


class Watch(Protocol):
    """What knows whether the server keeps what it confirms; `DurabilityWatch` is the one in use."""

    problem: str | None


class _Refusal(Exception):  # noqa: N818 - named after what it is
    def __init__(self, answer: Answer, detail: str) -> None:
        super().__init__(detail)
        self.answer = answer
        self.detail = detail


def create_app(settings: Settings, queue: Store, watch: Watch) -> web.Application:
    """Return the door's application.

    Serve it without aiohttp's own decompression, which knows no bound: `auto_decompress=False`.

    Raises:
        SettingsError: there is no secret, and unsigned webhooks are not allowed.
    """
    check_secrets(settings)
    writes = PendingWrites(queue, most=_MOST_WAITING)
    app = web.Application(middlewares=[_guard])
    app[WRITES] = writes
    main = voucherify(settings)
    for source in (main, *providers(settings)):
        door = _Door(settings, source, writes, watch)
        app.router.add_route(hdrs.METH_ANY, source.path, door.receive, expect_handler=_continue)
        if source is main:
            receive: Handler = partial(_guard, handler=door.receive)
            app[RECEIVE] = receive
    app.router.add_routes(probes.routes(lambda: watch.problem))
    return app


def straight_to_the_door(app: web.Application, otherwise: Handler) -> Handler:
    """Return a handler that knows the one path which is asked for all the time and leaves the rest to the application.

    Finding a route and going through the application's layers costs a tenth of what a webhook costs.
    """
    receive = app[RECEIVE]

    async def handle(request: web.Request) -> web.StreamResponse:
        if request.rel_url.raw_path == PATH and hdrs.EXPECT not in request.headers:
            return await receive(request)
        return await otherwise(request)

    return handle


def check_secrets(settings: Settings) -> None:
    """Raise SettingsError when there is no secret and unsigned webhooks are not allowed."""
    if not settings.voucherify_webhook_secrets and not settings.voucherify_allow_unsigned:
        raise SettingsError(
            "VOUCHERIFY_WEBHOOK_SECRETS: expected at least one secret, or VOUCHERIFY_ALLOW_UNSIGNED=1 "
            "to accept webhooks from anyone",
        )


class _Door:
    def __init__(self, settings: Settings, source: Source, writes: PendingWrites, watch: Watch) -> None:
        self._limit = settings.ingest_max_body_bytes
        self._source = source
        self._verified = source.verified
        self._deadline = settings.ingest_deadline.total_seconds()
        self._writes = writes
        self._watch = watch

    async def receive(self, request: web.Request) -> web.Response:
        if request.method != hdrs.METH_POST:
            return problem(405, "Method not allowed", "expected POST", {"Allow": "POST"})
        try:
            delivery, receipt = await self._take_in(request)
        except _Refusal as refusal:
            _log.info("webhook_refused", answer=refusal.answer, reason=refusal.detail)
            metrics.WEBHOOKS.labels(refusal.answer).inc()
            return _refused(refusal, self._source.scheme)
        _COUNTED[receipt].inc()
        metrics.BODY_BYTES.observe(len(delivery.body))
        if receipt is Receipt.DUPLICATE:
            # Of what is stored the worker's log tells; a line for each would cost a tenth of a webhook here.
            _log.info("webhook_repeated", delivery=delivery.id)
        return _accepted(delivery.id, receipt)

    async def _take_in(self, request: web.Request) -> tuple[Delivery, Receipt]:
        body = await self._read(request)
        clock = asyncio.get_running_loop().time
        read_at = clock()
        if self._verified is not None and not self._verified(body, request.headers):
            raise _Refusal(Answer.UNAUTHORIZED, self._source.expected)
        delivery = _seal(body, request, self._source.name, datetime.now(UTC))
        if self._watch.problem is not None:
            raise _Refusal(Answer.UNAVAILABLE, self._watch.problem)
        try:
            receipt = await self._writes.store(delivery, until=read_at + self._deadline)
        except NotStored as exc:
            raise _Refusal(Answer.UNAVAILABLE, str(exc)) from exc
        metrics.ACKNOWLEDGE_SECONDS.observe(clock() - read_at)
        return delivery, receipt

    async def _read(self, request: web.Request) -> bytes:
        try:
            return await read_body(request, limit=self._limit)
        except BodyTooLarge:
            raise _Refusal(Answer.TOO_LARGE, f"expected at most {self._limit} bytes") from None
        except BodyUnreadable as exc:
            raise _Refusal(Answer.BAD_REQUEST, str(exc)) from exc


def _seal(body: bytes, request: web.Request, source: str, received_at: datetime) -> Delivery:
    headers = {name: _text(request.headers[name]) for name in _KEPT_HEADERS if name in request.headers}
    return Delivery(id=delivery_id(body), source=source, received_at=received_at, body=body, headers=headers)


def _text(value: str) -> str:
    # aiohttp hands bytes that are not UTF-8 on as surrogates, which nothing after it could encode.
    return value[:_LONGEST_HEADER].encode("utf-8", "replace").decode()


def _accepted(delivery: str, receipt: Receipt) -> web.Response:
    return web.Response(
        status=202, body=b'{"delivery": "%b", "status": "%b"}' % (delivery.encode(), receipt.encode()), headers=_JSON
    )


def _refused(refusal: _Refusal, scheme: str) -> web.Response:
    match refusal.answer:
        case Answer.TOO_LARGE:
            return problem(413, "Body too large", refusal.detail)
        case Answer.UNAUTHORIZED:
            return problem(401, "Signature refused", refusal.detail, {"WWW-Authenticate": scheme})
        case Answer.BAD_REQUEST:
            return problem(400, "Body unreadable", refusal.detail)
        case _:
            return problem(503, "Not stored", refusal.detail, _RETRY_AFTER)


async def _continue(request: web.Request) -> None:
    # aiohttp's own handler answers 417 to any other expectation, which is none of the door's answers.
    if request.version >= HttpVersion11 and request.headers.get(hdrs.EXPECT, "").lower() == "100-continue":
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0  # the answer itself has not begun


@web.middleware
async def _guard(
    request: web.Request,
    handler: Callable[[web.Request], Awaitable[web.StreamResponse]],
) -> web.StreamResponse:
    try:
        return await handler(request)
    except web.HTTPException as exc:
        allow = exc.headers.get("Allow")
        return problem(exc.status, exc.reason, headers={"Allow": allow} if allow else None)
    except Exception:  # noqa: BLE001 - the last place that can still answer the sender
        # Whatever it is, it is our fault: the sender must come again, and a 4xx could make it stop for good.
        _log.exception("request_failed")
        if request.path.startswith(_WEBHOOKS):
            metrics.WEBHOOKS.labels(Answer.UNAVAILABLE).inc()
        return problem(503, "Not stored", "the door failed", _RETRY_AFTER)
