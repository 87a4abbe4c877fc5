"""What the answers of a status URL mean, row by row: only a clear one says that a parcel is there, or is not."""

import json
from typing import Any

import pytest

from worker.providers.protocol import CannotTell, Order, Progress
from worker.providers.webhook_status import LONGEST_TRACKING, orders_in

REFERENCE = "vfy-r_1"


def _told(**changes: Any) -> dict[str, Any]:  # noqa: ANN401 - any JSON
    return {"reference": REFERENCE, "order": "A-17", "state": "open", **changes}


def _body(value: object) -> bytes:
    return json.dumps(value).encode()


def _order(**changes: Any) -> Order:  # noqa: ANN401 - fields of an order
    return Order(**{"id": "A-17", "reference": REFERENCE, **changes})


@pytest.mark.parametrize(
    ("told", "orders"),
    [
        (_told(), [_order()]),
        ([_told()], [_order()]),
        (
            [_told(), _told(order="A-18", state="cancelled")],
            [_order(), _order(id="A-18", progress=Progress.CANCELLED)],
        ),
        (
            _told(state="shipped", tracking=["T1", "T2", "T1"], article="mug", quantity=1, carrier="DHL"),
            [_order(progress=Progress.SHIPPED, tracking=("T1", "T2"), article="mug", quantity=1)],
        ),
        (_told(order=17, tracking=[4711, None, ""]), [_order(id="17", tracking=("4711",))]),
        (_told(tracking=" T1 "), [_order(tracking=("T1",))]),
        (_told(order=None, tracking=None, article=None, quantity=None), [_order(id=REFERENCE)]),
        ({"reference": REFERENCE, "state": "open"}, [_order(id=REFERENCE)]),
        (_told(tracking=["x" * (LONGEST_TRACKING + 1), "two\nlines", "ü", "T1"]), [_order(tracking=("T1",))]),
        (_told(order="line\nbreak"), [_order(id=REFERENCE)]),
        *((_told(state=progress.value), [_order(progress=progress)]) for progress in Progress),
    ],
)
def test_orders_are_read(told: object, orders: list[Order]) -> None:
    """One object or several; what is not known is left out, what may not stand in a log too."""
    assert orders_in(200, _body(told), REFERENCE) == orders


def test_a_404_that_names_the_reference_is_absence() -> None:
    """The receiver understood the question and has no such parcel."""
    assert orders_in(404, b'{"reference": "vfy-r_1", "error": "not found"}', REFERENCE) == []


@pytest.mark.parametrize(
    ("status", "body"),
    [
        *((200, body) for body in (None, b"", b"[]", b"{}", b"null", b'"vfy-r_1"', b"<html>", b"\xff", b"[" * 50_000)),
        (200, _body(_told(reference="vfy-r_2"))),
        (200, _body(_told(reference=None))),
        (200, _body([_told(), _told(reference="vfy-r_2")])),
        (200, _body([_told(), {}])),
        (200, _body(_told(state="packing"))),
        (200, _body(_told(state=None))),
        (200, _body(_told(state="Open"))),
        (200, _body(_told(quantity="one"))),
        *((404, body) for body in (None, b"", b"[]", b"{}", b"null", b"vfy-r_1", b"<html>", b"\xff", b"[" * 50_000)),
        (404, b'{"reference": "vfy-r_2"}'),
        (404, b'{"reference": "VFY-R_1"}'),
        (404, b'[{"reference": "vfy-r_1"}]'),
        (404, _body(_told())),
        (404, b'{"reference": "vfy-r_1", "state": "cancelled"}'),
        *(
            (status, _body(_told()))
            for status in (201, 202, 204, 206, 301, 304, 307, 400, 401, 403, 405, 410, 429, 500, 502, 503)
        ),
    ],
)
def test_anything_else_proves_nothing(status: int, body: bytes | None) -> None:
    """A wrong path, another parcel, another word, an error: the core asks again."""
    with pytest.raises(CannotTell):
        orders_in(status, body, REFERENCE)


def test_nothing_that_the_receiver_wrote_stands_in_the_reason() -> None:
    """A reason goes into a journal, and a receiver might write a name."""
    for status, body in ((200, _told(state="Ada Muster")), (404, {"reference": "Ada Muster"}), (500, "Ada Muster")):
        with pytest.raises(CannotTell) as caught:
            orders_in(status, _body(body), REFERENCE)
        assert "Ada" not in str(caught.value)
