"""The table of the `webhook` provider's answers, row by row, and the order's id out of a body."""

from datetime import timedelta

import pytest

from worker.providers.protocol import Applied, NotApplied, Outcome, Refused, Unknown
from worker.providers.webhook_answers import Answer, classify, order_in

WAIT = timedelta(seconds=30)


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (200, Applied(order="vfy-r_1")),
        (201, Applied(order="vfy-r_1")),
        (202, Applied(order="vfy-r_1")),
        (204, Applied(order="vfy-r_1")),
        (299, Applied(order="vfy-r_1")),
        (400, Refused("answered 400")),
        (401, NotApplied("answered 401", spends_attempt=False)),
        (403, NotApplied("answered 403", spends_attempt=False)),
        (404, Refused("answered 404")),
        (405, Unknown("answered 405")),
        (408, Unknown("answered 408")),
        (409, Unknown("answered 409")),
        (410, Refused("answered 410")),
        (413, Refused("answered 413")),
        (418, Unknown("answered 418")),
        (422, Refused("answered 422")),
        (429, NotApplied("answered 429", spends_attempt=False)),
        (300, Unknown("answered 300")),
        (301, Unknown("answered 301")),
        (307, Unknown("answered 307")),
        (500, Unknown("answered 500")),
        (502, Unknown("answered 502")),
        (503, Unknown("answered 503")),
        (504, Unknown("answered 504")),
        (599, Unknown("answered 599")),
        (999, Unknown("answered 999")),
    ],
)
def test_each_status_has_its_outcome(status: int, outcome: Outcome) -> None:
    """Only a certain "no" may lead to a second sending."""
    assert classify(Answer(status), "vfy-r_1") == outcome


def test_a_conflict_is_refused_where_the_receiver_can_be_asked() -> None:
    """The core looks then, and finds the parcel that the receiver has already."""
    assert classify(Answer(409), "vfy-r_1", can_be_asked=True) == Refused("answered 409")
    assert classify(Answer(500), "vfy-r_1", can_be_asked=True) == Unknown("answered 500")


def test_the_wait_of_a_rate_limit_is_kept() -> None:
    """A receiver that asks for time gets it."""
    assert classify(Answer(429, retry_after=WAIT), "vfy-r_1") == NotApplied(
        "answered 429", retry_after=WAIT, spends_attempt=False
    )


def test_the_order_and_the_request_of_the_receiver_are_kept() -> None:
    """An operator finds the parcel in his own system by its own ids."""
    assert classify(Answer(201, order="A-17", request="req-9"), "vfy-r_1") == Applied(order="A-17", request="req-9")


@pytest.mark.parametrize(
    ("body", "order"),
    [
        (b'{"order": "A-17"}', "A-17"),
        (b'{"order": 17, "more": [1, 2]}', "17"),
        (b"", ""),
        (b"thanks", ""),
        (b"[]", ""),
        (b"{}", ""),
        (b'{"order": null}', ""),
        (b'{"order": {"id": "A-17"}}', ""),
        (b'{"order": "line\\nbreak"}', ""),
        (b'{"order": "' + b"x" * 129 + b'"}', ""),
        (b'{"order": "\xff"}', ""),
        (b'{"more": ' + b"[" * 50_000, ""),
    ],
)
def test_only_a_plain_order_id_is_taken_from_a_body(body: bytes, order: str) -> None:
    """The body is optional; what cannot be an id that stands in a log is left out."""
    assert order_in(body) == order
