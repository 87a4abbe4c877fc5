"""Finds keys that one JSON object gives twice with different values.

Parsers disagree about which of the two counts (msgspec takes the last), so a body that says two things about
what is shipped, or to whom, must not be read by picking one of them. A key repeated with the same value says
one thing; one in a part that nobody reads says nothing.
"""

import functools
import json
import typing
from typing import Final

import msgspec

_CONTRADICTORY: Final = object()


def parse(body: bytes) -> object:
    """Parse a whole body, remembering contradictory keys; for `find` alone.

    Raises:
        ValueError: it is not JSON.
        RecursionError: it is nested too deeply.
    """
    return json.loads(
        body.decode("utf-8", "replace"),
        object_pairs_hook=_remember,
        # Numbers are compared as written: a conversion costs time and has a limit of digits.
        parse_int=_as_written,
        parse_float=_as_written,
        parse_constant=_as_written,
    )


def find(tree: object, part: type[msgspec.Struct], path: str = "") -> str | None:
    """Return the path of the first contradictory key among those that `part` and the parts inside it declare."""
    if not isinstance(tree, dict):
        return None
    for name, inner in _fields(part):
        value = tree.get(name)
        here = f"{path}.{name}" if path else name
        if value is _CONTRADICTORY:
            return here
        found = find(value, inner, here) if inner is not None else None
        if found is not None:
            return found
    return None


def child(tree: object, name: str) -> object:
    """Return what stands under a key; None where it is no object or has no such key."""
    return tree.get(name) if isinstance(tree, dict) else None


def _remember(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        first: dict[str, object] = {}
        for key, value in pairs:
            if first.setdefault(key, value) != value:
                found[key] = _CONTRADICTORY
    return found


def _as_written(digits: str) -> tuple[str]:
    return (digits,)  # unlike a string with the same characters


@functools.cache
def _fields(part: type[msgspec.Struct]) -> tuple[tuple[str, type[msgspec.Struct] | None], ...]:
    return tuple((field.encode_name, _struct_in(field.type)) for field in msgspec.structs.fields(part))


def _struct_in(declared: object) -> type[msgspec.Struct] | None:
    for candidate in typing.get_args(declared):
        if isinstance(candidate, type) and issubclass(candidate, msgspec.Struct):
            return candidate
    return None
