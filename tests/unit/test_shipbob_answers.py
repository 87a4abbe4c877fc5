"""The tables of the `shipbob` provider row by row: what its answers, its limits and its orders mean."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from multidict import CIMultiDict

from worker.providers.protocol import (
    Applied,
    Cancellation,
    CannotTell,
    NotApplied,
    Order,
    Outcome,
    Page,
    Progress,
    Refused,
    Unknown,
)
from worker.providers.shipbob_answers import (
    WINDOW,
    Answer,
    asked_wait,
    cancellation,
    channel_finding,
    classify,
    faulty_fields,
    pause,
)
from worker.providers.shipbob_orders import (
    LARGEST_PAGE,
    ORDER_PROGRESS,
    SHIPMENT_PROGRESS,
    order_found,
    orders_found,
    page_found,
    page_number,
)

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
WAIT = timedelta(seconds=25)
REFERENCE = "vfy-r_1"
MADE = b'{"id": 17, "reference_id": "vfy-r_1"}'
WITHOUT = "without the order of this reference"


def _shipment(status: str | None, *details: object, **more: object) -> dict[str, Any]:
    return {"id": 1, "status": status, "status_details": list(details), **more}


def _order(status: str | None = "Processing", *shipments: object, **more: object) -> dict[str, Any]:
    return {"id": 17, "reference_id": REFERENCE, "status": status, "shipments": list(shipments), **more}


def _read(order: object) -> Order:
    return order_found(json.dumps(order).encode(), "17", REFERENCE)


@pytest.mark.parametrize(
    ("status", "body", "outcome"),
    [
        (200, MADE, Applied(order="17")),
        (201, MADE, Applied(order="17")),
        (202, b'{"id": "17", "reference_id": "vfy-r_1", "more": []}', Applied(order="17")),
        (201, None, Unknown(f"answered 201 {WITHOUT}")),
        (201, b"", Unknown(f"answered 201 {WITHOUT}")),
        (201, b"<html>", Unknown(f"answered 201 {WITHOUT}")),
        (201, b"[]", Unknown(f"answered 201 {WITHOUT}")),
        (201, b'{"id": 17}', Unknown(f"answered 201 {WITHOUT}")),
        (201, b'{"reference_id": "vfy-r_1"}', Unknown(f"answered 201 {WITHOUT}")),
        (201, b'{"id": 17, "reference_id": "vfy-r_2"}', Unknown(f"answered 201 {WITHOUT}")),
        (201, b'{"id": 17, "reference_id": "VFY-R_1"}', Unknown(f"answered 201 {WITHOUT}")),
        (201, b'{"id": 17, "reference_id": "\xff"}', Unknown(f"answered 201 {WITHOUT}")),
        (302, b"", Unknown("answered 302")),
        (400, b"", Refused("answered 400")),
        (401, b"", NotApplied("answered 401", spends_attempt=False)),
        (403, b"", NotApplied("answered 403", spends_attempt=False)),
        (404, b"", Refused("answered 404")),
        (405, b"", Unknown("answered 405")),
        (408, b"", Unknown("answered 408")),
        (409, b"", Unknown("answered 409")),
        (413, b"", Refused("answered 413")),
        (422, None, Refused("answered 422")),
        (422, b'{"": ["no"]}', Refused("answered 422")),
        (422, b'{"recipient.name": ["no"], "products[0].name": ["no"]}', Refused("answered 422: recipient.name, products[0].name")),  # noqa: E501 - a row of a table
        (429, b"", NotApplied("answered 429", spends_attempt=False)),
        (500, b"", Unknown("answered 500")),
        (502, b"", Unknown("answered 502")),
        (503, b"", Unknown("answered 503")),
    ],
)  # fmt: skip
def test_each_answer_has_its_outcome(status: int, body: bytes | None, outcome: Outcome) -> None:
    """Only the echo of our reference is an order, and only a certain "no" may lead to a second sending."""
    assert classify(Answer(status, body), REFERENCE) == outcome


def test_the_wait_and_the_request_are_kept() -> None:
    """A limit says when to come back, and ShipBob's support finds the request by its id."""
    assert classify(Answer(429, wait=WAIT), REFERENCE) == NotApplied(
        "answered 429", retry_after=WAIT, spends_attempt=False
    )
    assert classify(Answer(422, request="req-9"), REFERENCE) == Refused("answered 422", request="req-9")


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        (b'{"Recipient.Address.City": ["Musterstadt is none"]}', ("Recipient.Address.City",)),
        (b'{"title": "no", "status": 400, "errors": {"$.products": ["no"]}}', ("$.products",)),
        (b'{"statusCode": 422, "message": "no"}', ()),
        (b'{"Ada Muster": ["is no field"], "name": ["no"]}', ("name",)),
        (b'{"a": [], "b": [], "c": [], "d": [], "e": [], "f": []}', ("a", "b", "c", "d", "e")),
        (b'["name"]', ()),
        (b"null", ()),
        (b"\xff", ()),
        (b"[" * 50_000, ()),
    ],
)
def test_only_the_names_of_fields_are_kept_of_an_error(body: bytes, fields: tuple[str, ...]) -> None:
    """A message may repeat the address."""
    assert faulty_fields(body) == fields


@pytest.mark.parametrize(
    ("status", "headers", "rest"),
    [
        (200, {}, None),
        (200, {"x-remaining-calls": "149"}, None),
        (200, {"x-remaining-calls": "2", "x-retry-after": "25"}, None),
        (200, {"x-remaining-calls": "1", "x-retry-after": "25"}, WAIT),
        (200, {"x-remaining-calls": "0", "x-retry-after": "25"}, WAIT),
        (200, {"X-Remaining-Calls": "0"}, WINDOW),
        (200, {"x-remaining-calls": "0", "x-retry-after": "0"}, WINDOW),
        (200, {"x-remaining-calls": "0", "Retry-After": "25"}, WAIT),
        (200, {"x-remaining-calls": "many"}, None),
        (500, {"Retry-After": "25"}, None),
        (429, {}, WINDOW),
        (429, {"x-retry-after": "25", "Retry-After": "3"}, WAIT),
        (429, {"Retry-After": "25"}, WAIT),
        (429, {"Retry-After": "Sun, 01 Mar 2026 12:00:25 GMT"}, WAIT),
        (429, {"x-retry-after": "Sun, 01 Mar 2026 12:00:25 GMT"}, WAIT),
        (429, {"x-retry-after": "soon", "Retry-After": "25"}, WAIT),
    ],
)
def test_a_reached_limit_is_a_pause(status: int, headers: dict[str, str], rest: timedelta | None) -> None:
    """The last call of a minute is left to others, and an answer that names no time means the whole minute."""
    assert pause(status, CIMultiDict(headers), NOW) == rest


def test_a_wait_is_read_from_any_answer() -> None:
    """A server that is down may ask for time too."""
    assert asked_wait(CIMultiDict({"retry-after": "25"}), NOW) == WAIT
    assert asked_wait(CIMultiDict(), NOW) is None


@pytest.mark.parametrize(
    ("status", "progress", "why"),
    [
        ("Processing", Progress.OPEN, ""),
        ("Exception", Progress.EXCEPTION, "order Exception"),
        ("PartiallyFulfilled", Progress.OPEN, ""),
        ("Fulfilled", Progress.SHIPPED, ""),
        ("Cancelled", Progress.CANCELLED, ""),
        ("ImportReview", Progress.EXCEPTION, "order ImportReview"),
        ("Quantum", Progress.EXCEPTION, "order Quantum"),
        ("for Ada Muster", Progress.EXCEPTION, "order without a known status"),
        (None, Progress.EXCEPTION, "order without a known status"),
    ],
)
def test_each_status_of_an_order_without_shipments(status: str | None, progress: Progress, why: str) -> None:
    """A status that is not known stops nothing silently: a person is told."""
    order = _read(_order(status))
    assert (order.progress, order.why) == (progress, why)
    assert _read(_order(status) | {"shipments": None}).progress is progress


@pytest.mark.parametrize(
    ("shipment", "progress", "why"),
    [
        (_shipment("None"), Progress.OPEN, ""),
        (_shipment(None), Progress.OPEN, ""),
        (_shipment("Processing"), Progress.OPEN, ""),
        (_shipment("LabeledCreated"), Progress.OPEN, ""),
        (_shipment("Completed"), Progress.SHIPPED, ""),
        (_shipment("Completed", {"id": 201, "name": "InTransit"}), Progress.SHIPPED, ""),
        (_shipment("Completed", delivery_date="2026-03-01T10:00:00Z"), Progress.DELIVERED, ""),
        (_shipment("Completed", {"id": 203, "name": "Delivered"}), Progress.DELIVERED, ""),
        (_shipment("Completed", {"name": "DeliveryException"}, {"name": "Delivered"}), Progress.DELIVERED, ""),
        (_shipment("Completed", {"id": 204, "name": "DeliveryException"}), Progress.EXCEPTION, "shipment Completed (DeliveryException)"),  # noqa: E501 - a row of a table
        (_shipment("Exception"), Progress.EXCEPTION, "shipment Exception"),
        (_shipment("Exception", {"id": 303, "name": "OutOfStock"}), Progress.EXCEPTION, "shipment Exception (OutOfStock)"),  # noqa: E501 - a row of a table
        (_shipment("OnHold", {"id": 401, "name": "InvalidAddress"}), Progress.EXCEPTION, "shipment OnHold (InvalidAddress)"),  # noqa: E501 - a row of a table
        (_shipment("OnHold", {"id": 9, "name": "Ada Muster, Köln"}), Progress.EXCEPTION, "shipment OnHold (detail 9)"),
        (_shipment("CleanSweeped"), Progress.EXCEPTION, "shipment CleanSweeped"),
        (_shipment("ImportReview"), Progress.EXCEPTION, "shipment ImportReview"),
        (_shipment("Quantum"), Progress.EXCEPTION, "shipment Quantum"),
    ],
)  # fmt: skip
def test_each_status_of_a_shipment(shipment: object, progress: Progress, why: str) -> None:
    """What cannot go on comes with ShipBob's own codes, and with nothing that a person wrote."""
    order = _read(_order("Processing", shipment))
    assert (order.progress, order.why) == (progress, why)


@pytest.mark.parametrize(
    ("status", "shipments", "progress"),
    [
        ("PartiallyFulfilled", ["Completed", "Processing"], Progress.OPEN),
        ("Fulfilled", ["Completed", "Completed"], Progress.SHIPPED),
        ("Processing", ["Cancelled", "Processing"], Progress.OPEN),
        ("PartiallyFulfilled", ["Completed", "OnHold"], Progress.EXCEPTION),
        ("Exception", ["Processing"], Progress.EXCEPTION),
        ("Cancelled", ["Cancelled", "Cancelled"], Progress.CANCELLED),
        ("Cancelled", ["Cancelled", "Completed"], Progress.EXCEPTION),
        ("Processing", ["Cancelled"], Progress.EXCEPTION),
    ],
)
def test_the_slowest_shipment_counts(status: str, shipments: list[str], progress: Progress) -> None:
    """And an order counts as cancelled only when it and all its shipments say so: it may be shipped again then."""
    assert _read(_order(status, *map(_shipment, shipments))).progress is progress


def test_one_of_two_parcels_is_not_delivered_yet() -> None:
    """The reward has arrived when all of it has."""
    there = _shipment("Completed", delivery_date="2026-03-01T10:00:00Z")
    assert _read(_order("Fulfilled", there, _shipment("Completed"))).progress is Progress.SHIPPED
    assert _read(_order("Fulfilled", there, there)).progress is Progress.DELIVERED


def test_the_tables_are_whole() -> None:
    """Every status of the two enums of 2026-01 has its row."""
    assert set(ORDER_PROGRESS) == {
        "Processing", "Exception", "PartiallyFulfilled", "Fulfilled", "Cancelled", "ImportReview",
    }  # fmt: skip
    assert set(SHIPMENT_PROGRESS) == {
        "None", "Processing", "Completed", "Exception", "OnHold", "Cancelled", "CleanSweeped", "LabeledCreated",
        "ImportReview",
    }  # fmt: skip


def test_tracking_and_article_are_taken_over() -> None:
    """Each tracking number once, none of a cancelled shipment, and the article where there is one alone."""
    first = _shipment("Completed", tracking={"tracking_number": "T1"})
    nothing = _shipment("Processing", tracking={"tracking_number": None})
    cancelled = _shipment("Cancelled", tracking={"tracking_number": "T0"})
    mug = {"reference_id": "mug", "quantity": 2}
    order = _read(_order("Processing", cancelled, first, first, nothing, products=[mug]))
    assert (order.id, order.reference, order.tracking) == ("17", REFERENCE, ("T1",))
    assert (order.article, order.quantity) == ("mug", 2)
    two = _read(_order("Processing", products=[mug, mug]))
    assert (two.article, two.quantity) == (None, None)


def test_every_order_of_a_list_has_to_echo_the_reference() -> None:
    """A list that cannot be of our reference proves nothing, least of all absence."""
    cancelled = _order("Cancelled")
    found = orders_found(json.dumps([_order(), cancelled]).encode(), REFERENCE)
    assert [order.live for order in found] == [True, False]
    assert list(orders_found(b"[]", REFERENCE)) == []
    too_many = [_order()] * LARGEST_PAGE
    for wrong in ([_order() | {"reference_id": "vfy-r_2"}], [_order() | {"reference_id": None}], too_many):
        with pytest.raises(CannotTell):
            orders_found(json.dumps(wrong).encode(), REFERENCE)


@pytest.mark.parametrize("body", [b"", b"null", b"{}", b"<html>", b"[{}]", b'["a"]', b"[" * 50_000, b"\xff"])
def test_what_is_no_list_of_orders_proves_nothing(body: bytes) -> None:
    """Only a list that can be read is an answer."""
    with pytest.raises(CannotTell):
        orders_found(body, REFERENCE)
    with pytest.raises(CannotTell):
        page_found(body, None)


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", json.dumps(_order() | {"id": 18}).encode(), b'{"id": 17}'])
def test_another_order_than_the_one_asked_for_says_nothing(body: bytes) -> None:
    """Neither its id nor its reference may differ."""
    with pytest.raises(CannotTell):
        order_found(body, "17", REFERENCE)


def test_pages_end_with_an_empty_one() -> None:
    """A page holds as many orders as ShipBob likes; of them only ours are shown."""
    first = page_found(json.dumps([_order(), _order() | {"id": 18, "reference_id": "A-1"}]).encode(), None)
    assert [order.id for order in first.orders] == ["17"]
    assert (page_number(None), page_number(first.next)) == (1, 2)
    second = page_found(json.dumps([_order() | {"id": 19}]).encode(), first.next)
    assert page_number(second.next) == 3
    assert page_found(b"[]", second.next) == Page(orders=(), next=None)


def test_a_list_without_end_is_noticed() -> None:
    """A ShipBob that gives the same page for each number would be read for ever."""
    body = json.dumps([_order()]).encode()
    with pytest.raises(CannotTell):
        page_found(body, page_found(body, None).next)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'{"status": "Success"}', Cancellation.CANCELLED),
        (b'{"status": "Success", "order": {"reference_id": "vfy-r_1"}}', Cancellation.CANCELLED),
        (b'{"status": "Success", "order": {"reference_id": "vfy-r_2"}}', Cancellation.UNKNOWN),
        (b'{"status": "PartialSuccess"}', Cancellation.TOO_LATE),
        (b'{"status": "Failure"}', Cancellation.TOO_LATE),
        (b'{"status": "Quantum"}', Cancellation.UNKNOWN),
        (b'{"status": null}', Cancellation.UNKNOWN),
        (b"{}", Cancellation.UNKNOWN),
        (b"", Cancellation.UNKNOWN),
    ],
)
def test_each_answer_to_a_cancelling(body: bytes, said: Cancellation) -> None:
    """Only a whole success cancels the reward."""
    assert cancellation(body, REFERENCE) is said


@pytest.mark.parametrize(
    ("channels", "ok"),
    [
        ({"items": [{"id": 7, "scopes": ["orders_read", "orders_write"]}]}, True),
        ({"items": [{"id": 7, "scopes": None}]}, True),
        ({"items": [{"id": 7, "scopes": ["orders_read"]}]}, False),
        ({"items": [{"id": 8, "scopes": ["orders_write"]}], "next": "/channel?Cursor=x"}, False),
        ({"items": None}, False),
    ],
)
def test_the_channel_has_to_be_there_and_to_take_orders(channels: object, ok: bool) -> None:  # noqa: FBT001 - a column of the table
    """`doctor` says what to change before the first reward is tried."""
    finding = channel_finding(json.dumps(channels).encode(), 7)
    assert finding.ok is ok
    assert bool(finding.todo) is not ok


def test_a_list_of_channels_that_cannot_be_read_says_nothing() -> None:
    """It is no proof that the channel is missing."""
    with pytest.raises(CannotTell):
        channel_finding(b"[]", 7)
