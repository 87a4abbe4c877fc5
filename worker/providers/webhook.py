"""The provider `webhook`: each parcel is a signed POST to the operator's own system.

The body is one CloudEvents 1.0 event in structured mode (https://github.com/cloudevents/spec, JSON format):

| attribute | value |
| --- | --- |
| `specversion` | `1.0` |
| `id` | the reference, generation included: the same one means the same parcel |
| `source` | `/` and `KEY_PREFIX` |
| `type` | `rewardpost.parcel.requested` |
| `subject` | the reward's reference, without the generation |
| `time` | when this attempt was made |
| `datacontenttype` | `application/json` |
| `data` | `reference`, `redemption`, `customer`, `article`, `article_name`, `quantity`, `address` |

The headers `webhook-id` (the reference), `webhook-timestamp` and `webhook-signature` are those of Standard Webhooks.
The receiver may answer `{"order": "…"}` with its own id. It may see a reference twice, only after an outcome that a
person has settled or an answer that said "not taken"; if it remembers `webhook-id`, that does no harm.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta

import aiohttp
import msgspec
from aiohttp.abc import AbstractStreamWriter
from standardwebhooks import Webhook

from rewardpost import reference
from rewardpost.settings import Settings
from worker import retry_after
from worker.bounded_body import read_at_most
from worker.providers.protocol import (
    Cancellation,
    CannotTell,
    Finding,
    Guarantee,
    NotApplied,
    Order,
    Outcome,
    Page,
    Parcel,
    Refused,
    Unknown,
)
from worker.providers.webhook_answers import MEANINGS, Answer, Meaning, classify, order_in, printable

EVENT_TYPE = "rewardpost.parcel.requested"
CONTENT_TYPE = "application/cloudevents+json"
LARGEST_ANSWER = 64 * 1024
"""Bytes of an answer that are read; an order's id needs a few."""

_LONGEST_REQUEST_ID = 128
_CHECK_TIME_OUT = aiohttp.ClientTimeout(total=5)
_FAILURES = (aiohttp.ClientError, OSError, TimeoutError)
# Raised by aiohttp (client.py, `_connect_and_send_request`) only before the request is written.
_NOT_SENT = (
    aiohttp.ClientConnectorError,  # also DNS, TLS and certificates
    aiohttp.ConnectionTimeoutError,
    aiohttp.InvalidURL,
    aiohttp.NonHttpUrlClientError,
)


class _Event(msgspec.Struct, frozen=True, kw_only=True):
    specversion: str = "1.0"
    id: str
    source: str
    type: str = EVENT_TYPE
    subject: str
    time: datetime
    datacontenttype: str = "application/json"
    data: Parcel


class _TooLateError(Exception):
    """The deadline passed while the connection was made."""


class _Body(aiohttp.BytesPayload):
    """A body that is not sent once the deadline has passed, however long the connection took to make."""

    def __init__(self, body: bytes, deadline: datetime, now: Callable[[], datetime]) -> None:
        super().__init__(body, content_type=CONTENT_TYPE)
        self.withheld = False
        self._deadline = deadline
        self._now = now

    async def write_with_length(self, writer: AbstractStreamWriter, content_length: int | None) -> None:
        """Write the body, or raise `_TooLateError` before its first byte."""
        if self._now() >= self._deadline:
            self.withheld = True
            raise _TooLateError
        await super().write_with_length(writer, content_length)


class WebhookOut:
    """The operator's own system, which cannot be asked what became of a reference."""

    name = "webhook"
    guarantee = Guarantee.NONE
    call_timeout = timedelta(seconds=10)
    look_up_lag = timedelta()
    reports_status = False
    lists_orders = False

    def __init__(
        self,
        session: aiohttp.ClientSession,
        *,
        url: str,
        secret: str,
        source: str,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._session = session
        self._url = url
        self._signer = Webhook(secret)
        self._source = source
        self._now = now

    async def submit(self, parcel: Parcel, deadline: datetime) -> Outcome:
        """Post the parcel once.

        aiohttp repeats a request by itself only on methods it calls idempotent, and POST is none of them.
        """
        now = self._now()
        left = (deadline - now).total_seconds()
        if left <= 0:
            return NotApplied("the deadline had passed before the call")
        try:
            content = self._event(parcel, now)
        except UnicodeEncodeError:
            return Refused("expected text that can be written as UTF-8")
        body = _Body(content.encode(), deadline, self._now)
        headers = self._headers(parcel.reference, now, content)
        try:
            return await self._post(parcel.reference, body, headers, _time_out(left))
        except _NOT_SENT as exc:
            return NotApplied(f"could not connect ({type(exc).__name__})")
        except _FAILURES as exc:
            if body.withheld:
                return NotApplied("the deadline passed before the body was sent")
            return Unknown(f"no answer ({type(exc).__name__})")

    async def find(self, reference: str) -> Sequence[Order]:  # noqa: ARG002 - no reference can be looked up
        """Raise `CannotTell`: the receiver has no look-up."""
        raise CannotTell("the receiver of WEBHOOK_OUT_URL cannot be asked for a reference")

    async def status(self, order: str, reference: str) -> Order:  # noqa: ARG002 - no order can be looked up
        """Raise `CannotTell`: the receiver has no look-up."""
        raise CannotTell("the receiver of WEBHOOK_OUT_URL cannot be asked for an order")

    async def page(self, since: datetime, after: str | None) -> Page:  # noqa: ARG002 - nothing lists them
        """Raise `CannotTell`: the receiver has no list."""
        raise CannotTell("the receiver of WEBHOOK_OUT_URL cannot list its orders")

    async def cancel(self, order: str, reference: str) -> Cancellation:  # noqa: ARG002 - no order can be cancelled
        """Say that the receiver cannot be told."""
        return Cancellation.UNSUPPORTED

    async def check(self) -> Sequence[Finding]:
        """Ask with OPTIONS, which asks for nothing to be done, whether anyone answers."""
        try:
            async with self._session.options(
                self._url, timeout=_CHECK_TIME_OUT, allow_redirects=False, headers={"Connection": "close"}
            ) as response:
                return [Finding(ok=True, what=f"WEBHOOK_OUT_URL answers ({response.status} to OPTIONS)")]
        except _FAILURES as exc:
            what = f"WEBHOOK_OUT_URL is out of reach ({type(exc).__name__})"
            return [Finding(ok=False, what=what, todo="start the receiver, or correct WEBHOOK_OUT_URL")]

    async def close(self) -> None:
        """Do nothing: the session belongs to the process."""

    def _event(self, parcel: Parcel, now: datetime) -> str:
        subject, _ = reference.split(parcel.reference)
        event = _Event(id=parcel.reference, source=self._source, subject=subject, time=now, data=parcel)
        return msgspec.json.encode(event).decode()

    def _headers(self, message: str, now: datetime, content: str) -> Mapping[str, str]:
        return {
            "webhook-id": message,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": self._signer.sign(message, now, content),
            # A connection that was kept open may be closed by the other side just as we write, and that cannot be
            # told from a parcel that was taken. A new one for each parcel costs less than a person's look.
            "Connection": "close",
        }

    async def _post(
        self, parcel_reference: str, body: _Body, headers: Mapping[str, str], time_out: aiohttp.ClientTimeout
    ) -> Outcome:
        async with self._session.post(
            self._url, data=body, headers=headers, timeout=time_out, allow_redirects=False
        ) as response:
            accepted = MEANINGS.get(response.status) is Meaning.APPLIED
            answer = Answer(
                response.status,
                order=await _order_of(response) if accepted else "",
                retry_after=retry_after.parse(response.headers.get("Retry-After"), self._now()),
                request=printable(response.headers.get("X-Request-Id", ""), _LONGEST_REQUEST_ID),
            )
        return classify(answer, parcel_reference)


def build(settings: Settings, session: aiohttp.ClientSession) -> WebhookOut:
    """Return the provider of these settings."""
    return WebhookOut(
        session,
        url=settings.webhook_out_url,
        secret=settings.webhook_out_secret,
        source=f"/{settings.key_prefix}",
    )


def _time_out(left: float) -> aiohttp.ClientTimeout:
    """Return the bounds of a call with so many seconds left.

    Half of them are for the connection, so that one that cannot be made is certain to end as "not sent". aiohttp
    rounds waits above `ceil_threshold` up to a whole second, which would be after the deadline.
    """
    return aiohttp.ClientTimeout(total=left, connect=left / 2, ceil_threshold=left + 1)


async def _order_of(response: aiohttp.ClientResponse) -> str:
    """Return the order's id; an accepted parcel stays accepted when the optional body cannot be read."""
    try:
        return order_in(await read_at_most(response, LARGEST_ANSWER) or b"")
    except _FAILURES:
        return ""
