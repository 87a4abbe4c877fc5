"""What ShipBob's answers to writes mean, and what any answer says of its limits; pure, and the tables are data.

Sources: ShipBob's OpenAPI document of 2026-01 for shapes and enums, https://developer.shipbob.com/errors for statuses
and https://developer.shipbob.com/rate-limit for the headers. A message of ShipBob's may repeat what it was sent, so of
an error only the names of fields are kept. What its orders say stands in `shipbob_orders`.
"""

import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NamedTuple, TypeVar

import msgspec

from worker import retry_after
from worker.providers.protocol import (
    Applied,
    Cancellation,
    CannotTell,
    Finding,
    NotApplied,
    Outcome,
    Refused,
    Unknown,
)

WINDOW = timedelta(minutes=1)
"""What ShipBob counts calls over; waited out where it does not say how long to wait."""
SPARE_CALLS = 1
"""How many of the calls that are left are never used: others may share the token."""
WRITES_ORDERS = "orders_write"
"""The scope without which a channel takes no orders."""


class Meaning(StrEnum):
    """What a status says about the order that was posted."""

    APPLIED = "applied"
    NOT_ASKED = "not asked"
    """Turned away before the order was looked at: for the operator, no fault of the order."""
    REFUSED = "refused"
    UNKNOWN = "unknown"


MEANINGS: Mapping[int, Meaning] = {
    **dict.fromkeys(range(200, 300), Meaning.APPLIED),
    400: Meaning.REFUSED,
    401: Meaning.NOT_ASKED,
    403: Meaning.NOT_ASKED,
    404: Meaning.REFUSED,
    413: Meaning.REFUSED,
    422: Meaning.REFUSED,  # also what a second order with the same reference is told
    429: Meaning.NOT_ASKED,
}
"""What each status means; what is not here is unknown."""

_CANCELLATIONS: Mapping[str, Cancellation] = {
    "Success": Cancellation.CANCELLED,
    "Failure": Cancellation.TOO_LATE,
    "PartialSuccess": Cancellation.TOO_LATE,  # a shipment has left
}
_FIELD = re.compile(r"[A-Za-z0-9_.$\[\]]{1,60}", re.ASCII)
_NUMBER = re.compile(r"[0-9]{1,9}", re.ASCII)
_MOST_NAMED = 5
T = TypeVar("T")


class Answer(NamedTuple):
    """What is taken from an answer to the POST."""

    status: int
    body: bytes | None = b""
    """None where it broke off or was too long."""
    wait: timedelta | None = None
    request: str = ""


class Created(msgspec.Struct, frozen=True):
    """What every order is known by."""

    id: int | str | None = None
    reference_id: str | None = None


class _Cancelled(msgspec.Struct, frozen=True):
    status: str | None = None
    order: Created | None = None


class _Channel(msgspec.Struct, frozen=True):
    id: int | None = None
    scopes: list[str] | None = None


class _Channels(msgspec.Struct, frozen=True):
    items: list[_Channel] | None = None
    next: str | None = None


def classify(answer: Answer, reference_id: str) -> Outcome:
    """Return what an answer says of the order with this reference."""
    why = f"answered {answer.status}"
    match MEANINGS.get(answer.status, Meaning.UNKNOWN):
        case Meaning.APPLIED:
            made = None if answer.body is None else decoded(answer.body, Created)
            if made is None or not made.id or made.reference_id != reference_id:
                return Unknown(why=f"{why} without the order of this reference", request=answer.request)
            return Applied(order=str(made.id), request=answer.request)
        case Meaning.NOT_ASKED:
            return NotApplied(why=why, retry_after=answer.wait, spends_attempt=False, request=answer.request)
        case Meaning.REFUSED:
            fields = faulty_fields(answer.body or b"")
            return Refused(why=f"{why}: {', '.join(fields)}" if fields else why, request=answer.request)
        case Meaning.UNKNOWN:
            return Unknown(why=why, request=answer.request)


def faulty_fields(body: bytes) -> tuple[str, ...]:
    """Return ShipBob's own names of the fields that an error speaks of; none of their contents.

    An error is an object of lists of messages by field, or has one under `errors`.
    """
    content = decoded(body, dict[str, object]) or {}
    nested = content.get("errors")
    faults = nested if isinstance(nested, dict) else content
    named = (name for name, messages in faults.items() if isinstance(messages, list))
    return tuple(name for name in named if _FIELD.fullmatch(name))[:_MOST_NAMED]


def pause(status: int, headers: Mapping[str, str], now: datetime) -> timedelta | None:
    """Return how long to make no call after an answer, None where there are calls left."""
    if status == 429:  # noqa: PLR2004 - HTTP's own number
        return asked_wait(headers, now) or WINDOW
    left = headers.get("x-remaining-calls", "").strip()
    if _NUMBER.fullmatch(left) and int(left) <= SPARE_CALLS:
        return asked_wait(headers, now) or WINDOW
    return None


def asked_wait(headers: Mapping[str, str], now: datetime) -> timedelta | None:
    """Return how long an answer asks to wait, in ShipBob's own header or the standard one."""
    own = retry_after.parse(headers.get("x-retry-after"), now)
    return own if own is not None else retry_after.parse(headers.get("Retry-After"), now)


def cancellation(body: bytes, reference_id: str) -> Cancellation:
    """Return what the answer to a cancelling says, unknown where it cannot be read or is about another order."""
    answer = decoded(body, _Cancelled)
    if answer is None or (answer.order is not None and answer.order.reference_id not in {None, reference_id}):
        return Cancellation.UNKNOWN
    return _CANCELLATIONS.get(answer.status or "", Cancellation.UNKNOWN)


def channel_finding(body: bytes, channel_id: int) -> Finding:
    """Return whether the list of channels has the one that is configured, and whether it takes orders.

    Raises:
        CannotTell: it is no list of channels.
    """
    channels = decoded(body, _Channels)
    if channels is None:
        raise CannotTell("expected a list of channels from ShipBob, got something else")
    seen = {channel.id: channel for channel in channels.items or ()}
    if channel_id not in seen:
        where = f"the first {len(seen)} channels" if channels.next else "the channels"
        return Finding(
            ok=False,
            what=f"SHIPBOB_CHANNEL_ID is none of {where} of this token",
            todo=f"set it to the channel with the scope {WRITES_ORDERS}",
        )
    scopes = seen[channel_id].scopes
    if scopes and WRITES_ORDERS not in scopes:
        return Finding(
            ok=False,
            what=f"ShipBob's channel {channel_id} has no scope {WRITES_ORDERS}",
            todo="set SHIPBOB_CHANNEL_ID to the channel that has it",
        )
    return Finding(ok=True, what=f"ShipBob accepts SHIPBOB_TOKEN and has the channel {channel_id}")


def decoded(body: bytes, kind: type[T]) -> T | None:
    """Return what a body of JSON holds, None where it is of another shape; unknown fields are passed over."""
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
