"""A ShipBob that keeps its orders in memory and answers as ShipBob's OpenAPI document of 2026-01 says.

Where the document says nothing, it does what ShipBob's guides say: a reference stays taken once it was used in a
channel, cancelled or not; an article that is not in stock makes an order that waits as an exception. `tests/shipbob`
compares it with the document.
"""

import json
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Self

from aiohttp import web

TOKEN = "the token of the tests"
CHANNEL = 4711
READ_ONLY_CHANNEL = 4712

Tree = dict[str, Any]

_NEEDED = ("products", "recipient", "reference_id", "shipping_method", "type")
_NO_SHIPMENT_CAN_BE_STOPPED = {"Completed", "LabeledCreated"}
_WHOLE = {"Completed": "Fulfilled", "LabeledCreated": "Processing", "Cancelled": "Cancelled"}


class ShipBobFake:
    """One account with two channels, of which one takes orders.

    Args:
        port: where to listen; 0 takes a free port.
    """

    def __init__(self, *, port: int = 0) -> None:
        self.url = ""
        self.orders: dict[int, Tree] = {}
        self.articles: set[str] | None = None
        """References of the products in stock; None: all that are asked for."""
        self.calls: Counter[str] = Counter()
        """Requests by method and path, with ids left out."""
        self.bodies: list[Tree] = []
        """What was posted as orders."""
        self.headers: list[Mapping[str, str]] = []
        """The headers that came with them."""
        self.peers: list[object] = []
        """The other end of the connection of each call."""
        self.calls_left: int | None = None
        """How many calls the limit still allows; None: there is no limit and no header of one."""
        self.wait = "7"
        """What `x-retry-after` says when the limit is reached; empty: the header is not sent."""
        self.page_limit = 250
        """The most orders on a page, whatever is asked for."""
        self._port = port

    async def __aenter__(self) -> Self:
        app = web.Application(middlewares=[self._at_the_gate])
        app.router.add_get("/2026-01/channel", self._channels)
        app.router.add_post("/2026-01/order", self._create)
        app.router.add_get("/2026-01/order", self._list)
        app.router.add_get(r"/2026-01/order/{id:\d+}", self._show)
        app.router.add_post(r"/2026-01/order/{id:\d+}:cancel", self._cancel)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self._port).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    def with_reference(self, reference: str) -> list[Tree]:
        """Return all orders with this reference, cancelled ones too."""
        return [order for order in self.orders.values() if order["reference_id"] == reference]

    def live(self, reference: str) -> int:
        """Count the orders with this reference that are not cancelled."""
        return sum(order["status"] != "Cancelled" for order in self.with_reference(reference))

    def add(self, reference: str, *, channel: int = CHANNEL, article: str = "mug", quantity: int = 1) -> Tree:
        """Put an order in as if it had been posted, and return it."""
        number = 1_000_001 + len(self.orders)
        now = _now()
        stocked = self.articles is None or article in self.articles
        status = "Processing" if stocked else "Exception"
        detail = {"id": 303, "name": "OutOfStock", "description": "No stock", "inventory_id": None}
        order: Tree = {
            "id": number,
            "reference_id": reference,
            "order_number": reference,
            "status": status,
            "type": "DTC",
            "created_date": now,
            "purchase_date": None,
            "shipping_method": "Standard",
            "channel": {"id": channel, "name": "Rewards"},
            "products": [{"id": 5, "reference_id": article, "sku": article, "quantity": quantity, "unit_price": None}],
            "tags": None,
            "shipments": [
                {
                    "id": number * 10,
                    "order_id": number,
                    "reference_id": reference,
                    "status": status,
                    "status_details": [] if stocked else [detail],
                    "created_date": now,
                    "delivery_date": None,
                },
            ],
        }
        self.orders[number] = order
        return order

    def move(self, reference: str, status: str, *, detail: str = "", tracking: str = "", delivered: str = "") -> bool:
        """Give the shipments of a live order another status; False where there is no such order."""
        live = [order for order in self.with_reference(reference) if order["status"] != "Cancelled"]
        for order in live:
            order["status"] = _WHOLE.get(status, "Exception" if status in {"Exception", "OnHold"} else "Processing")
            for shipment in order["shipments"]:
                shipment["status"] = status
                shipment["status_details"] = [{"id": 1, "name": detail, "description": None}] if detail else None
                shipment["delivery_date"] = delivered or None
                if tracking:
                    shipment["tracking"] = {"carrier": "Testpost", "tracking_number": tracking, "tracking_url": None}
        return bool(live)

    @web.middleware
    async def _at_the_gate(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        self.peers.append(request.transport and request.transport.get_extra_info("peername"))
        route = request.match_info.route.resource
        self.calls[f"{request.method} {route.canonical if route else request.path}"] += 1
        if request.headers.get("Authorization") != f"Bearer {TOKEN}":
            return web.json_response({"message": "Unauthorized"}, status=401)
        if self.calls_left is None:
            return await handler(request)
        if self.calls_left == 0:
            answer: web.StreamResponse = web.json_response({"statusCode": 429, "message": "Too many"}, status=429)
            if self.wait:
                answer.headers["x-retry-after"] = self.wait
        else:
            self.calls_left -= 1
            answer = await handler(request)
        answer.headers["x-remaining-calls"] = str(self.calls_left)
        return answer

    async def _channels(self, _request: web.Request) -> web.Response:
        items = [
            {"id": READ_ONLY_CHANNEL, "name": "Shop", "application_name": "Shop", "scopes": ["orders_read"]},
            {"id": CHANNEL, "name": "Rewards", "application_name": "PAT", "scopes": ["orders_read", "orders_write"]},
        ]
        return web.json_response({"items": items, "next": None, "prev": None})

    async def _create(self, request: web.Request) -> web.Response:
        body = json.loads(await request.read())
        self.bodies.append(body)
        self.headers.append(request.headers)
        missing = [name for name in _NEEDED if not body.get(name)]
        if missing or request.headers.get("shipbob_channel_id") != str(CHANNEL):
            return _faults(400, *(missing or ["shipbob_channel_id"]))
        if len(body["recipient"]["address"]["country"]) != 2:
            return _faults(422, "recipient.address.country")
        if self.with_reference(body["reference_id"]):
            return _faults(422, "")
        product = body["products"][0]
        order = self.add(body["reference_id"], article=product["reference_id"], quantity=product["quantity"])
        order["recipient"] = body["recipient"]
        return web.json_response(order, status=201)

    async def _list(self, request: web.Request) -> web.Response:
        query = request.query
        found = [order for order in self.orders.values() if self._seen(request, order)]
        if "ReferenceIds" in query:
            found = [order for order in found if order["reference_id"] in query["ReferenceIds"].split(",")]
        if "StartDate" in query:
            start = datetime.fromisoformat(query["StartDate"])
            found = [order for order in found if datetime.fromisoformat(order["created_date"]) > start]
        size = min(int(query.get("Limit", "50")), self.page_limit)
        first = (int(query.get("Page", "1")) - 1) * size
        return web.json_response(found[first : first + size])

    async def _show(self, request: web.Request) -> web.Response:
        order = self.orders.get(int(request.match_info["id"]))
        if order is None or not self._seen(request, order):
            return web.json_response({"message": "Not Found"}, status=404)
        return web.json_response(order)

    async def _cancel(self, request: web.Request) -> web.Response:
        order = self.orders.get(int(request.match_info["id"]))
        if order is None:
            return web.json_response({"message": "Not Found"}, status=404)
        if order["status"] == "Cancelled":
            return _faults(422, "status")
        results = [self._stop(shipment) for shipment in order["shipments"]]
        stopped = sum(result["is_success"] for result in results)
        status = "Success" if stopped == len(results) else "PartialSuccess" if stopped else "Failure"
        if status == "Success":
            order["status"] = "Cancelled"
        return web.json_response(
            {"order_id": order["id"], "status": status, "canceled_shipment_results": results, "order": order}
        )

    def _stop(self, shipment: Tree) -> Tree:
        stopped = shipment["status"] not in _NO_SHIPMENT_CAN_BE_STOPPED
        if stopped:
            shipment["status"] = "Cancelled"
        return {"shipment_id": shipment["id"], "action": "Cancel", "is_success": stopped, "reason": None}

    def _seen(self, request: web.Request, order: Tree) -> bool:
        channel = request.headers.get("shipbob_channel_id")
        return channel is None or channel == str(order["channel"]["id"])


def _faults(status: int, *fields: str) -> web.Response:
    return web.json_response({field: ["This cannot be used."] for field in fields}, status=status)


def _now() -> str:
    return f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
