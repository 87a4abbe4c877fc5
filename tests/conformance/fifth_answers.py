"""What the shop's answers mean; pure, and the table is data."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import NamedTuple

import msgspec

from worker.providers.protocol import Applied, Cancellation, CannotTell, NotApplied, Order, Outcome, Refused, Unknown

MEANINGS: Mapping[int, type[Applied | NotApplied | Refused]] = {
    201: Applied,
    401: NotApplied,
    403: NotApplied,
    409: Refused,  # it has one with this reference: the core looks
    422: Refused,
    429: NotApplied,
}
"""What each status of an order that was posted means; what is not here is unknown."""

CANCELLATIONS: Mapping[int, Cancellation] = {204: Cancellation.CANCELLED, 409: Cancellation.TOO_LATE}
"""The same of an order that was to be cancelled."""

_ORDERS = msgspec.json.Decoder(list[Order])


class Answer(NamedTuple):
    """What is taken from an answer."""

    status: int
    body: bytes
    wait: timedelta | None


def classify(answer: Answer, reference: str) -> Outcome:
    """Return what an answer says of the order with this reference."""
    why = f"answered {answer.status}"
    meaning = MEANINGS.get(answer.status)
    if meaning is NotApplied:
        return NotApplied(why, retry_after=answer.wait, spends_attempt=False)
    if meaning is Refused:
        return Refused(why)
    if meaning is Applied:
        try:
            return Applied(orders_in(Answer(200, answer.body, None), reference)[0].id)
        except (CannotTell, IndexError):
            return Unknown("expected the order in the answer, got something else")
    return Unknown(why)


def orders_in(answer: Answer, reference: str | None = None) -> Sequence[Order]:
    """Return the orders that an answer lists, all with this reference if one was asked for.

    Raises:
        CannotTell: it is no list of them.
    """
    if answer.status != 200:
        raise CannotTell(f"expected 200 from the shop, got {answer.status}", retry_after=answer.wait)
    try:
        orders = _ORDERS.decode(answer.body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise CannotTell("expected orders as JSON from the shop, got something else") from None
    if reference is not None and any(order.reference != reference for order in orders):
        raise CannotTell("expected orders with the reference that was asked for, got another one")
    return orders
