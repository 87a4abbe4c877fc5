"""CSV for spreadsheets: no cell starts a formula, and what went out comes back as it was."""

import csv
import io

import pytest

from cli import sheets


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ("mug", "mug"),
        ("", ""),
        ("=1+1", "'=1+1"),
        ("+49 30", "'+49 30"),
        ("-1", "'-1"),
        ("@SUM(1)", "'@SUM(1)"),
        ("\t=1", "'\t=1"),
        ("\r=1", "'\r=1"),
        ("'=1", "''=1"),
        ("'t Hooft", "'t Hooft"),
    ],
)
def test_cells_that_could_start_a_formula_are_guarded(text: str, cell: str) -> None:
    """An apostrophe stands before it, and reading takes exactly that one away."""
    assert sheets.guarded(text) == cell
    assert sheets.unguarded(cell) == text


def test_csv_is_that_of_rfc_4180() -> None:
    """Quotes, line breaks and delimiters survive; lines end with CR LF; the text is UTF-8."""
    row = ['He said "no"', "two\nlines", "a,b;c", "Müller 子 🎁"]
    written = sheets.write(["a", "b", "c", "d"], [row])
    assert written.startswith(b"a,b,c,d\r\n")
    assert written.endswith(b"\r\n")
    assert list(csv.reader(io.StringIO(written.decode(), newline=""))) == [["a", "b", "c", "d"], row]


def test_text_that_is_no_utf_8_stops_no_list() -> None:
    """A lone surrogate is shown as an escape."""
    assert sheets.write(["a"], [["\udc80"]]) == b"a\r\n\\udc80\r\n"


@pytest.mark.parametrize(
    ("named", "reference", "generation"),
    [("vfy-r_1", "vfy-r_1", 1), ("vfy-r_1-g3", "vfy-r_1", 3), ("r_1", "vfy-r_1", None)],
)
def test_a_row_names_a_generation_or_a_redemption(named: str, reference: str, generation: int | None) -> None:
    """A redemption stands for whichever parcel is to leave; a reference for one of them."""
    (row,) = sheets.read(f"reference,tracking\n{named},T1".encode())
    assert (row.reference, row.generation, row.tracking, row.why_not) == (reference, generation, "T1", "")


def test_lines_are_counted_where_rows_start() -> None:
    """A person finds the row in an editor, whatever cells before it hold."""
    text = 'note;reference;tracking\r\n"two\r\nlines";r_1;T1\r\n\r\n;r_2;T2\r\n'
    assert [(row.line, row.named) for row in sheets.read(text.encode())] == [(2, "r_1"), (5, "r_2")]


def test_a_cell_may_be_as_long_as_the_journal_takes() -> None:
    """The longest one is taken, one character more is not."""
    rows = sheets.read(f"reference,tracking\nr_1,{'x' * 200}\nr_2,{'x' * 201}".encode())
    assert [bool(row.why_not) for row in rows] == [False, True]
