"""A provider as a newcomer would write it: a small shop that keeps references unique and tells what becomes of orders.

Whatever it answers is read in `fifth_answers`; docs/write-a-provider.md walks through both.
"""

# ruff: noqa: D102 - the protocol says what its methods do

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from urllib.parse import urlencode

import aiohttp
import msgspec

from rewardpost.reference import PREFIX
from tests.conformance.fifth_answers import CANCELLATIONS, Answer, classify, orders_in
from worker import retry_after
from worker.bounded_body import read_at_most
from worker.providers.http_calls import CLOSE, FAILURES, DeadlineBody, failure, time_out
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


class Shop:
    """The orders of one shop."""

    name = "shop"
    guarantee = Guarantee.UNIQUE_KEY
    look_up_lag = timedelta()
    reports_status = lists_orders = True

    def __init__(self, session: aiohttp.ClientSession, url: str, call_timeout: timedelta) -> None:
        self._session, self._url, self.call_timeout = session, url, call_timeout

    async def submit(self, parcel: Parcel, deadline: datetime) -> Outcome:
        left = (deadline - datetime.now(UTC)).total_seconds()
        if left <= 0:
            return NotApplied("the deadline had passed before the call")
        try:
            body = DeadlineBody(msgspec.json.encode(parcel), "application/json", deadline)
        except UnicodeEncodeError:
            return Refused("expected text that can be written as UTF-8")
        try:
            return classify(await self._call("POST", "", body, left), parcel.reference)
        except FAILURES as exc:
            return failure(exc, body)

    async def find(self, reference: str) -> Sequence[Order]:
        return orders_in(await self._ask({"reference": reference}), reference)

    async def status(self, order: str, reference: str) -> Order:
        for known in await self.find(reference):
            if known.id == order:
                return known
        raise CannotTell("the shop does not know this order")

    async def page(self, since: datetime, after: str | None) -> Page:
        orders = orders_in(await self._ask({"since": since.isoformat(), "after": after or ""}))
        ours = tuple(order for order in orders if order.reference.startswith(PREFIX))
        return Page(orders=ours, next=orders[-1].id if orders else None)

    async def cancel(self, order: str, reference: str) -> Cancellation:  # noqa: ARG002 - its own id is enough
        try:
            return CANCELLATIONS.get((await self._call("POST", f"/{order}/cancel")).status, Cancellation.UNKNOWN)
        except FAILURES:
            return Cancellation.UNKNOWN

    async def check(self) -> Sequence[Finding]:
        try:
            await self.find(f"{PREFIX}check")
        except CannotTell as exc:
            return [Finding(ok=False, what=str(exc), todo="start the shop, or correct SHOP_URL")]
        return [Finding(ok=True, what="the shop answers")]

    async def close(self) -> None:
        pass

    async def _ask(self, query: dict[str, str]) -> Answer:
        try:
            return await self._call("GET", f"?{urlencode(query)}")
        except FAILURES as exc:
            raise CannotTell(f"the shop could not be asked ({type(exc).__name__})") from exc

    async def _call(self, method: str, rest: str, body: DeadlineBody | None = None, left: float = 0) -> Answer:
        bounds = time_out(left or self.call_timeout.total_seconds())
        async with self._session.request(
            method, f"{self._url}/orders{rest}", data=body, headers=CLOSE, timeout=bounds, allow_redirects=False
        ) as response:
            wait = retry_after.parse(response.headers.get("Retry-After"), datetime.now(UTC))
            return Answer(response.status, await read_at_most(response, 2**20) or b"", wait)
