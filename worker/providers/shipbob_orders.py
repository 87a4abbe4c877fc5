"""What ShipBob says of its orders: how far each has come, and whether a list proves anything; pure, tables are data.

Sources: ShipBob's OpenAPI document of 2026-01 for shapes and enums, and
https://developer.shipbob.com/status-reference for what a shipment's status and its details mean. Texts of ShipBob's
may hold what a person typed, so of a status only codes are kept.
"""

import re
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from rewardpost import reference
from worker.providers.protocol import CannotTell, Order, Page, Progress
from worker.providers.shipbob_answers import Created, decoded

LARGEST_PAGE = 250
"""Orders of one list; the most that ShipBob gives (https://developer.shipbob.com/guides/tracking)."""

ORDER_PROGRESS: Mapping[str, Progress] = {
    "Processing": Progress.OPEN,
    "Exception": Progress.EXCEPTION,
    "PartiallyFulfilled": Progress.OPEN,
    "Fulfilled": Progress.SHIPPED,
    "Cancelled": Progress.CANCELLED,
    "ImportReview": Progress.EXCEPTION,  # nothing says that it ends by itself
}
"""The enum `Orders.OrderStatus`; it decides where there are no shipments."""

SHIPMENT_PROGRESS: Mapping[str, Progress] = {
    "None": Progress.OPEN,
    "Processing": Progress.OPEN,
    "Completed": Progress.SHIPPED,
    "Exception": Progress.EXCEPTION,
    "OnHold": Progress.EXCEPTION,
    "Cancelled": Progress.CANCELLED,
    "CleanSweeped": Progress.EXCEPTION,  # nothing says what becomes of it
    "LabeledCreated": Progress.OPEN,  # labelled, and still in the warehouse
    "ImportReview": Progress.EXCEPTION,
}
"""The enum `Orders.OrderStatusEnum`."""

DETAIL_PROGRESS: Mapping[str, Progress] = {
    "Delivered": Progress.DELIVERED,
    "DeliveryException": Progress.EXCEPTION,  # the carrier could not hand it over; it may be on its way back
}
"""What a detail of a `Completed` shipment changes."""

_CODE = re.compile(r"[A-Za-z0-9_]{1,40}", re.ASCII)
_MOST_NAMED = 5
_LAGGARDS = (Progress.OPEN, Progress.SHIPPED, Progress.DELIVERED)


class _Detail(msgspec.Struct, frozen=True):
    id: int | None = None
    name: str | None = None


class _Tracking(msgspec.Struct, frozen=True):
    tracking_number: str | None = None


class _Shipment(msgspec.Struct, frozen=True):
    status: str | None = None
    delivery_date: str | None = None
    status_details: list[_Detail] | None = None
    tracking: _Tracking | None = None


class _Product(msgspec.Struct, frozen=True):
    reference_id: str | None = None
    quantity: int | None = None


class _Order(Created, frozen=True):
    status: str | None = None
    shipments: list[_Shipment] | None = None
    products: list[_Product] | None = None


def orders_found(body: bytes, reference_id: str) -> Sequence[Order]:
    """Return the orders of a list that was asked for this reference alone.

    Raises:
        CannotTell: it is no list of orders, is not all of it, or lists another reference.
    """
    found = _orders(body)
    if len(found) >= LARGEST_PAGE:
        raise CannotTell(f"expected fewer than {LARGEST_PAGE} orders with one reference")
    if any(order.reference_id != reference_id for order in found):
        raise CannotTell("expected orders with the reference asked for, ShipBob listed another")
    return [_order(order, reference_id) for order in found]


def order_found(body: bytes, order_id: str, reference_id: str) -> Order:
    """Return the order that was asked for by its id.

    Raises:
        CannotTell: it is no order, or another one.
    """
    order = decoded(body, _Order)
    if order is None or str(order.id) != order_id or order.reference_id != reference_id:
        raise CannotTell("expected ShipBob's order with this id and reference, got something else")
    return _order(order, reference_id)


def page_number(after: str | None) -> int:
    """Return the number of the page to ask for; pages count from 1."""
    return 1 if after is None else int(after.partition(":")[0])


def page_found(body: bytes, after: str | None) -> Page:
    """Return our orders of one page.

    An empty page is the last one: how many orders ShipBob puts on a page is its own affair. The name of the next page
    holds the first order of this one, so that a list which never ends is noticed.

    Raises:
        CannotTell: it is no list of orders, or the page before once more.
    """
    found = _orders(body)
    if not found:
        return Page(orders=(), next=None)
    first = str(found[0].id)
    if after is not None and after.partition(":")[2] == first:
        raise CannotTell("expected another page of orders, ShipBob gave the same again")
    ours = tuple(
        _order(order, order.reference_id)
        for order in found
        if order.reference_id and order.reference_id.startswith(reference.PREFIX)
    )
    return Page(orders=ours, next=f"{page_number(after) + 1}:{first}")


def progress_of(status: str | None, shipments: Iterable[_Shipment]) -> tuple[Progress, str]:
    """Return how far an order has come, and why where it cannot go on.

    Its slowest shipment counts, since one of them alone is not the reward. Cancelled shipments count only when all
    are: ShipBob replaces them when it splits an order.
    """
    whole = ORDER_PROGRESS.get(status or "", Progress.EXCEPTION)
    parts = [(shipment, _shipment_progress(shipment)) for shipment in shipments]
    if not parts:
        return whole, f"order {_code(status)}" if whole is Progress.EXCEPTION else ""
    live = [(shipment, progress) for shipment, progress in parts if progress is not Progress.CANCELLED]
    if whole is Progress.CANCELLED or not live:
        if whole is Progress.CANCELLED and not live:
            return Progress.CANCELLED, ""
        return Progress.EXCEPTION, f"order {_code(status)}, {len(live)} of {len(parts)} shipments not cancelled"
    stuck = [shipment for shipment, progress in live if progress is Progress.EXCEPTION]
    if stuck:
        return Progress.EXCEPTION, "; ".join(_why(shipment) for shipment in stuck[:_MOST_NAMED])
    if whole is Progress.EXCEPTION:
        return Progress.EXCEPTION, f"order {_code(status)}"
    return min((progress for _, progress in live), key=_LAGGARDS.index), ""


def _shipment_progress(shipment: _Shipment) -> Progress:
    progress = SHIPMENT_PROGRESS.get(shipment.status or "None", Progress.EXCEPTION)
    if progress is not Progress.SHIPPED:
        return progress
    if shipment.delivery_date:
        return Progress.DELIVERED
    said = {DETAIL_PROGRESS.get(detail.name or "") for detail in shipment.status_details or ()}
    return next((known for known in DETAIL_PROGRESS.values() if known in said), progress)


def _why(shipment: _Shipment) -> str:
    details = [
        detail.name if _CODE.fullmatch(detail.name or "") else f"detail {detail.id}"
        for detail in (shipment.status_details or ())[:_MOST_NAMED]
    ]
    return f"shipment {_code(shipment.status)}" + (f" ({', '.join(map(str, details))})" if details else "")


def _code(status: str | None) -> str:
    return status if status and _CODE.fullmatch(status) else "without a known status"


def _order(order: _Order, reference_id: str) -> Order:
    shipments = order.shipments or ()
    progress, why = progress_of(order.status, shipments)
    numbers = (
        shipment.tracking.tracking_number
        for shipment in shipments
        if shipment.tracking and shipment.status != "Cancelled"
    )
    only = order.products[0] if order.products and len(order.products) == 1 else _Product()
    return Order(
        id=str(order.id),
        reference=reference_id,
        progress=progress,
        tracking=tuple(dict.fromkeys(number for number in numbers if number)),
        article=only.reference_id,
        quantity=only.quantity,
        why=why,
    )


def _orders(body: bytes) -> Sequence[_Order]:
    found = decoded(body, list[_Order])
    if found is None or not all(order.id for order in found):
        raise CannotTell("expected a list of orders from ShipBob, got something else")
    return found
