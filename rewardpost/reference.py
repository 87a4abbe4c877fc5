"""The reference: the permanent name of one reward, in the ledger and at the provider.

Every reference matches `[A-Za-z0-9_-]{1,40}`, the alphabet and length that all providers keep whole.
It is computed from the reward alone, so that any process at any time finds the same one.

The four forms cannot meet one another, since a plain id holds no hyphen:

* `vfy-<redemption id>`: the common one;
* `vfy-<event id>`: a reward without a redemption; event ids start with `ev…_`, redemptions that do are hashed;
* `vfy-h-<digest>`: the same two, where the id is too long or holds other characters;
* `vfy-d-<digest>`: no id at all, so the delivery stands in for it and a person decides.

A generation above 1 is written behind it: `-g2`, `-g3` … (a person decided to ship again).
"""

import base64
import hashlib
import re

PREFIX = "vfy-"

_PLAIN = re.compile(r"[A-Za-z0-9_]{1,32}", re.ASCII)
_EVENT = re.compile(r"ev[a-z]*_", re.ASCII)
_GENERATION = re.compile(r"(?P<reference>vfy-.+)-g(?P<generation>[1-9][0-9]{0,2})", re.ASCII)
_DIGEST_BYTES = 16


def for_redemption(redemption_id: str) -> str:
    """Return the reference of the reward that this redemption paid for."""
    if _PLAIN.fullmatch(redemption_id) and not _EVENT.match(redemption_id):
        return PREFIX + redemption_id
    return _hashed("redemption", redemption_id)


def for_event(event_id: str) -> str:
    """Return the reference of a reward that has no redemption, only an event."""
    if _PLAIN.fullmatch(event_id) and _EVENT.match(event_id):
        return PREFIX + event_id
    return _hashed("event", event_id)


def for_delivery(delivery_id: str) -> str:
    """Return the reference of a reward that names neither a redemption nor an event."""
    return f"{PREFIX}d-{_digest('delivery', delivery_id)}"


def at_provider(reference: str, generation: int) -> str:
    """Return the name under which a provider knows this generation of the reward; generations count from 1."""
    return reference if generation == 1 else f"{reference}-g{generation}"


def split(reference_at_provider: str) -> tuple[str, int]:
    """Return the ledger's reference and the generation of a name found at a provider."""
    match = _GENERATION.fullmatch(reference_at_provider)
    if match is None:
        return reference_at_provider, 1
    return match["reference"], int(match["generation"])


def parse(text: str) -> str:
    """Return the ledger's reference for what a person typed: a reference (of any generation) or a redemption id."""
    return split(text)[0] if text.startswith(PREFIX) else for_redemption(text)


def _hashed(kind: str, text: str) -> str:
    return f"{PREFIX}h-{_digest(kind, text)}"


def _digest(kind: str, text: str) -> str:
    digest = hashlib.sha256(f"{kind}:{text}".encode("utf-8", "surrogatepass")).digest()[:_DIGEST_BYTES]
    return base64.b32encode(digest).decode().rstrip("=").lower()
