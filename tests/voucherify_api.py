"""A server that behaves like Voucherify's REST API: redemptions with filters and pages, customers, rate limits.

Facts: https://docs.voucherify.io/api-reference/redemptions/list-redemptions and
https://docs.voucherify.io/api-reference/customers/get-customer.
"""

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta

from aiohttp import web

from tests.builders import CUSTOMER, Tree, customer, redemption
from tests.misbehaviours import Behaviour
from tests.serving import served

APP_ID, APP_TOKEN = "app-of-tests", "token-of-tests"
_MOST = 100


class VoucherifyServer:
    """A project's redemptions and customers, and how they are told."""

    def __init__(self) -> None:
        self.entries: list[Tree] = []
        self.customers: dict[str, Tree] = {
            CUSTOMER: customer(
                address={"line_1": "Probestrasse 7", "city": "Musterstadt", "postal_code": "10117", "country": "DE"}
            )
        }
        self.asked: list[dict[str, str]] = []
        """The query of each call for redemptions that was answered."""
        self.refused = 0
        self.misbehaviours: list[Behaviour] = []
        """What the next calls for redemptions meet instead."""
        self.calls_left: int | None = None
        """So many calls are answered, and the rest is told to wait; None: no limit."""
        self.obeys_order = True
        self.obeys_after = True
        self.url = ""

    def redeem(self, name: str, at: datetime, reward: Tree | None = None, **changes: object) -> Tree:
        """Add a redemption of this id; without a reward among the changes it is for a product."""
        entry = redemption(reward, id=name, date=_written(at), **changes)
        self.entries.append(entry)
        return entry

    def roll_back(self, name: str, at: datetime, *, tells_status: bool = True) -> None:
        """Undo a redemption, as far as it is listed: its status changes, and the list has a rollback."""
        for entry in self.entries:
            if entry["id"] == name and tells_status:
                entry["status"] = "ROLLED_BACK"
        self.entries.append(
            {
                "id": f"r{name}",
                "object": "redemption_rollback",
                "date": _written(at),
                "amount": -50,
                "redemption": name,
                "reason": "tests",
                "result": "SUCCESS",
                "status": "SUCCEEDED",
                "customer_id": CUSTOMER,
            }
        )

    @property
    def environment(self) -> dict[str, str]:
        """Settings by which it is asked."""
        return {"VOUCHERIFY_API_URL": self.url, "VOUCHERIFY_APP_ID": APP_ID, "VOUCHERIFY_APP_TOKEN": APP_TOKEN}

    async def redemptions(self, request: web.Request) -> web.StreamResponse:
        """List redemptions."""
        if self.misbehaviours:
            return await self.misbehaviours.pop(0)(request)
        refusal = self._refusal(request)
        if refusal is not None:
            self.refused += 1
            return refusal
        query = request.query
        limit, page = int(query.get("limit", "10")), int(query.get("page", "1"))
        if not (1 <= limit <= _MOST and page >= 1):
            return web.json_response({"code": 400, "key": "invalid_query_params"}, status=400)
        self.asked.append(dict(query))
        after = query.get("[created_at][after]", "") if self.obeys_after else ""
        found = [
            entry
            for entry in self.entries
            if _at(entry) > (datetime.fromisoformat(after) if after else datetime.min.replace(tzinfo=UTC))
            and query.get("result") in {None, entry["result"]}
        ]
        is_ascending = query.get("order") == "created_at" and self.obeys_order
        found.sort(key=_at, reverse=not is_ascending)
        listed = found[(page - 1) * limit : page * limit]
        answer = {"object": "list", "data_ref": "redemptions", "redemptions": listed, "total": len(found)}
        return web.json_response(answer, headers=self._limits())

    async def customer(self, request: web.Request) -> web.StreamResponse:
        """Show a customer."""
        refusal = self._refusal(request)
        if refusal is not None:
            return refusal
        found = self.customers.get(request.match_info["id"])
        if found is None:
            return web.json_response({"code": 404, "key": "not_found"}, status=404, headers=self._limits())
        return web.json_response(found, headers=self._limits())

    def _refusal(self, request: web.Request) -> web.Response | None:
        if (request.headers.get("X-App-Id"), request.headers.get("X-App-Token")) != (APP_ID, APP_TOKEN):
            return web.json_response({"code": 401, "key": "unauthorized"}, status=401)
        if self.calls_left is None:
            return None
        if self.calls_left == 0:
            headers = {**self._limits(), "Retry-After": "1"}
            return web.json_response({"code": 429, "key": "too_many_requests"}, status=429, headers=headers)
        self.calls_left -= 1
        return None

    def _limits(self) -> dict[str, str]:
        left = self.calls_left if self.calls_left is not None else 99
        return {"X-Rate-Limit-Limit": "100", "X-Rate-Limit-Remaining": str(left), "X-Rate-Limit-Reset": "1"}


@contextlib.asynccontextmanager
async def running() -> AsyncIterator[VoucherifyServer]:
    """Such a server on a free port, as long as the context lasts."""
    server = VoucherifyServer()
    app = web.Application()
    app.router.add_get("/v1/redemptions", server.redemptions)
    app.router.add_get("/v1/customers/{id}", server.customer)
    async with served(app) as url:
        server.url = url
        yield server


@contextlib.contextmanager
def running_beside() -> Iterator[VoucherifyServer]:
    """The same in a thread of its own, for what runs outside any loop."""
    ready, over = threading.Event(), threading.Event()
    found: list[VoucherifyServer] = []

    async def serve() -> None:
        async with running() as server:
            found.append(server)
            ready.set()
            await asyncio.to_thread(over.wait)

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    try:
        assert ready.wait(10)
        yield found[0]
    finally:
        over.set()
        thread.join()


def _at(entry: Tree) -> datetime:
    return datetime.fromisoformat(entry["date"])


def _written(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def ago(**span: float) -> datetime:
    """Return a time in the past, to the millisecond as Voucherify tells it."""
    at = datetime.now(UTC) - timedelta(**span)
    return at.replace(microsecond=at.microsecond // 1000 * 1000)
