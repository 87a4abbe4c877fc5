"""The search through the logs of the suite for what must never be logged."""

from collections.abc import Iterator
from pathlib import Path

from cli import sample
from tests import builders, door_client, house

_PERSONAL_KEYS = frozenset({"name", "email", "source_id", "phone", "code"})
_PERSONAL_PARENTS = frozenset({"customer", "holder", "voucher", "data"})
_ADDRESS = frozenset({"Tess Testperson", "Probestrasse", "Musterstadt"})  # its postal code is too much like a time
_PIECES_OF_BODIES = frozenset({'"redemption":', '\\"redemption\\"', "loyalty_card", "target_url", "assignment_id"})


def forbidden() -> frozenset[str]:
    """Return the texts of the fixtures that are personal, secret or a piece of a body."""
    trees = [sample.data(), builders.rewarded(), builders.rewarded(builders.discount_coupon()), builders.deleted()]
    personal = frozenset(text for tree in trees for text in _personal(tree, inside=""))
    return personal | _ADDRESS | _PIECES_OF_BODIES | {house.SECRET, door_client.SECRET}


def found_in(directory: Path) -> set[tuple[str, str]]:
    """Return each forbidden text that stands in a log below the directory, with the name of the file."""
    texts = forbidden()
    logs = {path: path.read_text(encoding="utf-8", errors="replace") for path in directory.rglob("*.log")}
    return {(text, path.name) for path, log in logs.items() for text in texts if text in log}


def _personal(tree: object, *, inside: str) -> Iterator[str]:
    if isinstance(tree, dict):
        for key, value in tree.items():
            if isinstance(value, str) and key in _PERSONAL_KEYS and inside in _PERSONAL_PARENTS:
                yield value
            else:
                yield from _personal(value, inside=key)
    elif isinstance(tree, list):
        for value in tree:
            yield from _personal(value, inside=inside)
