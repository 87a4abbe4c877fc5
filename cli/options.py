"""Arguments and options that several verbs share, and how their text becomes values."""

import getpass
from collections.abc import Callable
from datetime import datetime
from typing import Any, TypeVar

import click

from rewardpost import parsing, reference

_LONGEST_TEXT = 200

Command = TypeVar("Command", bound=Callable[..., Any])
Value = TypeVar("Value")


def to_reference(text: str) -> str:
    """Return the ledger's reference for a reference of any generation, or for a redemption id."""
    if not text.strip():
        raise click.BadParameter("expected a reference (vfy-…) or a redemption id (r_…)")
    return reference.parse(text.strip())


def to_instant(text: str) -> datetime:
    """Return the time that a person wrote; without an offset it is UTC."""
    instant = _parsed(parsing.instant, text)
    if instant is None:
        raise click.BadParameter("expected an ISO 8601 time such as 2026-01-31T00:00:00Z")
    return instant


def to_line(text: str) -> str:
    """Return one line of text that may stand in a journal, without white space around it."""
    line = text.strip()
    if len(line) > _LONGEST_TEXT or not line.isprintable():
        raise click.BadParameter(f"expected one line of at most {_LONGEST_TEXT} printable characters")
    return line


def to_url(text: str) -> str:
    """Return a web address."""
    return _parsed(parsing.url("http", "https"), text)


def _parsed(parse: Callable[[str], Value], text: str) -> Value:
    try:
        return parse(text)
    except ValueError as exc:
        raise click.BadParameter(f"expected {exc}") from None


def _operator() -> str:
    try:
        return f"operator:{getpass.getuser()}"
    except (KeyError, OSError):  # a container's user without a name
        return "operator"


reference_argument = click.argument("reference", metavar="REFERENCE", type=to_reference)

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")

by_option = click.option(
    "--by",
    type=to_line,
    metavar="NAME",
    envvar="REWARDPOST_OPERATOR",
    default=_operator,
    help="Your name for the journal; default: $REWARDPOST_OPERATOR, then operator:<user>.",
)

dry_run_option = click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")


def reason_option(default: str = "") -> Callable[[Command], Command]:
    """Return the option for the reason that stands in the journal; required where there is no default."""
    if not default:
        return click.option("--reason", type=to_line, metavar="TEXT", required=True, help="Why, for the journal.")
    said = f"Why, for the journal; default: {default}."
    return click.option("--reason", type=to_line, metavar="TEXT", default=default, help=said)
