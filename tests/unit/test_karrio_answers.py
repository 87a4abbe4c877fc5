"""The table of Karrio's answers, row by row, and what is taken out of their bodies."""

import json
from datetime import timedelta
from typing import Any

import pytest

from worker.providers.karrio_answers import Answer, classify, codes_in, listed_in, order_in, progress_of
from worker.providers.protocol import (
    Applied,
    CannotTell,
    NotApplied,
    Order,
    Outcome,
    Progress,
    Refused,
    Unknown,
)

REFERENCE = "vfy-r_1-g2"
WAIT = timedelta(seconds=30)
NOT_OURS = "without an order of our reference"


def _order(**changes: object) -> dict[str, Any]:
    item = {"id": "oli_1", "sku": "mug", "title": "Mug", "quantity": 1, "weight": 0.5, "meta": {}}
    return {
        "id": "ord_1",
        "object_type": "order",
        "order_id": REFERENCE,
        "source": "rewardpost",
        "status": "unfulfilled",
        "line_items": [item],
        "shipments": [],
        "options": None,
        **changes,
    }


def _shipment(status: str, number: str | None) -> dict[str, Any]:
    return {"id": "shp_1", "status": status, "tracking_number": number, "rates": []}


def _body(tree: object) -> bytes:
    return json.dumps(tree).encode()


def _errors(*pairs: tuple[str | None, str | None]) -> bytes:
    return _body({"errors": [{"code": code, "message": message, "level": "error"} for code, message in pairs]})


DUPLICATE = _errors(("duplicate_order_id", f"An order with 'order_id' {REFERENCE} already exists."))
LOCKED = _errors((None, "database is locked"))


@pytest.mark.parametrize(
    ("status", "body", "outcome"),
    [
        (200, _body(_order()), Applied(order="ord_1")),
        (201, _body(_order()), Applied(order="ord_1")),
        (201, _body(_order(order_id="vfy-r_1")), Unknown(f"answered 201 {NOT_OURS}")),
        (201, _body(_order(source="API")), Unknown(f"answered 201 {NOT_OURS}")),
        (201, _body(_order(id="")), Unknown(f"answered 201 {NOT_OURS}")),
        (201, _body(_order(id=None)), Unknown(f"answered 201 {NOT_OURS}")),
        (201, b"", Unknown(f"answered 201 {NOT_OURS}")),
        (201, None, Unknown(f"answered 201 {NOT_OURS}")),
        (202, b"<html>", Unknown(f"answered 202 {NOT_OURS}")),
        (204, b"", Unknown(f"answered 204 {NOT_OURS}")),
        (301, b"", Unknown("answered 301")),
        (307, b"", Unknown("answered 307")),
        (400, b"", Refused("answered 400")),
        (400, _errors(("validation", "no")), Refused("answered 400 (validation)")),
        (401, _errors(("invalid_token", "no")), NotApplied("answered 401", spends_attempt=False)),
        (403, b"", NotApplied("answered 403", spends_attempt=False)),
        (404, b"", Refused("answered 404")),
        (405, b"", Unknown("answered 405")),
        (408, b"", Unknown("answered 408")),
        (409, DUPLICATE, Refused("duplicate_order_id: Karrio has had this reference")),
        (409, _errors(("state_error", "no")), Unknown("answered 409")),
        (409, b"", Unknown("answered 409")),
        (413, b"", Refused("answered 413")),
        (422, b"", Refused("answered 422")),
        (429, b"", NotApplied("answered 429", spends_attempt=False)),
        (500, LOCKED, Unknown("answered 500")),
        (502, b"<html>", Unknown("answered 502")),
        (503, b"", Unknown("answered 503")),
        (504, b"", Unknown("answered 504")),
        (999, b"", Unknown("answered 999")),
    ],
)
def test_each_answer_has_its_outcome(status: int, body: bytes | None, outcome: Outcome) -> None:
    """Only an order that echoes our reference is one, and only a certain "no" may lead to a second sending."""
    assert classify(Answer(status, body), REFERENCE) == outcome


def test_the_wait_of_a_rate_limit_and_the_id_of_a_request_are_kept() -> None:
    """A server that asks for time gets it, and its operator finds the request."""
    assert classify(Answer(429, retry_after=WAIT, request="req_9"), REFERENCE) == NotApplied(
        "answered 429", retry_after=WAIT, spends_attempt=False, request="req_9"
    )
    assert classify(Answer(201, _body(_order()), request="req_9"), REFERENCE) == Applied("ord_1", request="req_9")


@pytest.mark.parametrize(
    ("message", "why"),
    [
        ("shipping_to.phone_number: Invalid phone number format", "answered 400 (shipping_to.phone_number)"),
        ("line_items[0].sku: Ensure this field has no more", "answered 400 (line_items[0].sku)"),
        ("Ada Muster: is not a valid choice", "answered 400 (validation)"),
        ("shipping_to Ada Muster: no", "answered 400 (validation)"),
        ("shipping_to.Ada: no", "answered 400 (validation)"),
        (None, "answered 400 (validation)"),
    ],
)
def test_a_refusal_names_the_field_and_nothing_that_was_sent(message: str | None, why: str) -> None:
    """A person learns what to correct, and no name or address gets into a journal."""
    assert classify(Answer(400, _errors(("validation", message))), REFERENCE) == Refused(why)


def test_all_fields_that_are_wrong_are_named_once() -> None:
    """One look is enough to correct the whole address."""
    body = _errors(*[("validation", f"shipping_to.{name}: no") for name in ("postal_code", "city", "city")])
    outcome = classify(Answer(400, body), REFERENCE)
    assert outcome == Refused("answered 400 (shipping_to.city, shipping_to.postal_code)")


def test_codes_that_cannot_stand_in_a_log_are_left_out() -> None:
    """A code is a word, whatever the server says."""
    assert codes_in(_errors(("state_error", ""), ("x" * 65, ""), ("line\nbreak", ""), ("", ""))) == ["state_error"]
    assert codes_in(b'{"errors": {"code": "state_error"}}') == []


@pytest.mark.parametrize(
    ("changes", "order"),
    [
        ({}, Order(id="ord_1", reference=REFERENCE, article="mug", quantity=1)),
        ({"line_items": None, "shipments": None}, Order(id="ord_1", reference=REFERENCE)),
        ({"line_items": [None], "shipments": [None]}, Order(id="ord_1", reference=REFERENCE)),
        ({"line_items": [{"sku": "mug"}, {"sku": "cap"}]}, Order(id="ord_1", reference=REFERENCE)),
        (
            {"status": "cancelled"},
            Order(id="ord_1", reference=REFERENCE, article="mug", quantity=1, progress=Progress.CANCELLED),
        ),
        (
            {
                "status": "fulfilled",
                "shipments": [
                    _shipment("cancelled", "T0"),
                    _shipment("created", "T1"),
                    _shipment("in_transit", "T2"),
                    _shipment("created", None),
                    _shipment("created", "line\nbreak"),
                ],
            },
            Order(
                id="ord_1",
                reference=REFERENCE,
                article="mug",
                quantity=1,
                progress=Progress.SHIPPED,
                tracking=("T1", "T2"),
            ),
        ),
    ],
)
def test_an_order_is_read_whatever_is_null(changes: dict[str, Any], order: Order) -> None:
    """An order that is there counts, however little it says."""
    assert order_in(_body(_order(**changes)), REFERENCE) == order


@pytest.mark.parametrize(
    ("status", "shipments", "progress", "why"),
    [
        ("unfulfilled", [], Progress.OPEN, ""),
        ("unfulfilled", ["draft"], Progress.OPEN, ""),
        ("partial", ["created"], Progress.OPEN, ""),
        ("fulfilled", [], Progress.SHIPPED, ""),
        ("fulfilled", ["created"], Progress.SHIPPED, ""),
        ("fulfilled", ["in_transit"], Progress.SHIPPED, ""),
        ("fulfilled", ["out_for_delivery"], Progress.SHIPPED, ""),
        ("fulfilled", ["delivered", "in_transit"], Progress.SHIPPED, ""),
        ("fulfilled", ["delivered", "delivered"], Progress.DELIVERED, ""),
        ("fulfilled", ["delivered", "delivery_failed"], Progress.EXCEPTION, "delivery_failed"),
        ("fulfilled", ["needs_attention"], Progress.EXCEPTION, "needs_attention"),
        ("delivered", ["delivered"], Progress.DELIVERED, ""),
        ("cancelled", [], Progress.CANCELLED, ""),
        ("lost in space", [], Progress.EXCEPTION, "unknown status"),
        (None, [], Progress.EXCEPTION, "unknown status"),
    ],
)
def test_each_status_is_a_progress(status: str | None, shipments: list[str], progress: Progress, why: str) -> None:
    """A status that nobody foresaw is live and is looked at by a person."""
    assert progress_of(status, shipments) == (progress, why)


def test_a_list_tells_ours_from_the_others() -> None:
    """Whoever asks sees whether the filter was followed."""
    body = _body({"count": 7, "next": "http://x/?offset=2", "results": [_order(), _order(source="API")]})
    listed = listed_in(body)
    assert [order.id for order in listed.orders] == ["ord_1"]
    assert (listed.length, listed.total, listed.more) == (2, 7, True)


@pytest.mark.parametrize(
    "body",
    [
        None,
        b"",
        b"<html>",
        b"[]",
        b"{}",
        b'{"results": []}',
        b'{"count": 0}',
        b'{"count": null, "results": []}',
        b'{"count": 1, "results": [null]}',
        b'{"count": 0, "results": [' + b"[" * 50_000,
        b'{"count": 0, "results": [], "next": "\xff"}',
    ],
)
def test_anything_but_a_list_of_orders_is_not_an_empty_one(body: bytes | None) -> None:
    """Absent is proven by a list that says so."""
    with pytest.raises(CannotTell):
        listed_in(body)
