"""`Retry-After`: how long a server asks us to wait, in seconds or as a date (RFC 9110, 10.2.3)."""

import re
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

LONGEST = timedelta(days=1)
"""No server is taken at its word for longer: a slip of its clock must not park a reward for years."""

_NOW = timedelta()
_SECONDS = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?", re.ASCII)


def parse(value: str | None, now: datetime) -> timedelta | None:
    """Return how long to wait from `now` (aware), between nothing and `LONGEST`; None if it cannot be read.

    A date that has passed means now. Fractions of a second, which the standard does not have, are accepted.
    """
    text = (value or "").strip()
    if _SECONDS.fullmatch(text):
        return min(timedelta(seconds=float(text)), LONGEST)
    try:
        until = parsedate_to_datetime(text)
    except (ValueError, TypeError, OverflowError):
        return None
    if until.tzinfo is None:
        until = until.replace(tzinfo=UTC)
    return min(max(until - now, _NOW), LONGEST)
