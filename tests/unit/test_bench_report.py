"""The pure parts of the bench: medians and ratios, what counts as met, the tables, and the plots."""

import io
import json
from xml.etree import ElementTree as ET

import pytest
from rich.console import Console

from bench.deliveries import bodies, redemption
from bench.figures import Line, Part, Plot, Row, against, median, percentile, ratio, shown, spread
from bench.plot import draw, ticks
from bench.receiver import Limit
from bench.report import cells, markdown, results, show, verdict
from tests.builders import delivery
from worker.decisions import OpenReward
from worker.routing import decide

SVG = "{http://www.w3.org/2000/svg}"


def test_a_ratio_is_that_of_the_medians() -> None:
    """One round that went wrong moves nothing."""
    assert ratio([10, 1000, 30], [9, 10, 11]) == 3


@pytest.mark.parametrize(("ours", "theirs"), [([], [1.0]), ([1.0], []), ([1.0], [0.0])])
def test_what_was_not_measured_has_no_ratio(ours: list[float], theirs: list[float]) -> None:
    """A peer that is missing, or did nothing, is no reason to make a figure up."""
    assert ratio(ours, theirs) is None


def test_rounds_that_differ_show_how_far() -> None:
    """A median alone would hide that the machine was not quiet."""
    assert spread([7000.0, 1900.0, 10700.0]) == "7,000 (1,900 to 10,700)"
    assert spread([5.0]) == "5.00"


def test_a_median_of_nothing_is_none() -> None:
    """No rounds, no figure."""
    assert median([]) is None


def test_percentiles_are_values_that_were_measured() -> None:
    """The smallest value that so many do not exceed."""
    values = [float(number) for number in range(100, 0, -1)]

    assert [percentile(values, share) for share in (0.5, 0.99, 1.0)] == [50, 99, 100]
    assert percentile([7.0], 0.99) == 7


def test_a_missing_peer_makes_a_row_that_says_so() -> None:
    """The row is there, without a figure."""
    row = against({"ours": [1.0]}, "taskiq", what="no-op jobs", demanded=8)

    assert row.measured is None
    assert row.met is None
    assert cells(row) == ("no-op jobs", "not measured", "8", "", "not measured", "taskiq: not measured")


@pytest.mark.parametrize(
    ("measured", "at_most", "expected"),
    [
        (1.9, False, "NO"),
        (2.0, False, "yes"),
        (3.0, False, "yes, the aim too"),
        (3.1, True, "NO"),
        (2.0, True, "yes, the aim too"),
    ],
)
def test_a_row_is_met_from_its_bound_on(measured: float, expected: str, *, at_most: bool) -> None:
    """The bound itself is met, on either side."""
    demanded, aim = (3.0, 2.0) if at_most else (2.0, 3.0)

    assert verdict(Row(what="x", measured=measured, demanded=demanded, aim=aim, at_most=at_most)) == expected


def test_a_row_without_a_demand_is_neither_met_nor_missed() -> None:
    """It is there for information."""
    assert verdict(Row(what="x", measured=1.0)) == ""


@pytest.mark.parametrize(
    ("value", "text"), [(None, "-"), (0.123, "0.12"), (12.34, "12.3"), (123.4, "123"), (12345.6, "12,346")]
)
def test_numbers_are_shown_with_the_digits_that_count(value: float | None, text: str) -> None:
    """Three digits, or all before the point."""
    assert shown(value) == text


def test_in_a_pipe_a_row_is_a_line() -> None:
    """Columns are separated by tabs, so that other tools can read them."""
    told = io.StringIO()
    show([Row(what="pickup", measured=1.5, unit="ms", demanded=2, at_most=True)], Console(file=told))

    assert told.getvalue().splitlines()[1] == "pickup\t1.50 ms\tat most 2\t\tyes\t"


def test_in_a_terminal_a_table_holds_every_row() -> None:
    """All cells are there, however it is ruled."""
    told = io.StringIO()
    rows = [Row(what="pickup", measured=1.5, unit="ms", demanded=2), Row(what="other", measured=None)]
    show(rows, Console(file=told, force_terminal=True, color_system=None, width=200))

    assert all(text in told.getvalue() for text in ("pickup", "1.50 ms", "NO", "other", "not measured"))


def test_the_document_is_made_from_what_json_keeps() -> None:
    """Results survive JSON, and their Markdown has a row for each figure, for the machine and for the settings."""
    part = Part(rows=[Row(what="a | b", measured=2.0, unit="times")], raw={"ours": [1.0]}, settings="all the same")
    kept = json.loads(json.dumps(results({"door": part}, {"cores": "2"}, {"rounds": 3})))

    lines = markdown(kept).splitlines()
    assert "| a / b | 2.00 times |  |  |  |  |" in lines
    assert "| cores | 2 |" in lines
    assert "| door | all the same |" in lines


@pytest.mark.parametrize("log", [False, True])
def test_a_plot_is_well_formed_and_has_every_line(*, log: bool) -> None:
    """A polyline and a name for each line; what stands in a name cannot break the document."""
    lines = [Line(name="ours <&>", points=[(1, 5.5), (8, 40.0)]), Line(name="ideal", points=[(1, 6), (8, 48)])]
    document = ET.fromstring(draw(Plot(file="p.svg", title="T", x="x", y="y", lines=lines, log_x=log, log_y=log)))  # noqa: S314 - our own

    texts = [text.text for text in document.iter(f"{SVG}text")]
    assert {"ours <&>", "ideal", "T", "x", "y"} <= set(texts)
    drawn = [line for line in document.iter(f"{SVG}polyline") if line.get("stroke") != "#dddddd"]
    assert len(drawn) == 2 * len(lines)


def test_every_point_of_a_plot_lies_within_it() -> None:
    """Axes reach around all values."""
    lines = [Line(name="a", points=[(1, 0.03), (3, 999.0)])]
    for log in (False, True):
        document = ET.fromstring(draw(Plot(file="p", title="T", x="x", y="y", lines=lines, log_x=log, log_y=log)))  # noqa: S314 - our own
        for point in document.iter(f"{SVG}circle"):
            assert 80 <= float(point.get("cx", "nan")) <= 570
            assert 44 <= float(point.get("cy", "nan")) <= 384


@pytest.mark.parametrize(("values", "log"), [([0.3, 7.0], False), ([0.3, 7.0], True), ([], False), ([0.0], True)])
def test_ticks_go_around_the_values(values: list[float], *, log: bool) -> None:
    """The first is not above the least value, the last not below the greatest, and they rise."""
    marks = ticks(values, log=log)

    assert marks == sorted(set(marks))
    assert len(marks) > 1
    assert all(value <= marks[-1] for value in values)
    assert log or marks[0] == 0


def test_bodies_are_all_different_of_one_size_and_open_a_reward() -> None:
    """What the bench sends is what workers are there for."""
    some = list(bodies(3, first=41, size=4096))

    assert len(set(some)) == 3
    assert {len(body) for body in some} == {4096}
    decision = decide(delivery(some[0]), projects=frozenset())
    assert isinstance(decision, OpenReward)
    assert decision.redemption == redemption(41)


def test_a_limit_refuses_what_is_too_much_and_counts_it() -> None:
    """Two within any minute, and the third is refused."""
    limit = Limit(2, 60.0)

    assert [limit.takes() for _ in range(3)] == [True, True, False]
    assert limit.counts()["taken"] == 2
    assert limit.counts()["refused"] == 1
