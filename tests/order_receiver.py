"""An operator's own system for the `webhook` provider: it verifies, keeps orders, and tells what became of them."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from aiohttp import web
from standardwebhooks import Webhook

UNKNOWN_ARTICLE = "no-such-article"


@dataclass
class Kept:
    """One order of the receiver."""

    id: str
    parcel: Mapping[str, Any]
    state: str = "open"
    tracking: tuple[str, ...] = ()

    def told(self) -> dict[str, Any]:
        """Return what the status URL says of it."""
        return {
            "reference": self.parcel["reference"],
            "order": self.id,
            "state": self.state,
            "tracking": list(self.tracking),
            "article": self.parcel["article"],
            "quantity": self.parcel["quantity"],
        }


class OrderReceiver:
    """Listens on a free port; takes a reference once where it removes duplicates, otherwise as often as it comes."""

    def __init__(self, secret: str, *, removes_duplicates: bool) -> None:
        self.orders: list[Kept] = []
        self.url = ""
        self._verifier = Webhook(secret)
        self._removes_duplicates = removes_duplicates

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_post("/parcels", self._take)
        app.router.add_get("/parcels/{reference}", self._tell)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    def having(self, reference: str) -> list[Kept]:
        """Return the orders with a reference."""
        return [order for order in self.orders if order.parcel["reference"] == reference]

    async def _take(self, request: web.Request) -> web.Response:
        body = await request.read()
        self._verifier.verify(body, dict(request.headers))
        parcel = json.loads(body)["data"]
        if parcel["article"] == UNKNOWN_ARTICLE:
            return web.json_response({"error": "no such article"}, status=422)
        before = self.having(parcel["reference"])
        if before and self._removes_duplicates:
            return web.json_response({"order": before[0].id})
        self.orders.append(Kept(f"A-{len(self.orders) + 1}", parcel))
        return web.json_response({"order": self.orders[-1].id}, status=201)

    async def _tell(self, request: web.Request) -> web.Response:
        reference = request.match_info["reference"]
        self._verifier.verify(await request.read(), dict(request.headers), json_parse=False)
        assert request.headers["webhook-id"] == reference
        told = [order.told() for order in self.having(reference)]
        if not told:
            return web.json_response({"reference": reference}, status=404)
        return web.json_response(told[0] if len(told) == 1 else told)
