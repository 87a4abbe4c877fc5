"""The other side of the fifth provider: a shop over HTTP that keeps its orders in memory."""

from datetime import UTC, datetime
from typing import Self

import msgspec
from aiohttp import web

from worker.providers.protocol import Order, Parcel, Progress

UNKNOWN_ARTICLE = "no-such-article"
_PAGE = 2


class Taken(msgspec.Struct, kw_only=True):
    """One order of the shop."""

    order: Order
    parcel: Parcel
    at: datetime


class ShopServer:
    """Listens on a free port; a reference is unique in it, cancelled orders included."""

    def __init__(self) -> None:
        self.taken: list[Taken] = []
        self.url = ""

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_post("/orders", self._take)
        app.router.add_get("/orders", self._tell)
        app.router.add_post("/orders/{id}/cancel", self._cancel)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    def having(self, reference: str) -> list[Taken]:
        """Return the orders with a reference."""
        return [taken for taken in self.taken if taken.order.reference == reference]

    def move(self, reference: str, progress: Progress, *tracking: str) -> None:
        """Let the one order with this reference go on."""
        (taken,) = self.having(reference)
        numbers = (*taken.order.tracking, *tracking)
        taken.order = msgspec.structs.replace(taken.order, progress=progress, tracking=numbers)

    async def _take(self, request: web.Request) -> web.Response:
        parcel = msgspec.json.decode(await request.read(), type=Parcel)
        if parcel.article == UNKNOWN_ARTICLE:
            return web.Response(status=422)
        if self.having(parcel.reference):
            return web.Response(status=409)
        order = Order(
            id=str(len(self.taken) + 1),
            reference=parcel.reference,
            article=parcel.article,
            quantity=parcel.quantity,
        )
        self.taken.append(Taken(order=order, parcel=parcel, at=datetime.now(UTC)))
        return _orders([order], status=201)

    async def _tell(self, request: web.Request) -> web.Response:
        if "reference" in request.query:
            return _orders([taken.order for taken in self.having(request.query["reference"])])
        since, after = datetime.fromisoformat(request.query["since"]), int(request.query["after"] or 0)
        found = [taken.order for taken in self.taken if taken.at >= since and int(taken.order.id) > after]
        return _orders(found[:_PAGE])

    async def _cancel(self, request: web.Request) -> web.Response:
        for taken in self.taken:
            if taken.order.id == request.match_info["id"]:
                if taken.order.progress not in {Progress.OPEN, Progress.CANCELLED}:
                    return web.Response(status=409)
                self.move(taken.order.reference, Progress.CANCELLED)
                return web.Response(status=204)
        return web.Response(status=404)


def _orders(orders: list[Order], status: int = 200) -> web.Response:
    return web.Response(status=status, body=msgspec.json.encode(orders), content_type="application/json")
