"""Bounds for text from outside before it is stored, shown or used as a key.

An id is never cut: a cut id could be somebody else's. One that is too long or holds control characters gives
way to a stand-in that is as distinct as the id, and that no look-up will ever find.
"""

import hashlib
import re

LONGEST_ID = 200
"""Characters; Voucherify's own ids have about 30, a shop's e-mail addresses up to 254 but hardly ever over 200."""

_KEPT = 100
_DIGEST_HEX_DIGITS = 32
_HARMFUL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
"""Control characters, and those that reorder the text around them on a screen."""


def identifier(text: str) -> str:
    """Return an id as it may be stored: itself, or its beginning with a digest of the whole of it.

    Different ids stay different, equal ones equal, so that an index by id still works.
    """
    if len(text) <= LONGEST_ID and not _HARMFUL.search(text):
        return text
    digest = hashlib.sha256(text.encode()).hexdigest()[:_DIGEST_HEX_DIGITS]
    return f"{_HARMFUL.sub('?', text[:_KEPT])}…{digest}"


def optional(text: str | None) -> str | None:
    """Return an id as it may be stored, where there is one."""
    return None if text is None else identifier(text)


def is_plain(text: str) -> bool:
    """Tell whether an id can be stored as it is."""
    return identifier(text) == text


def label(text: str | None, longest: int) -> str:
    """Return text for people to read, on one line and cut to a number of characters; empty for nothing."""
    return " ".join(_HARMFUL.sub(" ", text or "").split())[:longest]
