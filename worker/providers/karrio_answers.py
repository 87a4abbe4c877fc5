"""What Karrio's answers mean; pure, and the table is data.

Source of the facts: the server's own source, karrio-server-orders 2026.1.32 (`orders/views.py`, `orders/models.py`,
`core/exceptions.py`). A failure's body is `{"errors": [{"code", "message", "level"}]}`; a message may repeat what was
sent, so of it only the name of the field is taken over.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import timedelta
from enum import StrEnum
from typing import NamedTuple

import msgspec

from worker.providers.http_calls import printable
from worker.providers.protocol import Applied, CannotTell, NotApplied, Order, Outcome, Progress, Refused, Unknown

SOURCE = "rewardpost"
"""`source` of every order: with the account, it is what makes `order_id` unique, so it never changes."""
DUPLICATE = "duplicate_order_id"
"""The code with which Karrio refuses an `order_id` that it has already."""
LONGEST_ID = 64
"""Characters of an id, a code or a tracking number; Karrio's own hold 50."""

_FIELD = re.compile(r"(?:order_id|source|shipping_to|line_items|metadata)[a-z0-9_.\[\]]{0,60}(?=:)")


class Meaning(StrEnum):
    """What a status says about the order."""

    APPLIED = "applied"
    NOT_ASKED = "not asked"
    """Turned away before the order was looked at: for the operator, no fault of the order."""
    REFUSED = "refused"
    DUPLICATE = "duplicate"
    """Refused for a reference that is taken, where the body says so too."""
    UNKNOWN = "unknown"


MEANINGS: Mapping[int, Meaning] = {
    **dict.fromkeys(range(200, 300), Meaning.APPLIED),
    400: Meaning.REFUSED,
    401: Meaning.NOT_ASKED,
    403: Meaning.NOT_ASKED,
    404: Meaning.REFUSED,
    408: Meaning.UNKNOWN,  # a gateway gave up waiting; how much it had passed on by then, it does not say
    409: Meaning.DUPLICATE,
    413: Meaning.REFUSED,
    422: Meaning.REFUSED,
    429: Meaning.NOT_ASKED,
}
"""What each status means; what is not here (1xx, 3xx, other 4xx, 5xx) is unknown. So is 500 with "database is
locked", which SQLite brings about: nothing in the answer proves that all of it was rolled back."""


class Answer(NamedTuple):
    """What is taken from an answer to the POST."""

    status: int
    body: bytes | None = b""
    """None for one that was too long to read."""
    retry_after: timedelta | None = None
    request: str = ""
    """Karrio's own id of the request."""


class _Item(msgspec.Struct):
    sku: str | None = None
    quantity: int | None = None


class _Shipment(msgspec.Struct):
    status: str | None = None
    tracking_number: str | None = None


class _Order(msgspec.Struct):
    id: str | None = None
    order_id: str | None = None
    source: str | None = None
    status: str | None = None
    line_items: list[_Item | None] | None = None
    shipments: list[_Shipment | None] | None = None


class _Orders(msgspec.Struct):
    count: int
    results: list[_Order]
    next: str | None = None


class _Error(msgspec.Struct):
    code: str | None = None
    message: str | None = None


class _Errors(msgspec.Struct):
    errors: list[_Error]


class Listed(NamedTuple):
    """One page of a list of orders."""

    orders: tuple[Order, ...]
    """Those that have an `order_id` and are of our `SOURCE`."""
    length: int
    """How many orders the page has, ours or not."""
    total: int
    """How many orders there are on all pages."""
    more: bool
    """Whether another page follows."""


_ORDER = msgspec.json.Decoder(_Order)
_ORDERS = msgspec.json.Decoder(_Orders)
_ERRORS = msgspec.json.Decoder(_Errors)
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def classify(answer: Answer, reference: str) -> Outcome:
    """Return what an answer to the POST says of the order with this reference."""
    why = f"answered {answer.status}"
    match MEANINGS.get(answer.status, Meaning.UNKNOWN):
        case Meaning.APPLIED:
            order = order_in(answer.body, reference)
            if order is None:
                return Unknown(f"{why} without an order of our reference", request=answer.request)
            return Applied(order=order.id, request=answer.request)
        case Meaning.NOT_ASKED:
            return NotApplied(why, retry_after=answer.retry_after, spends_attempt=False, request=answer.request)
        case Meaning.REFUSED:
            return Refused(_with_faults(why, answer.body), request=answer.request)
        case Meaning.DUPLICATE if DUPLICATE in codes_in(answer.body):
            return Refused(f"{DUPLICATE}: Karrio has had this reference", request=answer.request)
        case _:
            return Unknown(why, request=answer.request)


def order_in(body: bytes | None, reference: str) -> Order | None:
    """Return the order out of a body; None where it is anything but one order that echoes our reference."""
    try:
        found = _ORDER.decode(body or b"")
    except _UNREADABLE:
        return None
    order = _ours(found)
    return order if order is not None and order.reference == reference else None


def listed_in(body: bytes | None) -> Listed:
    """Return the orders out of a list.

    Raises:
        CannotTell: it is no list of orders.
    """
    try:
        found = _ORDERS.decode(body or b"")
    except _UNREADABLE as exc:
        raise CannotTell("expected a list of orders from Karrio, got something else") from exc
    orders = tuple(order for order in map(_ours, found.results) if order is not None)
    return Listed(orders, len(found.results), found.count, more=found.next is not None)


def codes_in(body: bytes | None) -> Sequence[str]:
    """Return the codes of a failure's body that may stand in a log."""
    return [code for error in _errors_in(body) if (code := printable(error.code or "", LONGEST_ID))]


def _with_faults(why: str, body: bytes | None) -> str:
    found = [_FIELD.match(error.message or "") for error in _errors_in(body)]
    fields = sorted({match[0] for match in found if match})
    faults = fields or sorted(set(codes_in(body)))
    return f"{why} ({', '.join(faults)})" if faults else why


def _errors_in(body: bytes | None) -> Sequence[_Error]:
    try:
        return _ERRORS.decode(body or b"").errors
    except _UNREADABLE:
        return ()


def _ours(found: _Order) -> Order | None:
    if not found.id or not found.order_id or found.source != SOURCE:
        return None
    shipments = [shipment for shipment in found.shipments or () if shipment and shipment.status != "cancelled"]
    progress, why = progress_of(found.status, [shipment.status or "" for shipment in shipments])
    items = found.line_items or []
    item = items[0] if len(items) == 1 else None
    numbers = (printable(shipment.tracking_number or "", LONGEST_ID) for shipment in shipments)
    return Order(
        id=found.id,
        reference=found.order_id,
        progress=progress,
        tracking=tuple(number for number in numbers if number),
        article=item.sku if item else None,
        quantity=item.quantity if item else None,
        why=why,
    )


_BY_ORDER = {
    "unfulfilled": Progress.OPEN,
    "partial": Progress.OPEN,
    "fulfilled": Progress.SHIPPED,  # every label is bought: Karrio's own last word where no tracker follows
    "delivered": Progress.DELIVERED,
    "cancelled": Progress.CANCELLED,
}
_TROUBLES = ("delivery_failed", "needs_attention")


def progress_of(status: str | None, shipments: Sequence[str]) -> tuple[Progress, str]:
    """Return how far an order of this status is, with the statuses of its shipments that are not cancelled, and why.

    Karrio never calls an order delivered that also has a cancelled shipment; its other shipments say so.
    """
    progress = _BY_ORDER.get(status or "")
    if progress is None:
        return Progress.EXCEPTION, "unknown status"
    if progress is not Progress.SHIPPED:
        return progress, ""
    trouble = next((trouble for trouble in _TROUBLES if trouble in shipments), "")
    if trouble:
        return Progress.EXCEPTION, trouble
    if shipments and all(shipment == "delivered" for shipment in shipments):
        return Progress.DELIVERED, ""
    return progress, ""
