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
The receiver may answer `{"order": "…"}` with its own id.

What follows an unknown outcome depends on what the receiver can do, as the settings say:

| `WEBHOOK_OUT_STATUS_URL` | `WEBHOOK_OUT_REMOVES_DUPLICATES` | guarantee |
| --- | --- | --- |
| set | 1 | `UNIQUE_KEY`: it is asked; where it has no such parcel, that is posted again, and can land but once |
| set | 0 | `LOOK_UP`: the same, but a first post that was late by more than the quiet time would be a second parcel |
| | 1 | `IDEMPOTENT`: the parcel is posted again |
| | 0 | `NONE`: a person decides; if the receiver remembers `webhook-id`, a second post after that does no harm |

What it is asked, it answers as `webhook_status` says. The question is a GET with the same three headers over an empty
body, `webhook-id` being the reference that the URL names.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from urllib.parse import quote

import aiohttp
import msgspec
from standardwebhooks import Webhook

from rewardpost import reference
from rewardpost.settings import Settings
from worker import retry_after
from worker.bounded_body import read_at_most
from worker.providers import http_calls
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
)
from worker.providers.webhook_answers import MEANINGS, Answer, Meaning, classify, order_in
from worker.providers.webhook_status import orders_in

EVENT_TYPE = "rewardpost.parcel.requested"
CONTENT_TYPE = "application/cloudevents+json"
LARGEST_ANSWER = 64 * 1024
"""Bytes of an answer that are read; an order's id needs a few."""

_GUARANTEES: Mapping[tuple[bool, bool], Guarantee] = {
    (True, True): Guarantee.UNIQUE_KEY,
    (True, False): Guarantee.LOOK_UP,
    (False, True): Guarantee.IDEMPOTENT,
    (False, False): Guarantee.NONE,
}
# By whether it can be asked, and whether it removes duplicates.
_NO_PARCEL = "rewardpost-check"
_CHECK_TIME_OUT = aiohttp.ClientTimeout(total=5)


class _Event(msgspec.Struct, frozen=True, kw_only=True):
    specversion: str = "1.0"
    id: str
    source: str
    type: str = EVENT_TYPE
    subject: str
    time: datetime
    datacontenttype: str = "application/json"
    data: Parcel


class WebhookOut:
    """The operator's own system; without a `status_url` it cannot be asked what became of a reference."""

    name = "webhook"
    look_up_lag = timedelta()
    lists_orders = False

    def __init__(
        self,
        session: aiohttp.ClientSession,
        *,
        url: str,
        secret: str,
        source: str,
        status_url: str = "",
        removes_duplicates: bool = False,
        call_timeout: timedelta = timedelta(seconds=10),
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._session = session
        self._url = url
        self._signer = Webhook(secret)
        self._source = source
        self._status_url = status_url
        self._now = now
        self.guarantee = _GUARANTEES[bool(status_url), removes_duplicates]
        self.call_timeout = call_timeout
        self.reports_status = bool(status_url)

    async def submit(self, parcel: Parcel, deadline: datetime) -> Outcome:
        """Post the parcel once."""
        now = self._now()
        left = (deadline - now).total_seconds()
        if left <= 0:
            return NotApplied("the deadline had passed before the call")
        try:
            content = self._event(parcel, now)
        except UnicodeEncodeError:
            return Refused("expected text that can be written as UTF-8")
        body = http_calls.DeadlineBody(content.encode(), CONTENT_TYPE, deadline, self._now)
        headers = self._headers(parcel.reference, now, content)
        try:
            return await self._post(parcel.reference, body, headers, http_calls.time_out(left))
        except http_calls.FAILURES as exc:
            return http_calls.failure(exc, body)

    async def find(self, reference: str) -> Sequence[Order]:
        """Ask the status URL for the reference.

        Raises:
            CannotTell: there is none, or its answer proves nothing.
        """
        if not self._status_url:
            raise CannotTell("the receiver cannot be asked for a reference while WEBHOOK_OUT_STATUS_URL is not set")
        url = self._status_url.replace("{reference}", quote(reference, safe=""))
        headers = self._headers(reference, self._now(), "")
        time_out = http_calls.time_out(self.call_timeout.total_seconds())
        try:
            async with self._session.get(url, headers=headers, timeout=time_out, allow_redirects=False) as response:
                wait = retry_after.parse(response.headers.get("Retry-After"), self._now())
                body = await read_at_most(response, LARGEST_ANSWER)
        except http_calls.FAILURES as exc:
            raise CannotTell(f"no answer from WEBHOOK_OUT_STATUS_URL ({type(exc).__name__})") from None
        try:
            return orders_in(response.status, body, reference)
        except CannotTell as exc:
            exc.retry_after = wait
            raise

    async def status(self, order: str, reference: str) -> Order:
        """Ask the status URL for the reference, and take the order with this id where there are several.

        Raises:
            CannotTell: there is no status URL, its answer proves nothing, or it does not know the order.
        """
        found = await self.find(reference)
        if len(found) == 1:
            return found[0]  # the answer to the POST need not have had the id that this one has
        for known in found:
            if known.id == order:
                return known
        raise CannotTell(f"expected one order with this id from WEBHOOK_OUT_STATUS_URL, got {len(found)} others")

    async def page(self, since: datetime, after: str | None) -> Page:  # noqa: ARG002 - nothing lists them
        """Raise `CannotTell`: the receiver has no list."""
        raise CannotTell("the receiver of WEBHOOK_OUT_URL cannot list its orders")

    async def cancel(self, order: str, reference: str) -> Cancellation:  # noqa: ARG002 - no order can be cancelled
        """Say that the receiver cannot be told."""
        return Cancellation.UNSUPPORTED

    async def check(self) -> Sequence[Finding]:
        """Ask with OPTIONS, which asks for nothing to be done, whether anyone answers; and the status URL, if any."""
        findings = [await self._check_reach()]
        if self._status_url:
            findings.append(await self._check_status())
        return findings

    async def close(self) -> None:
        """Do nothing: the session belongs to the process."""

    async def _check_reach(self) -> Finding:
        try:
            async with self._session.options(
                self._url, timeout=_CHECK_TIME_OUT, allow_redirects=False, headers=http_calls.CLOSE
            ) as response:
                return Finding(ok=True, what=f"WEBHOOK_OUT_URL answers ({response.status} to OPTIONS)")
        except http_calls.FAILURES as exc:
            what = f"WEBHOOK_OUT_URL is out of reach ({type(exc).__name__})"
            return Finding(ok=False, what=what, todo="start the receiver, or correct WEBHOOK_OUT_URL")

    async def _check_status(self) -> Finding:
        try:
            found = await self.find(_NO_PARCEL)
        except CannotTell as exc:
            todo = 'correct WEBHOOK_OUT_STATUS_URL; a reference without a parcel is a 404 with {"reference": "…"}'
            return Finding(ok=False, what=str(exc), todo=todo)
        if found:
            todo = "have WEBHOOK_OUT_STATUS_URL answer 404 for what it does not know"
            return Finding(ok=False, what="WEBHOOK_OUT_STATUS_URL knows a parcel that was never made", todo=todo)
        return Finding(ok=True, what="WEBHOOK_OUT_STATUS_URL answers, and says which parcels there are not")

    def _event(self, parcel: Parcel, now: datetime) -> str:
        subject, _ = reference.split(parcel.reference)
        event = _Event(id=parcel.reference, source=self._source, subject=subject, time=now, data=parcel)
        return msgspec.json.encode(event).decode()

    def _headers(self, message: str, now: datetime, content: str) -> Mapping[str, str]:
        return {
            "webhook-id": message,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": self._signer.sign(message, now, content),
            **http_calls.CLOSE,  # a connection for each parcel costs less than a person's look at an unclear one
        }

    async def _post(
        self,
        parcel_reference: str,
        body: http_calls.DeadlineBody,
        headers: Mapping[str, str],
        time_out: aiohttp.ClientTimeout,
    ) -> Outcome:
        async with self._session.post(
            self._url, data=body, headers=headers, timeout=time_out, allow_redirects=False
        ) as response:
            accepted = MEANINGS.get(response.status) is Meaning.APPLIED
            answer = Answer(
                response.status,
                order=await _order_of(response) if accepted else "",
                retry_after=retry_after.parse(response.headers.get("Retry-After"), self._now()),
                request=http_calls.request_id(response),
            )
        return classify(answer, parcel_reference, can_be_asked=self.guarantee.can_be_asked)


def build(settings: Settings, session: aiohttp.ClientSession) -> WebhookOut:
    """Return the provider of these settings."""
    return WebhookOut(
        session,
        url=settings.webhook_out_url,
        secret=settings.webhook_out_secret,
        source=f"/{settings.key_prefix}",
        status_url=settings.webhook_out_status_url,
        removes_duplicates=settings.webhook_out_removes_duplicates,
        call_timeout=settings.provider_timeout,
    )


async def _order_of(response: aiohttp.ClientResponse) -> str:
    """Return the order's id; an accepted parcel stays accepted when the optional body cannot be read."""
    try:
        return order_in(await read_at_most(response, LARGEST_ANSWER) or b"")
    except http_calls.FAILURES:
        return ""
