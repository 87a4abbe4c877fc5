"""The report of a run: the table for a person, JSON for machines, Markdown for the document.

`python -m bench.report RESULTS.json --markdown` prints the tables of `docs/performance.md`; without the option it
prints the table again.
"""

import json
import sys
from argparse import ArgumentParser
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.figures import Part, Row, shown

_HEAD = ("what", "measured", "must reach", "aim", "met", "figures")
_STYLES = {"yes": "green", "yes, the aim too": "bold green", "NO": "bold red", "not measured": "yellow"}


def cells(row: Row) -> tuple[str, ...]:
    """Return a row as text, in the order of the table's head."""
    measured = "not measured" if row.measured is None else f"{shown(row.measured)} {row.unit}".strip()
    return (row.what, measured, _bound(row.demanded, row), _bound(row.aim, row), verdict(row), row.note)


def verdict(row: Row) -> str:
    """Say whether a row is as demanded."""
    if row.measured is None:
        return "not measured"
    if row.met is None:
        return ""
    if not row.met:
        return "NO"
    return "yes, the aim too" if row.aim_met else "yes"


def _bound(value: float | None, row: Row) -> str:
    if value is None:
        return ""
    return f"{'at most ' if row.at_most else ''}{value:,g}"


def show(rows: Sequence[Row], console: Console) -> None:
    """Print the table: ruled in a terminal, one row a line with tabs in a pipe."""
    if not console.is_terminal:
        for line in (_HEAD, *map(cells, rows)):
            console.file.write("\t".join(line) + "\n")
        return
    table = Table(*_HEAD, show_lines=True)
    for row in rows:
        table.add_row(*cells(row), style=None if verdict(row) == "" else _STYLES[verdict(row)])
    console.print(table)


def markdown(results: Mapping[str, Any]) -> str:
    """Return the figures and the machine as Markdown."""
    rows = [Row(**row) for part in results["parts"].values() for row in part["rows"]]
    lines = [_line(_HEAD), _line(["---"] * len(_HEAD)), *(_line(cells(row)) for row in rows)]
    lines += ["", "| machine | |", "| --- | --- |"]
    lines += [_line((name, value)) for name, value in results["machine"].items()]
    lines += ["", "| part | settings |", "| --- | --- |"]
    lines += [_line((name, part["settings"])) for name, part in results["parts"].items()]
    return "\n".join(lines) + "\n"


def _line(values: Sequence[str]) -> str:
    return f"| {' | '.join(value.replace('|', '/') for value in values)} |"


def results(parts: Mapping[str, Part], machine: Mapping[str, str], run: Mapping[str, Any]) -> dict[str, Any]:
    """Return everything that was found as plain data."""
    return {
        "run": dict(run),
        "machine": dict(machine),
        "parts": {
            name: {
                "settings": part.settings,
                "rows": [{**asdict(row)} for row in part.rows],
                "raw": part.raw,
            }
            for name, part in parts.items()
        },
    }


def main() -> int:
    """Print a report again."""
    parser = ArgumentParser(prog="python -m bench.report", description="Print the figures of a run.")
    parser.add_argument("results", type=Path, help="the JSON file of a run")
    parser.add_argument("--markdown", action="store_true", help="as Markdown for docs/performance.md")
    told = parser.parse_args()
    found = json.loads(told.results.read_text(encoding="utf-8"))
    if told.markdown:
        sys.stdout.write(markdown(found))
    else:
        show([Row(**row) for part in found["parts"].values() for row in part["rows"]], Console())
    return 0


if __name__ == "__main__":
    sys.exit(main())
