"""Bodies of webhooks, all different, each of another customer; and those customers' addresses."""

import hmac
from collections.abc import Iterator
from pathlib import Path

from bench.peers.door_settings import BODY_BYTES, SECRET
from tests.builders import CUSTOMER, REDEMPTION, SOURCE_ID, body, changed, rewarded

_NUMBER = "@@number@@"
_DIGITS = len(_NUMBER)


def template(size: int = BODY_BYTES) -> bytes:
    """Return a `customer.rewarded` of so many bytes with a placeholder in the ids of its redemption and customer."""
    tree = changed(rewarded(), "data.customer.metadata.notes", "")
    text = body(tree).decode()
    for name, value in ((REDEMPTION, "r_bench"), (CUSTOMER, "cust_bench"), (SOURCE_ID, "bench/")):
        text = text.replace(f'"{name}"', f'"{value}{_NUMBER}"')
    notes = '"notes": "'
    return text.replace(notes, notes + "n" * (size - len(text.encode())), 1).encode()


def bodies(count: int, *, first: int = 0, size: int = BODY_BYTES) -> Iterator[bytes]:
    """Return so many bodies, all of the same size and none like another."""
    parts = template(size).split(_NUMBER.encode())
    for number in range(first, first + count):
        yield (b"%010d" % number).join(parts)


def redemption(number: int) -> str:
    """Return the redemption that the body of this number speaks of."""
    return f"r_bench{number:0{_DIGITS}d}"


def signature(content: bytes) -> bytes:
    """Return the value of the header that signs a body."""
    return hmac.digest(SECRET.encode(), content, "sha256").hex().encode()


def write_addresses(path: Path, count: int, *, first: int = 0) -> None:
    """Write the address file of the customers of as many bodies."""
    lines = ["source_id,name,line_1,city,postal_code,country"]
    lines += [
        f"bench/{number:0{_DIGITS}d},Tess Testperson,Probestrasse {number},Musterstadt,10117,DE"
        for number in range(first, first + count)
    ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
