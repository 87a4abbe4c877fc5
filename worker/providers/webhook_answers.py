"""What the answers of the operator's own system mean; pure, and the table is data.

An answer means "not applied" only where it is certain that nothing came of the call. The statuses are those of
RFC 9110, read as Standard Webhooks reads them: 2xx is success
(https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md).
"""

from collections.abc import Mapping
from datetime import timedelta
from enum import StrEnum
from typing import NamedTuple

import msgspec

from worker.providers.http_calls import printable
from worker.providers.protocol import Applied, NotApplied, Outcome, Refused, Unknown

LONGEST_ORDER = 128
"""Characters of an order's id; a longer one is not taken over."""


class Meaning(StrEnum):
    """What a status says about the parcel."""

    APPLIED = "applied"
    NOT_ASKED = "not asked"
    """Turned away before the parcel was looked at: for the operator, no fault of the order."""
    REFUSED = "refused"
    TAKEN = "taken"
    """It may have this very parcel: refused where it can be asked, which the core does then; unknown elsewhere."""
    UNKNOWN = "unknown"


MEANINGS: Mapping[int, Meaning] = {
    **dict.fromkeys(range(200, 300), Meaning.APPLIED),
    400: Meaning.REFUSED,
    401: Meaning.NOT_ASKED,
    403: Meaning.NOT_ASKED,
    404: Meaning.REFUSED,
    408: Meaning.UNKNOWN,  # the server gave up waiting; how much it had read by then, it does not say
    409: Meaning.TAKEN,
    410: Meaning.REFUSED,
    413: Meaning.REFUSED,
    422: Meaning.REFUSED,
    429: Meaning.NOT_ASKED,
}
"""What each status means; what is not here (1xx, 3xx, other 4xx, 5xx) is unknown."""


class Answer(NamedTuple):
    """What is taken from an answer to the POST."""

    status: int
    order: str = ""
    """The order's id by the answer's body, empty where it gave none."""
    retry_after: timedelta | None = None
    request: str = ""
    """The receiver's own id of the request."""


class _Body(msgspec.Struct):
    order: str | int


def classify(answer: Answer, reference: str, *, can_be_asked: bool = False) -> Outcome:
    """Return what an answer says of the parcel with this reference."""
    why = f"answered {answer.status}"
    match MEANINGS.get(answer.status, Meaning.UNKNOWN):
        case Meaning.APPLIED:
            return Applied(order=answer.order or reference, request=answer.request)
        case Meaning.NOT_ASKED:
            return NotApplied(why=why, retry_after=answer.retry_after, spends_attempt=False, request=answer.request)
        case Meaning.REFUSED:
            return Refused(why=why, request=answer.request)
        case Meaning.TAKEN if can_be_asked:
            return Refused(why=why, request=answer.request)
        case Meaning.TAKEN | Meaning.UNKNOWN:
            return Unknown(why=why, request=answer.request)


def order_in(body: bytes) -> str:
    """Return the order's id out of `{"order": "…"}`, empty where the body is anything else: it is optional."""
    try:
        order = str(msgspec.json.decode(body, type=_Body).order)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ""
    return printable(order, LONGEST_ORDER)
