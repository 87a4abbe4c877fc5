"""Parsers for single settings: text in, a checked value out.

Each raises ValueError whose message completes the sentence "expected …" and never repeats the value.
"""

import base64
import binascii
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit


def text(pattern: str = r"[^\x00-\x1f\x7f]*") -> Callable[[str], str]:
    """Accept text that matches the whole pattern."""
    compiled = re.compile(pattern)

    def parse(raw: str) -> str:
        if compiled.fullmatch(raw) is None:
            raise ValueError(f"text that matches {pattern}")
        return raw

    return parse


def choice(*allowed: str) -> Callable[[str], str]:
    """Accept one word out of a few."""

    def parse(raw: str) -> str:
        if raw not in allowed:
            raise ValueError("one of " + ", ".join(allowed))
        return raw

    return parse


def some_of(*allowed: str) -> Callable[[str], tuple[str, ...]]:
    """Accept comma-separated words out of a few, each at most once, in the order given."""

    def parse(raw: str) -> tuple[str, ...]:
        found = tuple(word.strip() for word in raw.split(",") if word.strip())
        if not set(found) <= set(allowed) or len(set(found)) != len(found):
            raise ValueError("comma-separated words out of " + ", ".join(allowed) + ", each at most once")
        return found

    return parse


def number(least: int, most: int) -> Callable[[str], int]:
    """Accept a whole number within bounds."""

    def parse(raw: str) -> int:
        if re.fullmatch(r"[0-9]{1,15}", raw.strip()) is None or not least <= int(raw) <= most:
            raise ValueError(f"a whole number from {least} to {most}")
        return int(raw)

    return parse


def rate(raw: str) -> float | None:
    """Accept a number above 0, for example 2.5; nothing means unset."""
    if not raw.strip():
        return None
    if re.fullmatch(r"[0-9]{1,6}(\.[0-9]{1,6})?", raw.strip()) is None or not float(raw):
        raise ValueError("a number above 0 such as 2.5")
    return float(raw)


def optional(parse: Callable[[str], int]) -> Callable[[str], int | None]:
    """Accept what `parse` accepts, or nothing."""
    return lambda raw: parse(raw) if raw.strip() else None


def duration(unit: str, least: float, most: float) -> Callable[[str], timedelta]:
    """Accept a number of seconds, minutes, hours or days within bounds."""

    def parse(raw: str) -> timedelta:
        if re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,6})?", raw.strip()) is None or not least <= float(raw) <= most:
            raise ValueError(f"a number of {unit} from {least:g} to {most:g}")
        return timedelta(**{unit: float(raw)})

    return parse


def flag(raw: str) -> bool:
    """Accept 1, true, yes, on and their opposites; nothing means no."""
    word = raw.strip().lower()
    if word in {"1", "true", "yes", "on"}:
        return True
    if word in {"", "0", "false", "no", "off"}:
        return False
    raise ValueError("1 or 0")


def instant(raw: str) -> datetime | None:
    """Accept an ISO 8601 time; without an offset it is UTC; nothing means unset."""
    if not raw.strip():
        return None
    try:
        parsed = datetime.fromisoformat(raw.strip())
    except ValueError:
        raise ValueError("an ISO 8601 time such as 2026-01-31T00:00:00Z") from None
    return parsed.replace(tzinfo=UTC) if parsed.tzinfo is None else parsed.astimezone(UTC)


def url(*schemes: str) -> Callable[[str], str]:
    """Accept an absolute URL with one of the schemes; nothing means unset."""

    def parse(raw: str) -> str:
        raw = raw.strip()
        try:
            parts = urlsplit(raw)
            complete = parts.scheme in schemes and bool(parts.path if parts.scheme == "unix" else parts.netloc)
        except ValueError:
            complete = False
        if raw and not complete:
            raise ValueError("a URL that starts with " + " or ".join(f"{scheme}://" for scheme in schemes))
        return raw

    return parse


def template(*fields: str) -> Callable[[str], str]:
    """Accept a URL in which at least one of these fields stands in braces; nothing means unset."""

    def parse(raw: str) -> str:
        raw = url("https", "http")(raw)
        named = re.findall(r"\{([^{}]*)\}", raw)
        if raw and (not named or not set(named) <= set(fields)):
            raise ValueError("a URL with " + " or ".join(f"{{{field}}}" for field in fields) + " in it")
        return raw

    return parse


def standard_webhooks_secrets(raw: str) -> tuple[str, ...]:
    """Accept comma-separated Standard Webhooks secrets."""
    return tuple(standard_webhooks_secret(secret) for secret in secrets(raw))


def words(raw: str) -> frozenset[str]:
    """Accept comma-separated words."""
    return frozenset(word.strip() for word in raw.split(",") if word.strip())


def secrets(raw: str) -> tuple[str, ...]:
    """Accept comma-separated secrets; blanks around them are dropped."""
    return tuple(secret.strip() for secret in raw.split(",") if secret.strip())


def countries(raw: str) -> frozenset[str] | None:
    """Accept comma-separated two-letter country codes; nothing means everywhere."""
    codes = frozenset(code.upper() for code in words(raw))
    if not all(re.fullmatch(r"[A-Z]{2}", code) for code in codes):
        raise ValueError("comma-separated two-letter country codes such as DE,FR")
    return codes or None


def existing_file(raw: str) -> Path | None:
    """Accept the path of a file that is there; nothing means unset."""
    if not raw.strip():
        return None
    path = Path(raw.strip())
    if not path.is_file():
        raise ValueError("the path of a file that exists and may be read")
    return path


def standard_webhooks_secret(raw: str) -> str:
    """Accept a Standard Webhooks secret: base64, with or without `whsec_` before it; nothing means unset."""
    raw = raw.strip()
    try:
        key = base64.b64decode(raw.removeprefix("whsec_") + "==", validate=False)
    except (binascii.Error, ValueError):
        key = b""
    if raw and not key:
        raise ValueError("base64, as `whsec_…`")
    return raw
