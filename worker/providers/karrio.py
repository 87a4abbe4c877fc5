"""The provider `karrio`: each parcel is an order of a Karrio server (https://github.com/karrioapi/karrio).

Karrio keeps (account, test mode, `source`, `order_id`) unique: `order_id` is our reference, `source` is `SOURCE`.
What follows from its own ways, read in its source (karrio-server-orders 2026.1.32) and seen on a running server:

| Karrio | here |
| --- | --- |
| refuses an `order_id` that it has, with 409 | a refusal, after which the core looks |
| frees the `order_id` once the order is cancelled or delivered | the look-up is what keeps those from going out again |
| hides archived orders from every look-up, while the 409 stays | refused and not found: a person is asked |
| shows a token of test mode only the orders of test mode | `check` says so: those orders send nothing |
| lets an account call 600 times a minute (`USER_RATE_LIMIT`) | set `PROVIDER_CALLS_PER_SECOND` to less than 10 |
| wants a weight of each item | `WEIGHT_KG` |
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from urllib.parse import quote, urlencode

import aiohttp
import msgspec

from rewardpost.reference import PREFIX
from rewardpost.settings import Settings
from worker import retry_after
from worker.bounded_body import read_at_most
from worker.providers import http_calls
from worker.providers.karrio_answers import SOURCE, Answer, classify, listed_in, order_in
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
    Progress,
    Refused,
)

WEIGHT_KG = 0.5
"""Weight of an item while articles have none of their own; whoever buys the label sees it and can correct it."""
PAGE = 50
"""Orders asked for at a time."""
LARGEST_ANSWER = 8 * 1024 * 1024
"""Bytes of an answer that are read; an order with shipments and their rates has some ten thousand."""
LONGEST_TITLE = 200
"""Characters that Karrio takes of an item's title."""

_JSON = "application/json"
_OK = 200
_CREDENTIALS = frozenset({401, 403})
_CONFLICT = 409
_CHECK_TIME_OUT = timedelta(seconds=5)
_CHECK_URL = "check KARRIO_URL: it is the API's address, without /v1"


class Karrio:
    """The orders of one Karrio account."""

    name = "karrio"
    guarantee = Guarantee.UNIQUE_KEY
    look_up_lag = timedelta(seconds=1)
    """A look-up reads the database that the order was committed to. The second is for a request that is in the server
    when our call ends."""
    reports_status = True
    lists_orders = True

    def __init__(
        self,
        session: aiohttp.ClientSession,
        *,
        url: str,
        token: str,
        call_timeout: timedelta,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.call_timeout = call_timeout
        self._session = session
        self._orders = f"{url.rstrip('/')}/v1/orders"
        self._headers = {"Authorization": f"Token {token}", "Accept": _JSON, **http_calls.CLOSE}
        self._now = now

    async def submit(self, parcel: Parcel, deadline: datetime) -> Outcome:
        """Post the order once."""
        left = (deadline - self._now()).total_seconds()
        if left <= 0:
            return NotApplied("the deadline had passed before the call")
        try:
            content = msgspec.json.encode(_order_of(parcel))
        except UnicodeEncodeError:
            return Refused("expected text that can be written as UTF-8")
        body = http_calls.DeadlineBody(content, _JSON, deadline, self._now)
        try:
            answer = await self._post(self._orders, body, http_calls.time_out(left))
        except http_calls.FAILURES as exc:
            return http_calls.failure(exc, body)
        return classify(answer, parcel.reference)

    async def find(self, reference: str) -> Sequence[Order]:
        """Return every order with this reference that is not archived, cancelled ones too.

        Raises:
            CannotTell: Karrio could not be asked, or answered with anything but all orders of this reference.
        """
        listed = listed_in(await self._get({"order_id": reference, "source": SOURCE, "limit": str(PAGE)}))
        if listed.more or listed.total != listed.length:
            raise CannotTell(f"expected all orders of one reference from Karrio, got {listed.length}/{listed.total}")
        if len(listed.orders) != listed.length or any(order.reference != reference for order in listed.orders):
            raise CannotTell("Karrio answered with an order that was not asked for")
        return listed.orders

    async def status(self, order: str, reference: str) -> Order:
        """Return an order as it stands now.

        Raises:
            CannotTell: Karrio could not be asked, has no such order (any more), or has it under another reference.
        """
        found = order_in(await self._get({}, order), reference)
        if found is None or found.id != order:
            raise CannotTell("expected the order that was asked for from Karrio, got something else")
        return found

    async def page(self, since: datetime, after: str | None) -> Page:
        """Return orders made since a time whose reference is one of ours, newest first; archived ones are missing.

        Raises:
            CannotTell: Karrio could not be asked, or did not answer with a list.
        """
        offset = int(after or 0)
        query = {"source": SOURCE, "created_after": since.isoformat(), "limit": str(PAGE), "offset": str(offset)}
        listed = listed_in(await self._get(query))
        ours = tuple(order for order in listed.orders if order.reference.startswith(PREFIX))
        return Page(orders=ours, next=str(offset + listed.length) if listed.more and listed.length else None)

    async def cancel(self, order: str, reference: str) -> Cancellation:
        """Cancel the order, once; Karrio refuses with 409 what is cancelled already and what is too late alike."""
        deadline = self._now() + self.call_timeout
        body = http_calls.DeadlineBody(b"{}", _JSON, deadline, self._now)
        try:
            answer = await self._post(
                f"{self._one(order)}/cancel", body, http_calls.time_out(self.call_timeout.total_seconds())
            )
            if answer.status == _CONFLICT:
                return _cancellation(await self.status(order, reference))
        except (*http_calls.FAILURES, CannotTell):
            return Cancellation.UNKNOWN
        found = order_in(answer.body, reference) if answer.status == _OK else None
        cancelled = found is not None and not found.live
        return Cancellation.CANCELLED if cancelled else Cancellation.UNKNOWN

    async def check(self) -> Sequence[Finding]:
        """Ask for one order."""
        try:
            async with self._session.get(
                f"{self._orders}?{urlencode({'source': SOURCE, 'limit': '1'})}",
                headers=self._headers,
                timeout=aiohttp.ClientTimeout(total=_CHECK_TIME_OUT.total_seconds()),
                allow_redirects=False,
            ) as response:
                return await _findings(response)
        except http_calls.FAILURES as exc:
            what = f"Karrio is out of reach ({type(exc).__name__})"
            return [Finding(ok=False, what=what, todo="start Karrio, or correct KARRIO_URL")]

    async def close(self) -> None:
        """Do nothing: the session belongs to the process."""

    def _one(self, order: str) -> str:
        return f"{self._orders}/{quote(order, safe='')}"

    async def _post(self, url: str, body: http_calls.DeadlineBody, time_out: aiohttp.ClientTimeout) -> Answer:
        async with self._session.post(
            url, data=body, headers=self._headers, timeout=time_out, allow_redirects=False
        ) as response:
            return Answer(
                response.status,
                body=await read_at_most(response, LARGEST_ANSWER),
                retry_after=retry_after.parse(response.headers.get("Retry-After"), self._now()),
                request=http_calls.request_id(response),
            )

    async def _get(self, query: Mapping[str, str], order: str = "") -> bytes | None:
        url = self._one(order) if order else f"{self._orders}?{urlencode(query)}"
        try:
            async with self._session.get(
                url,
                headers=self._headers,
                timeout=aiohttp.ClientTimeout(total=self.call_timeout.total_seconds()),
                allow_redirects=False,  # the token is for this host alone
            ) as response:
                if response.status != _OK:
                    wait = retry_after.parse(response.headers.get("Retry-After"), self._now())
                    raise CannotTell(f"expected 200 from Karrio, got {response.status}", retry_after=wait)
                return await read_at_most(response, LARGEST_ANSWER)
        except http_calls.FAILURES as exc:
            raise CannotTell(f"Karrio could not be asked ({type(exc).__name__})") from exc


def build(settings: Settings, session: aiohttp.ClientSession) -> Karrio:
    """Return the provider of these settings."""
    return Karrio(session, url=settings.karrio_url, token=settings.karrio_token, call_timeout=settings.provider_timeout)


def _order_of(parcel: Parcel) -> Mapping[str, object]:
    address = parcel.address
    shipping_to = {
        "person_name": address.name,
        "company_name": address.company,
        "address_line1": address.line_1,
        "address_line2": address.line_2,
        "city": address.city,
        "state_code": address.region,
        "postal_code": address.postal_code,
        "country_code": address.country,
        "phone_number": address.phone,
        "email": address.email,
    }
    item = {
        "sku": parcel.article,
        "title": parcel.article_name[:LONGEST_TITLE],
        "quantity": parcel.quantity,
        "weight": WEIGHT_KG,
        "weight_unit": "KG",
    }
    return {
        "order_id": parcel.reference,
        "source": SOURCE,
        "shipping_to": {name: value for name, value in shipping_to.items() if value},
        "line_items": [item],
        "metadata": {"redemption": parcel.redemption} if parcel.redemption else {},
    }


def _cancellation(order: Order) -> Cancellation:
    match order.progress:
        case Progress.CANCELLED:
            return Cancellation.CANCELLED
        case Progress.OPEN:  # in part fulfilled: Karrio wants its shipments cancelled first
            return Cancellation.TOO_LATE if order.tracking else Cancellation.UNKNOWN
        case _:
            return Cancellation.TOO_LATE


async def _findings(response: aiohttp.ClientResponse) -> Sequence[Finding]:
    if response.status in _CREDENTIALS:
        what = f"Karrio refused KARRIO_TOKEN ({response.status})"
        return [Finding(ok=False, what=what, todo="correct KARRIO_TOKEN: an API key of the account")]
    if response.status != _OK:
        return [Finding(ok=False, what=f"expected 200 from Karrio, got {response.status}", todo=_CHECK_URL)]
    try:
        listed_in(await read_at_most(response, LARGEST_ANSWER))
    except CannotTell as exc:
        return [Finding(ok=False, what=str(exc), todo=_CHECK_URL)]
    findings = [Finding(ok=True, what="Karrio answers and accepts KARRIO_TOKEN")]
    if response.headers.get("X-test-mode", "").lower() == "true":
        findings.append(Finding(ok=True, what="KARRIO_TOKEN is of Karrio's test mode: its orders send nothing"))
    return findings
