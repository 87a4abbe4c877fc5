"""What the operator's own system says of a parcel when `WEBHOOK_OUT_STATUS_URL` is asked; pure.

| answer | says |
| --- | --- |
| 200 with one object as below, or a list of them | these orders have the reference |
| 404 with `{"reference": "…"}` | no order has it |
| anything else | nothing: the core asks again |

```json
{"reference": "vfy-r_1", "order": "A-17", "state": "shipped", "tracking": ["00340434"], "article": "mug", "quantity": 1}
```

The reference has to be the one that was asked for, in a 404 too: a wrong path must not prove that a parcel was never
taken, nor an answer about another parcel that this one was. `state` is one of `Progress`. The other fields may be left
out; without `order`, the reference stands for it.
"""

from collections.abc import Sequence

import msgspec

from worker.providers.http_calls import printable
from worker.providers.protocol import CannotTell, Order, Progress
from worker.providers.webhook_answers import LONGEST_ORDER

LONGEST_TRACKING = 128
"""Characters of a tracking number; a longer one is not taken over."""

_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class _Told(msgspec.Struct):
    reference: str | None = None
    order: str | int | None = None
    state: str | None = None
    tracking: list[str | int | None] | str | None = None
    article: str | None = None
    quantity: int | None = None


_OBJECT = msgspec.json.Decoder(_Told)
_LIST = msgspec.json.Decoder(_Told | list[_Told])


def orders_in(status: int, body: bytes | None, reference: str) -> Sequence[Order]:
    """Return the orders with this reference that an answer tells of; empty means that it proves there is none.

    `body` is None where it was too large to be read.

    Raises:
        CannotTell: the answer proves nothing.
    """
    match status:
        case 200:
            return [_order(told, reference) for told in _all_told(body)]
        case 404:
            _expect_absent(body, reference)
            return []
        case _:
            raise CannotTell(f"expected 200 or 404 from WEBHOOK_OUT_STATUS_URL, got {status}")


def _all_told(body: bytes | None) -> Sequence[_Told]:
    try:
        told = _LIST.decode(body or b"")
    except _UNREADABLE:
        raise CannotTell("expected an order as JSON from WEBHOOK_OUT_STATUS_URL, got something else") from None
    found = told if isinstance(told, list) else [told]
    if not found:
        raise CannotTell("expected 404 from WEBHOOK_OUT_STATUS_URL where there is no order, got an empty list")
    return found


def _order(told: _Told, reference: str) -> Order:
    if told.reference != reference:
        raise CannotTell("expected orders with the reference that was asked for, got one with another or with none")
    try:
        progress = Progress(told.state or "")
    except ValueError:
        raise CannotTell(f"expected a state out of {', '.join(Progress)}, got another one") from None
    return Order(
        id=printable(_text(told.order), LONGEST_ORDER) or reference,
        reference=reference,
        progress=progress,
        tracking=_tracking(told.tracking),
        article=told.article,
        quantity=told.quantity,
    )


def _expect_absent(body: bytes | None, reference: str) -> None:
    try:
        told = _OBJECT.decode(body or b"")
    except _UNREADABLE:
        told = _Told()
    if told.reference != reference:
        raise CannotTell("a 404 without the reference in it proves nothing; see WEBHOOK_OUT_STATUS_URL")
    if told.order is not None or told.state is not None:
        raise CannotTell("expected either an order or a 404, got both")


def _tracking(told: Sequence[str | int | None] | str | None) -> tuple[str, ...]:
    numbers = [told] if isinstance(told, str) else told or []
    shown = (printable(_text(number), LONGEST_TRACKING) for number in numbers)
    return tuple(number for number in dict.fromkeys(shown) if number)


def _text(value: str | int | None) -> str:
    return "" if value is None else str(value).strip()
