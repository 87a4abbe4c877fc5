"""What a webhook of a provider's hints at: rewards of ours whose orders are worth a look; pure and total.

A hint decides nothing and may be forged, late or lost. It only makes a look happen earlier.
"""

import re
from collections.abc import Iterator

import msgspec

from rewardpost import reference

MOST = 100
"""References taken from one webhook; a webhook speaks of one order."""

_KEY = "reference_id"
_OURS = re.compile(rf"(?=.{{1,40}}\Z){reference.PREFIX}[A-Za-z0-9_-]+", re.ASCII)


def references_in(body: bytes) -> tuple[str, ...]:
    """Return the ledger's references that a ShipBob webhook names, each once; empty where it names none of ours.

    Its topics have payloads of their own (an order, a shipment, either of them inside an envelope), which ShipBob's
    OpenAPI document leaves out. All name the order's reference `reference_id`, as the orders of the document do, so
    that name is looked for wherever it stands (https://developer.shipbob.com/webhooks).
    """
    try:
        content = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ()
    return tuple(dict.fromkeys(reference.split(text)[0] for text in _values(content) if _OURS.fullmatch(text)))[:MOST]


def _values(content: object) -> Iterator[str]:
    waiting = [content]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict):
            value = part.get(_KEY)
            if isinstance(value, str):
                yield value
            waiting.extend(reversed(part.values()))
        elif isinstance(part, list):
            waiting.extend(reversed(part))
