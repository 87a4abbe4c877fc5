"""How verbs print: tables and colour in a terminal, tab-separated text in a pipe, JSON where it is asked for.

What came from outside is escaped before it reaches a terminal, which would obey control characters in it.
"""

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime

import click

from rewardpost.states import ENDS, State

_STYLES: Mapping[State, str] = {
    State.NEEDS_ATTENTION: "bold red",
    State.NEEDS_ADDRESS: "yellow",
    State.UNKNOWN: "red",
    State.SUBMITTED: "cyan",
    State.SHIPPED: "green",
    State.DELIVERED: "green",
}


def safe(text: str) -> str:
    """Return text that does nothing to a terminal: control and invisible characters as escapes."""
    return "".join(character if character.isprintable() else _escaped(character) for character in text)


def moment(at: datetime | None) -> str:
    """Return a time as ISO 8601, UTC, with milliseconds; empty for none."""
    if at is None:
        return ""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def style_of(state: State) -> str:
    """Return rich's style for a state."""
    return _STYLES.get(state, "dim" if state in ENDS else "")


def print_json(value: object) -> None:
    """Print one JSON document over several lines."""
    click.echo(json.dumps(value, indent=2))


def print_json_line(value: object) -> None:
    """Print one JSON document on one line."""
    click.echo(json.dumps(value))


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]], *, styles: Sequence[str] = ()) -> None:
    """Print rows: as a table in a terminal, in a pipe as tab-separated lines without a heading.

    `styles` holds rich's style for each row; the first column is never broken over lines.
    """
    if not sys.stdout.isatty():
        for row in rows:
            click.echo("\t".join(safe(cell) for cell in row))
        return
    from rich import box  # noqa: PLC0415 - only a terminal needs rich, and a pipe should not wait for it
    from rich.console import Console  # noqa: PLC0415 - the same
    from rich.table import Table  # noqa: PLC0415 - the same
    from rich.text import Text  # noqa: PLC0415 - the same

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for number, column in enumerate(columns):
        table.add_column(column, no_wrap=number == 0, overflow="fold")
    for number, row in enumerate(rows):
        table.add_row(*(Text(safe(cell)) for cell in row), style=styles[number] if styles else None)
    Console(highlight=False).print(table)


def print_fields(fields: Iterable[tuple[str, str]]) -> None:
    """Print names with their values, aligned; empty values are left out."""
    shown = [(name, value) for name, value in fields if value]
    width = max((len(name) for name, _ in shown), default=0)
    for name, value in shown:
        click.echo(f"{click.style(name.ljust(width), dim=True)}  {safe(value)}")


@contextmanager
def progress(what: str, total: int) -> Iterator[Callable[[], None]]:
    """Show how far something has come, on standard error and in a terminal only; yields what counts one step."""
    if total <= 1 or not sys.stderr.isatty():
        yield lambda: None
        return
    from rich.console import Console  # noqa: PLC0415 - only a terminal needs rich
    from rich.progress import Progress  # noqa: PLC0415 - the same

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=total)
        yield lambda: bar.advance(task)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode()
