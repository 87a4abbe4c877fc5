"""The delivery: one webhook as it was received, sealed, which the door stores and a worker opens.

The door never looks inside the body, so nothing here knows what an event is.
"""

import hashlib
from datetime import datetime

import msgspec

KEPT_HEADERS = frozenset({"content-type", "user-agent", "x-request-id"})
"""Request headers worth keeping with a delivery; the signature is checked at the door and not kept."""

_ID_HEX_DIGITS = 32


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """One webhook as received.

    Fields may be added with a default, never removed or given another meaning: a worker one release
    older or newer reads the same record.
    """

    id: str
    """`delivery_id` of the body: 32 lower-case hexadecimal digits."""
    source: str
    """Which door took it in, for example `voucherify` or `audit`."""
    received_at: datetime
    """When the door had read all of it; aware, UTC."""
    body: bytes
    """The body after transfer and content coding, otherwise unopened."""
    headers: dict[str, str] = {}
    """Lower-case names out of `KEPT_HEADERS`."""
    version: int = 1

    def __repr__(self) -> str:
        """Show nothing of the body, which holds personal data."""
        return f"Delivery(id={self.id!r})"


def delivery_id(body: bytes) -> str:
    """Return the id of a delivery with this body: the first 128 bits of its SHA-256, in hexadecimal.

    Equal bodies have equal ids, which is how a repeat by the sender is recognised.
    """
    return hashlib.sha256(body).hexdigest()[:_ID_HEX_DIGITS]
