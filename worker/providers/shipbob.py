"""The provider `shipbob`: each parcel is an order of one product in a channel at ShipBob.

Unproven: this module and the fake that it is tested with keep to ShipBob's own OpenAPI document of 2026-01, but what
ShipBob really does nobody has seen until someone runs `make test-shipbob` with an account of its sandbox.

| ours | ShipBob's | |
| --- | --- | --- |
| reference | `reference_id` of the order | unique in its channel; a second one is refused with 422 |
| article | `reference_id` of the product | the merchant's own name for it, mostly the SKU |
| article name | `name` of the product | ShipBob makes a product of that name when it does not know the reference |
| quantity | `quantity` | |
| line 1, line 2, city | `address1`, `address2`, `city` | |
| region, postal code | `state`, `zip_code` | |
| company, country | `company_name`, `country` | alpha-2 |
| name, phone | `name`, `phone_number` of the recipient | |
| e-mail | `email` of the recipient | left out where it has no form of one: ShipBob would refuse the whole order |

ShipBob's document states no lengths, so nothing is cut or refused for its length here. An article that ShipBob does
not know is no refusal either: its order waits as an exception.

ShipBob counts 150 calls a minute for each user and application. When an answer says that hardly any is left, no call
is made until the time that it names is over.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from http import HTTPStatus

import aiohttp
import msgspec

from rewardpost.addresses import PostalAddress
from rewardpost.settings import Settings
from worker.bounded_body import read_at_most
from worker.providers.http_calls import CLOSE, FAILURES, DeadlineBody, failure, request_id, time_out
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
from worker.providers.shipbob_answers import (
    Answer,
    asked_wait,
    cancellation,
    channel_finding,
    classify,
    pause,
)
from worker.providers.shipbob_orders import LARGEST_PAGE, order_found, orders_found, page_found, page_number

VERSION = "2026-01"
SHIPPING_METHOD = "Standard"
"""ShipBob maps a method's name to one of its services in the merchant's own settings; this one it has by itself."""
LARGEST_ANSWER = 16 * 1024 * 1024
"""Bytes of an answer that are read: a full page of orders with their shipments and cartons has a few million."""

_LIMIT_REACHED = "ShipBob's limit of calls is reached"
_REFERENCE = re.compile(r"[A-Za-z0-9_-]{1,40}", re.ASCII)
_ORDER = re.compile(r"[0-9]{1,19}", re.ASCII)
_EMAIL = re.compile(r"[A-Za-z0-9._%+-]+@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*\.[A-Za-z]{2,}", re.ASCII)
_OUR_CREDENTIALS = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN})
_REFUSALS = frozenset({HTTPStatus.BAD_REQUEST, HTTPStatus.UNPROCESSABLE_ENTITY})


class _Address(msgspec.Struct, frozen=True, omit_defaults=True):
    address1: str
    city: str
    country: str
    address2: str | None = None
    company_name: str | None = None
    state: str | None = None
    zip_code: str | None = None


class _Recipient(msgspec.Struct, frozen=True, omit_defaults=True):
    name: str
    address: _Address
    email: str | None = None
    phone_number: str | None = None


class _Product(msgspec.Struct, frozen=True):
    reference_id: str
    name: str
    quantity: int


class _NewOrder(msgspec.Struct, frozen=True, kw_only=True):
    reference_id: str
    shipping_method: str = SHIPPING_METHOD
    type: str = "DTC"
    recipient: _Recipient
    products: list[_Product]


class ShipBob:
    """A channel of a ShipBob account."""

    name = "shipbob"
    guarantee = Guarantee.UNIQUE_KEY
    # How soon a list shows an order that was just taken, ShipBob does not say: a careful guess until it is measured.
    look_up_lag = timedelta(seconds=60)
    reports_status = True
    lists_orders = True

    def __init__(
        self,
        session: aiohttp.ClientSession,
        *,
        url: str,
        token: str,
        channel_id: int,
        call_timeout: timedelta = timedelta(seconds=10),
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.call_timeout = call_timeout
        self._session = session
        self._url = f"{url.rstrip('/')}/{VERSION}"
        self._channel_id = channel_id
        # Look-ups too: a connection that one of them left open would be taken for the next order.
        self._headers = {"Authorization": f"Bearer {token}", "shipbob_channel_id": str(channel_id), **CLOSE}
        self._now = now
        self._no_call_before = datetime.min.replace(tzinfo=UTC)

    async def submit(self, parcel: Parcel, deadline: datetime) -> Outcome:
        """Post the order once."""
        now = self._now()
        paused = self._pause(now)
        if paused is not None:
            return NotApplied(_LIMIT_REACHED, retry_after=paused, spends_attempt=False)
        left = (deadline - now).total_seconds()
        if left <= 0:
            return NotApplied("the deadline had passed before the call")
        try:
            content = msgspec.json.encode(_new_order(parcel))
        except UnicodeEncodeError:
            return Refused("expected text that can be written as UTF-8")
        body = DeadlineBody(content, "application/json", deadline, self._now)
        try:
            answer = await self._post("/order", time_out(left), body)
        except FAILURES as exc:
            return failure(exc, body)
        return classify(answer, parcel.reference)

    async def find(self, reference: str) -> Sequence[Order]:
        """Return the orders of this channel with exactly this reference."""
        if _REFERENCE.fullmatch(reference) is None:
            raise CannotTell("expected a reference of at most 40 of A-Z a-z 0-9 _ -")  # a comma would be two of them
        body = await self._get("/order", {"ReferenceIds": reference, "Limit": str(LARGEST_PAGE)})
        return orders_found(body, reference)

    async def status(self, order: str, reference: str) -> Order:
        """Return the order with its shipments."""
        if _ORDER.fullmatch(order) is None:
            raise CannotTell("expected ShipBob's number of an order")
        return order_found(await self._get(f"/order/{order}", {}), order, reference)

    async def page(self, since: datetime, after: str | None) -> Page:
        """Return our orders on one page of the channel's orders since a time."""
        start = (since - timedelta(seconds=1)).astimezone(UTC)  # "later than" may leave out what is as old
        query = {
            "StartDate": f"{start:%Y-%m-%dT%H:%M:%SZ}",
            "Page": str(page_number(after)),
            "Limit": str(LARGEST_PAGE),
        }
        return page_found(await self._get("/order", query), after)

    async def cancel(self, order: str, reference: str) -> Cancellation:
        """Ask to cancel the order and all its shipments; a refusal of one that is cancelled already is none."""
        if _ORDER.fullmatch(order) is None:
            return Cancellation.UNSUPPORTED
        if self._pause(self._now()) is not None:
            return Cancellation.UNKNOWN
        try:
            answer = await self._post(f"/order/{order}:cancel", time_out(self.call_timeout.total_seconds()))
        except FAILURES:
            return Cancellation.UNKNOWN
        if answer.status == HTTPStatus.OK:
            return cancellation(answer.body or b"", reference)
        if answer.status == HTTPStatus.NOT_FOUND:
            return Cancellation.UNSUPPORTED
        return await self._after_refusal(order, reference) if answer.status in _REFUSALS else Cancellation.UNKNOWN

    async def check(self) -> Sequence[Finding]:
        """Ask for the token's channels."""
        try:
            body = await self._get("/channel", {"RecordsPerPage": str(LARGEST_PAGE)})
            return [channel_finding(body, self._channel_id)]
        except CannotTell as exc:
            return [Finding(ok=False, what=str(exc), todo="check SHIPBOB_URL and SHIPBOB_TOKEN")]

    async def close(self) -> None:
        """Do nothing: the session belongs to the process."""

    def _pause(self, now: datetime) -> timedelta | None:
        return self._no_call_before - now if now < self._no_call_before else None

    def _note_limit(self, response: aiohttp.ClientResponse) -> None:
        now = self._now()
        rest = pause(response.status, response.headers, now)
        if rest is not None:
            self._no_call_before = max(self._no_call_before, now + rest)

    async def _after_refusal(self, order: str, reference: str) -> Cancellation:
        try:
            found = await self.status(order, reference)
        except CannotTell:
            return Cancellation.UNKNOWN
        return Cancellation.TOO_LATE if found.live else Cancellation.CANCELLED

    async def _post(self, path: str, bounds: aiohttp.ClientTimeout, body: DeadlineBody | None = None) -> Answer:
        async with self._session.post(
            self._url + path,
            data=body,
            headers=self._headers,
            timeout=bounds,
            allow_redirects=False,  # the token and the address are for this host alone
        ) as response:
            self._note_limit(response)
            return Answer(
                response.status,
                body=await _body_of(response),
                wait=self._pause(self._now()) or asked_wait(response.headers, self._now()),
                request=request_id(response),
            )

    async def _get(self, path: str, query: Mapping[str, str]) -> bytes:
        paused = self._pause(self._now())
        if paused is not None:
            raise CannotTell(_LIMIT_REACHED, retry_after=paused)
        try:
            async with self._session.get(
                self._url + path,
                params=query,
                headers=self._headers,
                timeout=aiohttp.ClientTimeout(total=self.call_timeout.total_seconds()),
                allow_redirects=False,
            ) as response:
                self._note_limit(response)
                if response.status == HTTPStatus.OK:
                    body = await read_at_most(response, LARGEST_ANSWER)
                else:
                    raise self._no_answer(response)
        except FAILURES as exc:
            raise CannotTell(f"ShipBob could not be asked ({type(exc).__name__})") from exc
        if body is None:
            raise CannotTell(f"expected at most {LARGEST_ANSWER} bytes from ShipBob")
        return body

    def _no_answer(self, response: aiohttp.ClientResponse) -> CannotTell:
        if response.status in _OUR_CREDENTIALS:
            return CannotTell(f"ShipBob refused SHIPBOB_TOKEN ({response.status})")
        now = self._now()
        wait = self._pause(now) or asked_wait(response.headers, now)
        return CannotTell(f"expected 200 from ShipBob, got {response.status}", retry_after=wait)


def build(settings: Settings, session: aiohttp.ClientSession) -> ShipBob:
    """Return the provider of these settings."""
    return ShipBob(
        session,
        url=settings.shipbob_url,
        token=settings.shipbob_token,
        channel_id=settings.shipbob_channel_id,
        call_timeout=settings.provider_timeout,
    )


def _new_order(parcel: Parcel) -> _NewOrder:
    return _NewOrder(
        reference_id=parcel.reference,
        recipient=_recipient(parcel.address),
        products=[_Product(parcel.article, parcel.article_name or parcel.article, parcel.quantity)],
    )


def _recipient(address: PostalAddress) -> _Recipient:
    return _Recipient(
        name=address.name,
        address=_Address(
            address1=address.line_1,
            city=address.city,
            country=address.country,
            address2=address.line_2 or None,
            company_name=address.company or None,
            state=address.region or None,
            zip_code=address.postal_code or None,
        ),
        email=address.email if _EMAIL.fullmatch(address.email) else None,
        phone_number=address.phone or None,
    )


async def _body_of(response: aiohttp.ClientResponse) -> bytes | None:
    try:
        return await read_at_most(response, LARGEST_ANSWER)
    except FAILURES:
        return None
