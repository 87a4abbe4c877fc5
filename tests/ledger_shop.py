"""A shop over HTTP as `conformance.fifth` knows one, at whose door a test may lose, hold back and watch requests."""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Self

import msgspec
from aiohttp import web

from worker.providers.protocol import Order, Parcel, Progress

_CANCEL = "/cancel"


class LedgerShop:
    """Listens on a free port; a reference is unique among its orders.

    Args:
        frees_references: a cancelled order gives its reference back, as it does at some providers.
        refuses: no order is taken.
        progress: how far an order is from the beginning.
    """

    def __init__(
        self, *, frees_references: bool = False, refuses: bool = False, progress: Progress = Progress.OPEN
    ) -> None:
        self.orders: list[Order] = []
        self.url = ""
        self.lose_requests: list[str] = []
        """Calls (`submit`, `find`, `cancel`) of which the next one breaks off before anything has happened."""
        self.lose_answers: list[str] = []
        """The same, but what is asked for has happened."""
        self.hold_back: list[str] = []
        """Calls of which the next one waits at the door until `let_in` is set, whoever still waits for its answer."""
        self.let_in = asyncio.Event()
        self.held_back = 0
        """How many have waited at the door or still do."""
        self.committed: Counter[str] = Counter()
        """Calls that were carried out."""
        self.repeated = 0
        """How often an order came whose reference was in use; whoever looks before sending again makes it none."""
        self.on_commit: Callable[[str], bool] = lambda _: False
        """Told of each call once it is carried out; True breaks off the answer."""
        self._frees_references = frees_references
        self._refuses = refuses
        self._progress = progress

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_route("*", "/orders{rest:.*}", self._handle)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self.let_in.set()
        await self._runner.cleanup()

    @property
    def live(self) -> list[Order]:
        """Orders that would be sent, or were."""
        return [order for order in self.orders if order.live]

    def move(self, progress: Progress) -> None:
        """Let every order go on."""
        self.orders = [msgspec.structs.replace(order, progress=progress) for order in self.orders]

    async def _handle(self, request: web.Request) -> web.Response:
        call, body = _call(request), await request.read()
        if call == "page":  # an audit's, which comes when it is time for it
            return self._page(request.query)
        if _planned(self.hold_back, call):
            self.held_back += 1
            await self.let_in.wait()
        if _planned(self.lose_requests, call):
            return _cut(request)
        answer = self._carry_out(call, request, body)
        self.committed[call] += 1
        if self.on_commit(call) or _planned(self.lose_answers, call):
            return _cut(request)
        return answer

    def _carry_out(self, call: str, request: web.Request, body: bytes) -> web.Response:
        match call:
            case "submit":
                return self._take(msgspec.json.decode(body, type=Parcel))
            case "cancel":
                return self._cancel(request.match_info["rest"].removeprefix("/").removesuffix(_CANCEL))
            case _:
                return _answer([order for order in self.orders if order.reference == request.query["reference"]])

    def _take(self, parcel: Parcel) -> web.Response:
        if self._refuses:
            return web.Response(status=422)
        in_use = self.live if self._frees_references else self.orders
        if any(order.reference == parcel.reference for order in in_use):
            self.repeated += 1
            return web.Response(status=409)
        order = Order(
            id=str(len(self.orders) + 1), reference=parcel.reference, article=parcel.article, progress=self._progress
        )
        self.orders.append(order)
        return _answer([order], status=201)

    def _page(self, query: Mapping[str, str]) -> web.Response:
        return _answer([order for order in self.orders if int(order.id) > int(query["after"] or 0)])

    def _cancel(self, order_id: str) -> web.Response:
        for position, order in enumerate(self.orders):
            if order.id == order_id:
                if order.progress not in {Progress.OPEN, Progress.CANCELLED}:
                    return web.Response(status=409)
                self.orders[position] = msgspec.structs.replace(order, progress=Progress.CANCELLED)
                return web.Response(status=204)
        return web.Response(status=404)


def _call(request: web.Request) -> str:
    if request.method == "GET":
        return "find" if "reference" in request.query else "page"
    return "cancel" if request.path.endswith(_CANCEL) else "submit"


def _planned(plan: list[str], call: str) -> bool:
    if call not in plan:
        return False
    plan.remove(call)
    return True


def _answer(orders: list[Order], status: int = 200) -> web.Response:
    return web.Response(status=status, body=msgspec.json.encode(orders), content_type="application/json")


def _cut(request: web.Request) -> web.Response:
    if request.transport is not None:
        request.transport.abort()
    return web.Response()
