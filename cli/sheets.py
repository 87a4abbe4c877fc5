"""CSV as spreadsheets write and read it: cells that start nothing, and files of tracking numbers; pure."""

import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from rewardpost import reference as references

LONGEST_CELL = 200
"""Characters of a cell that is taken over."""

_STARTS_FORMULA = re.compile(r"'*[=+\-@\t\r]")
# What a spreadsheet makes of a long number: its last digits are gone.
_SHORTENED = re.compile(r"[0-9]([.,][0-9]+)?E\+[0-9]+", re.IGNORECASE | re.ASCII)
_BLANKS = " \u00a0"
_NEEDED = ("reference", "tracking")
_DELIMITERS = (",", ";")


class UnreadableFile(Exception):  # noqa: N818 - an answer to a person, not a fault of the program
    """The file as a whole cannot be used; the message names the line and what was expected."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One row of a file of tracking numbers."""

    line: int
    """Where it starts, counted from 1."""
    named: str = ""
    """The reward as the file names it."""
    tracking: str = ""
    why_not: str = ""
    """Why the row cannot be used, whatever the ledger says; empty where it can."""

    @property
    def reference(self) -> str:
        """The ledger's reference."""
        return references.parse(self.named)

    @property
    def generation(self) -> int | None:
        """The generation that the file names; None for a redemption, which has none."""
        return references.split(self.named)[1] if self.named.startswith(references.PREFIX) else None


def guarded(text: str) -> str:
    """Return a cell that no spreadsheet takes for a formula: an apostrophe stands before what could start one.

    See https://owasp.org/www-community/attacks/CSV_Injection.
    """
    return f"'{text}" if _STARTS_FORMULA.match(text) else text


def unguarded(cell: str) -> str:
    """Return what `guarded` was given."""
    return cell[1:] if cell.startswith("'") and _STARTS_FORMULA.match(cell) else cell


def write(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> bytes:
    """Return CSV by RFC 4180, in UTF-8, with a header."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(columns)
    writer.writerows([guarded(cell) for cell in row] for row in rows)
    return text.getvalue().encode("utf-8", "backslashreplace")


def read(content: bytes) -> list[Row]:
    """Return the rows of a file with the columns `reference` and `tracking`; other columns and empty rows are left out.

    Rows of one reward with different numbers cannot be used, none of them: nobody knows which one is right.

    Raises:
        UnreadableFile: it is not UTF-8, not CSV with `,` or `;`, or lacks a column.
    """
    text = _decoded(content)
    for delimiter in _DELIMITERS:
        cells = _cells(text, delimiter)
        header = next(cells, (1, []))[1]
        names = [unguarded(cell.strip(_BLANKS)).casefold() for cell in header]
        if all(names.count(name) == 1 for name in _NEEDED):
            return _without_contradictions([_row(line, row, names) for line, row in cells if any(row)])
    raise UnreadableFile("line 1: expected a header with one column `reference` and one `tracking`, split by , or ;")


def _decoded(content: bytes) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        line = exc.object[: exc.start].count(b"\n") + 1
        raise UnreadableFile(f"line {line}: expected UTF-8; a spreadsheet saves it as “CSV UTF-8”") from None


def _cells(text: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    line = 1
    try:
        for row in reader:
            yield line, row
            line = reader.line_num + 1
    except csv.Error as exc:
        raise UnreadableFile(f"line {line}: expected CSV by RFC 4180 ({exc})") from None


def _row(line: int, cells: Sequence[str], names: Sequence[str]) -> Row:
    if any(cells[len(names) :]):
        return Row(line=line, why_not=f"expected {len(names)} cells as in the header, got {len(cells)}")
    found = dict(zip(names, (cell.strip(_BLANKS) for cell in cells), strict=False))
    named, tracking = (found.get(name, "") for name in _NEEDED)
    why_not = _unusable("reference", named) or _unusable("tracking", tracking)
    return Row(line=line, named=unguarded(named), tracking=unguarded(tracking), why_not=why_not)


def _unusable(column: str, cell: str) -> str:
    if not cell:
        return f"{column}: expected a value, the cell is empty"
    if _STARTS_FORMULA.match(cell) and unguarded(cell) == cell:
        return f"{column}: expected text, got a formula"
    if _SHORTENED.fullmatch(cell):
        return f"{column}: expected all digits, got a number that a spreadsheet has shortened"
    if len(cell) > LONGEST_CELL or not unguarded(cell).isprintable():
        return f"{column}: expected one line of at most {LONGEST_CELL} printable characters"
    return ""


def _without_contradictions(rows: Sequence[Row]) -> list[Row]:
    numbers: dict[str, dict[str, int]] = {}
    for row in rows:
        if not row.why_not:
            numbers.setdefault(row.reference, {}).setdefault(row.tracking, row.line)
    return [_contradicted(row, numbers) for row in rows]


def _contradicted(row: Row, numbers: dict[str, dict[str, int]]) -> Row:
    if row.why_not or len(numbers[row.reference]) == 1:
        return row
    other = next(line for number, line in numbers[row.reference].items() if number != row.tracking)
    return Row(line=row.line, named=row.named, tracking=row.tracking, why_not=f"line {other} has another number for it")
