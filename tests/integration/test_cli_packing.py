"""The packing list out and tracking numbers in, on a real ledger."""

import csv
import io
import json
import stat
from pathlib import Path
from typing import Any

import msgspec
import pytest

from cli.embedded_server import EmbeddedServer
from rewardpost import transitions
from rewardpost.changes import WORKER
from rewardpost.fulfilment import Hold
from rewardpost.keys import DEFAULT_PREFIX, Keys
from rewardpost.ledger import Ledger
from rewardpost.settings import Settings
from rewardpost.states import State
from tests import seeding
from tests.shell import Shell, fresh


@pytest.fixture
def shell(server: EmbeddedServer) -> Shell:
    """The command on the session's server, which is empty."""
    return fresh(server.url)


def _rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline="")))


def _imported(shell: Shell, text: str, *options: str) -> tuple[int, list[dict[str, Any]]]:
    """Import a file and return the exit status with what became of each row."""
    result = shell.call("import-tracking", "-", "--json", *options, stdin=text)
    return result.exit_code, [json.loads(line) for line in result.stdout.splitlines()]


def _held(shell: Shell, reference: str) -> None:
    async def hold(client: Any) -> None:  # noqa: ANN401 - arq's client
        ledger = Ledger(client, Keys(DEFAULT_PREFIX), retention=Settings().retention)
        record = (await ledger.load(reference)).record
        assert record is not None
        change = transitions.put_on_hold(record, Hold(source="reward", why="look"), by=WORKER, now=seeding.NOW)
        await ledger.apply(change, before=record)

    seeding.at(shell.url, hold)


def _changed(shell: Shell, reference: str, **fields: Any) -> None:  # noqa: ANN401 - fields of a record
    """Give a record what no verb can give it yet."""

    async def change(client: Any) -> None:  # noqa: ANN401 - arq's client
        ledger = Ledger(client, Keys(DEFAULT_PREFIX), retention=Settings().retention)
        record = (await ledger.load(reference)).record
        assert record is not None
        waiting = transitions.wait(record, seeding.NOW, "changed", now=seeding.NOW)
        changed = msgspec.structs.replace(waiting.record, **fields)
        await ledger.apply(msgspec.structs.replace(waiting, record=changed), before=record)

    seeding.at(shell.url, change)


def test_packing_list_has_what_a_packer_needs(shell: Shell) -> None:
    """One line for each parcel: reference, article, address and when it was redeemed."""
    reference = seeding.reward(shell.url, "r_1")
    (line,) = shell.done("packing-list").splitlines()
    assert line.split("\t") == [
        reference,
        "mug",
        "A mug",
        "1",
        "Tess Testperson",
        "",
        "Probestrasse 7",
        "",
        "10117",
        "Musterstadt",
        "",
        "DE",
        "2026-03-01T12:00:00.000Z",
    ]


def test_packing_list_leaves_out_what_is_not_to_be_packed(shell: Shell) -> None:
    """What is not submitted or has left, is being cancelled, on hold, or sent by another provider."""
    to_pack = seeding.reward(shell.url, "r_1")
    seeding.reward(shell.url, "r_2", State.READY)
    seeding.reward(shell.url, "r_3")
    shell.done("cancel", "r_3")
    _held(shell, seeding.reward(shell.url, "r_4"))
    seeding.reward(shell.url, "r_5")
    shell.done("shipped", "r_5", "--tracking", "T5")
    _changed(shell, seeding.reward(shell.url, "r_6"), provider="karrio")
    assert [json.loads(line)["reference"] for line in shell.done("packing-list", "--json").splitlines()] == [to_pack]


def test_empty_packing_list_says_so(shell: Shell) -> None:
    """Nothing on standard output, but for the header of a CSV file."""
    result = shell.call("packing-list")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "nothing to pack\n")
    assert len(shell.done("packing-list", "--csv").splitlines()) == 1


def test_csv_goes_out_and_comes_back(shell: Shell) -> None:
    """The list with the tracking numbers filled in is the file for the import, formulas made harmless on both ways."""
    reference = seeding.reward(shell.url, "r_1", article="=HYPERLINK(1)")
    written = shell.call("packing-list", "--csv").stdout_bytes
    assert written.count(b"\r\n") == 2
    (row,) = _rows(written.decode())
    assert (row["reference"], row["article"], row["name"], row["tracking"]) == (
        reference,
        "'=HYPERLINK(1)",
        "Tess Testperson",
        "",
    )
    filled = io.StringIO(newline="")
    writer = csv.DictWriter(filled, row)
    writer.writeheader()
    writer.writerow({**row, "tracking": "'+49 1"})
    assert _imported(shell, filled.getvalue())[0] == 0
    assert shell.json("show", reference)["tracking"] == ["+49 1"]


def test_a_list_is_written_to_a_file_that_only_its_owner_reads(shell: Shell, tmp_path: Path) -> None:
    """A list of addresses on a disk is for nobody else; each shape can be written to one."""
    reference = seeding.reward(shell.url, "r_1")
    path = tmp_path / "list"
    path.touch(0o644)
    for option, first in (("--csv", "reference,article,"), ("--json", '{"reference": '), (None, f"{reference}\tmug\t")):
        assert shell.done("packing-list", "--output", str(path), *([option] if option else [])) == ""
        assert path.read_text(encoding="utf-8").startswith(first)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert "cannot write" in shell.refused("packing-list", "--output", str(tmp_path / "nowhere" / "list"))
    assert "either --csv or --json" in shell.refused("packing-list", "--csv", "--json", status=2)


@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("delimiter", [",", ";"])
def test_tracking_numbers_come_in(shell: Shell, mark: str, delimiter: str) -> None:
    """By reference or redemption, in any order of columns; the journal names the operator."""
    one, two = seeding.reward(shell.url, "r_1"), seeding.reward(shell.url, "r_2")
    lines = ("Reference,Carrier,Tracking", f"{one},DHL,00340434", ",,", "r_2,DHL, T2 ")
    text = mark + "\n".join(lines).replace(",", delimiter)
    assert "2 applied, 0 already noted" in shell.done("import-tracking", "-", stdin=text)
    for reference, tracking in ((one, "00340434"), (two, "T2")):
        story = shell.json("show", reference)
        assert (story["state"], story["tracking"]) == ("shipped", [tracking])
        assert story["journal"][-1]["by"] == "tess"


def test_the_same_file_again_changes_nothing(shell: Shell) -> None:
    """A number that the ledger has is no fault, whatever has become of the reward since."""
    reference = seeding.reward(shell.url, "r_1")
    text = f"reference,tracking\n{reference},T1\n{reference},T1\n"
    assert [row["outcome"] for row in _imported(shell, text)[1]] == ["applied", "already"]
    story = shell.json("show", reference)
    status, rows = _imported(shell, text)
    assert (status, [row["outcome"] for row in rows]) == (0, ["already", "already"])
    assert shell.json("show", reference) == story


def test_good_rows_are_applied_and_the_others_listed(shell: Shell) -> None:
    """Each row that was not applied is named with its line and the reason; the exit status says that there are some."""
    good, contradicted, waiting, again = (seeding.reward(shell.url, f"r_{number}") for number in range(1, 5))
    seeding.reward(shell.url, "r_9", State.NEEDS_ADDRESS)
    _changed(shell, again, generation=2)
    lines = {
        f"{good},T1": "applied",
        "r_0,T0": "unknown reference",
        "r_9,T9": "it is needs_address; only a reward",
        f"{contradicted},T2": "line 6 has another number",
        "r_2,T3": "line 5 has another number",
        f"{waiting},": "the cell is empty",
        f"{waiting},=1+1": "got a formula",
        f"{waiting},3.40434E+11": "a spreadsheet has shortened",
        f"{waiting},T4,more": "expected 2 cells",
        f"{again},T5": f"expected {again}-g2",
        f'{waiting},"two\nlines"': "one line",
        ",T6": "the cell is empty",
    }
    status, rows = _imported(shell, "reference,tracking\n" + "\n".join(lines))
    assert status == 1
    assert [row["line"] for row in rows] == [*range(2, 13), 14]
    assert [row["outcome"] for row in rows] == ["applied", *["refused"] * 11]
    for row, why in zip(rows[1:], [*lines.values()][1:], strict=True):
        assert why in row["why"]
    assert [shell.state(f"r_{number}") for number in range(1, 5)] == ["shipped", *["submitted"] * 3]
    result = shell.call("import-tracking", "-", stdin="reference,tracking\nr_0,T0")
    assert (result.exit_code, result.stdout) == (1, "2\tr_0\tunknown reference\n")
    assert "1 of 1 rows were not applied" in result.stderr


def test_dry_run_says_what_would_be_done_and_does_nothing(shell: Shell) -> None:
    """The same words, and the same exit status."""
    reference = seeding.reward(shell.url, "r_1")
    story = shell.json("show", reference)
    text = f"reference,tracking\n{reference},T1\nr_0,T0\nr_1,T1\n"
    status, rows = _imported(shell, text, "--dry-run")
    assert (status, [row["outcome"] for row in rows]) == (1, ["applied", "refused", "already"])
    assert "1 would be applied" in shell.call("import-tracking", "-", "--dry-run", stdin=text).stderr
    assert shell.json("show", reference) == story


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("reference,tracking\nr_1,T1\nMüller,T2\n".encode("cp1252"), "line 3: expected UTF-8"),
        ("reference,tracking\n".encode("utf-16"), "line 1: expected UTF-8"),
        (b"reference\ttracking\nr_1\tT1\n", "line 1: expected a header"),
        (b"reference,number\nr_1,T1\n", "line 1: expected a header"),
        (b"reference,tracking,tracking\nr_1,T1,T2\n", "line 1: expected a header"),
        (b"", "line 1: expected a header"),
        (b'reference,tracking\nr_1,T1\nr_2,"T2\n', "line 3: expected CSV"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused_as_a_whole(
    shell: Shell, tmp_path: Path, content: bytes, said: str
) -> None:
    """Half of a file is not taken: the line is named, and what was expected."""
    seeding.reward(shell.url, "r_1")
    path = tmp_path / "tracking.csv"
    path.write_bytes(content)
    assert said in shell.refused("import-tracking", str(path))
    assert shell.state("r_1") == "submitted"
