"""Verbs for who packs by hand: `packing-list` out, `import-tracking` in."""

import json
import os
import stat
import sys
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import BinaryIO

import click

from cli import sheets
from cli.desk import Desk, at_desk
from cli.failures import Refusal
from cli.options import by_option, dry_run_option, json_option
from cli.output import moment, print_json_line, print_table, progress, safe
from cli.records import Data
from cli.sheets import Row, UnreadableFile
from rewardpost import interventions
from rewardpost.addresses import PostalAddress
from rewardpost.fulfilment import Fulfilment
from rewardpost.interventions import Refused
from rewardpost.operations import NotFound
from rewardpost.queue import Gap
from rewardpost.states import State

LONG_GAP = timedelta(minutes=15)
"""A server that went back to a backup was out of sight for longer, and an ordinary restart is not."""
LARGEST_FILE = 16 * 1024 * 1024
"""Bytes of a file of tracking numbers; a year's parcels have fewer."""

_MANUAL = "manual"
_OWNER_ONLY = 0o600
_ADDRESS = ("name", "company", "line_1", "line_2", "postal_code", "city", "region", "country")
_COLUMNS = ("reference", "article", "article_name", "quantity", *_ADDRESS, "redeemed_at")

APPLIED = "applied"
ALREADY = "already"
REFUSED = "refused"
"""What may become of a row; already: the ledger has this very number."""


@dataclass(frozen=True)
class Line:
    """One parcel that is to be packed."""

    record: Fulfilment
    address: PostalAddress | None

    def cells(self) -> list[str]:
        """Return the row's cells."""
        address = [getattr(self.address, part, "") for part in _ADDRESS]
        record = self.record
        names = [record.provider_reference, record.article or "", record.article_name]
        return [*names, "1", *address, moment(record.redeemed_at)]

    def data(self) -> Data:
        """Return it as JSON has it."""
        return {**dict(zip(_COLUMNS, self.cells(), strict=True)), "quantity": 1}


@dataclass(frozen=True)
class Outcome:
    """What became of one row of a file of tracking numbers, or would."""

    row: Row
    what: str
    why: str = ""

    def data(self) -> Data:
        """Return it as JSON has it."""
        row = self.row
        return {
            "line": row.line,
            "reference": row.named,
            "tracking": row.tracking,
            "outcome": self.what,
            "why": self.why,
        }


@click.command()
@click.option("--csv", "as_csv", is_flag=True, help="CSV with a header and an empty column `tracking` to fill in.")
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write to FILE, which only you may read then, instead of standard output.",
)
@json_option
def packing_list(*, as_csv: bool, output: Path | None, as_json: bool) -> None:
    """List what is to be packed, with names and addresses, the longest waiting first.

    Left out is what is being cancelled or on hold. In a pipe: the columns of the table, separated by tabs; with
    --json one document a line. In a CSV cell that a spreadsheet would take for a formula an apostrophe comes first.
    With the tracking numbers filled in, the file goes back by import-tracking.
    """
    if as_csv and as_json:
        raise click.UsageError("expected either --csv or --json")

    async def work(desk: Desk) -> tuple[list[Line], Gap | None]:
        return [line async for line in _to_pack(desk)], await desk.queue.latest_gap()

    lines, gap = at_desk(work)
    if as_csv:
        _write(_csv(lines, for_terminal=output is None and sys.stdout.isatty()), output)
    elif output is not None:
        _write(_text(lines, as_json=as_json), output)
    elif as_json:
        for line in lines:
            print_json_line(line.data())
    elif lines:
        print_table(_COLUMNS, [line.cells() for line in lines])
    if not lines:
        click.echo("nothing to pack", err=True)
    _warn(lines, gap)


@click.command()
@click.argument("file", type=click.File("rb"))
@by_option
@dry_run_option
@json_option
def import_tracking(*, file: BinaryIO, by: str, dry_run: bool, as_json: bool) -> None:
    """Note that parcels left: FILE (- is standard input) has their references and tracking numbers.

    It is CSV in UTF-8, split by , or ; with a header that names the columns `reference` and `tracking`; other columns
    are passed over. Good rows are applied, the others listed with their line and the reason; the exit status is 1
    then. The same file again changes nothing. With --json one document for each row.
    """
    rows = _rows(file)

    async def work(desk: Desk) -> list[Outcome]:
        outcomes: dict[str, Outcome] = {}
        told = []
        with progress("importing", len(rows)) as step:
            for row in rows:
                outcome = await _import(desk, row, outcomes, by=by, dry_run=dry_run)
                told.append(outcome)
                if as_json:
                    print_json_line(outcome.data())
                step()
        return told

    outcomes = at_desk(work, by=by)
    refused = [outcome for outcome in outcomes if outcome.what == REFUSED]
    if not as_json:
        _report(outcomes, refused, dry_run=dry_run)
    if refused:
        would = "would not be" if dry_run else "were not"
        raise Refusal(f"{len(refused)} of {len(outcomes)} rows {would} applied")


def _warn(lines: Sequence[Line], gap: Gap | None) -> None:
    """Say which parcels somebody may have packed already, where a backup may have been put back."""
    if gap is None or gap.end - gap.start < LONG_GAP:
        return
    listed = [line for line in lines if line.record.changed_at is not None and line.record.changed_at <= gap.end]
    if listed:
        click.secho(
            f"{len(listed)} of these were listed before {moment(gap.start)}, and no worker was seen until "
            f"{moment(gap.end)}. If a backup was put back then, look whether they have been packed already.",
            fg="yellow",
            err=True,
        )


async def _to_pack(desk: Desk) -> AsyncIterator[Line]:
    async for record in desk.operations.in_states(State.SUBMITTED):
        if record.provider == _MANUAL and not record.flags:
            personal = await desk.operations.ledger.personal(record.reference)
            yield Line(record, personal.address)


def _csv(lines: Sequence[Line], *, for_terminal: bool) -> bytes:
    rows = [[*line.cells(), ""] for line in lines]
    shown = [[safe(cell) for cell in row] for row in rows] if for_terminal else rows
    return sheets.write((*_COLUMNS, "tracking"), shown)


def _text(lines: Sequence[Line], *, as_json: bool) -> bytes:
    shown = [json.dumps(line.data()) if as_json else "\t".join(map(safe, line.cells())) for line in lines]
    return "".join(f"{line}\n" for line in shown).encode()


def _write(content: bytes, output: Path | None) -> None:
    if output is None:
        click.echo(content, nl=False)
        return
    try:
        with os.fdopen(os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, _OWNER_ONLY), "wb") as file:
            if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                os.fchmod(file.fileno(), _OWNER_ONLY)  # of a file that was there already
            file.write(content)
    except OSError as exc:
        raise Refusal(f"cannot write {safe(str(output))}: {exc.strerror}") from None


def _rows(file: BinaryIO) -> list[Row]:
    content = file.read(LARGEST_FILE + 1)
    if len(content) > LARGEST_FILE:
        raise Refusal(f"the file cannot be used: expected at most {LARGEST_FILE} bytes")
    try:
        return sheets.read(content)
    except UnreadableFile as exc:
        raise Refusal(f"the file cannot be used: {exc}") from None


async def _import(desk: Desk, row: Row, before: dict[str, Outcome], *, by: str, dry_run: bool) -> Outcome:
    """Apply a row, unless it repeats one of those before, which are gathered by reference."""
    if row.why_not:
        return Outcome(row, REFUSED, row.why_not)
    first = before.get(row.reference)
    if first is not None and first.what != REFUSED:
        return Outcome(row, ALREADY)
    before[row.reference] = outcome = await _apply(desk, row, by=by, dry_run=dry_run)
    return outcome


async def _apply(desk: Desk, row: Row, *, by: str, dry_run: bool) -> Outcome:
    view = await desk.operations.ledger.load(row.reference)
    record = view.record
    if record is None:
        ended = f"it ended as {view.done}, and its record has expired since"
        return Outcome(row, REFUSED, ended if view.done else "unknown reference")
    if row.tracking in record.tracking:
        return Outcome(row, ALREADY)
    if row.generation not in {None, record.generation}:
        return Outcome(row, REFUSED, f"another generation; expected {record.provider_reference}")
    try:
        if dry_run:
            interventions.shipped(record, row.tracking, by=by, now=view.now)
        else:
            await desk.operations.shipped(row.reference, row.tracking)
    except Refused as exc:
        return Outcome(row, REFUSED, str(exc))
    except NotFound:
        return Outcome(row, REFUSED, "unknown reference")
    return Outcome(row, APPLIED)


def _report(outcomes: Sequence[Outcome], refused: Sequence[Outcome], *, dry_run: bool) -> None:
    if refused:
        rows = [(str(outcome.row.line), outcome.row.named, outcome.why) for outcome in refused]
        print_table(("line", "reference", "why not"), rows)
    applied, already = (sum(outcome.what == what for outcome in outcomes) for what in (APPLIED, ALREADY))
    verb = "would be applied" if dry_run else "applied"
    click.echo(f"{applied} {verb}, {already} already noted", err=bool(refused))
