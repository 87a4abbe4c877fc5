"""Figures as plain data, and what is worked out from them; pure."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Rounds = Mapping[str, Sequence[float]]
"""A figure of each peer, one a round."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the table."""

    what: str
    measured: float | None
    """None: it could not be measured, and `note` says why."""
    unit: str = ""
    demanded: float | None = None
    aim: float | None = None
    at_most: bool = False
    """Whether less is better."""
    note: str = ""
    """The figures behind a ratio, or what has to be known about it."""

    @property
    def met(self) -> bool | None:
        """Whether it is as demanded; None where nothing is demanded or nothing was measured."""
        return self._holds(self.demanded)

    @property
    def aim_met(self) -> bool | None:
        """Whether it is as aimed for; None as with `met`."""
        return self._holds(self.aim)

    def _holds(self, bound: float | None) -> bool | None:
        if bound is None or self.measured is None:
            return None
        return self.measured <= bound if self.at_most else self.measured >= bound


@dataclass(frozen=True, kw_only=True)
class Line:
    """One line of a plot."""

    name: str
    points: Sequence[tuple[float, float]]
    dashed: bool = False


@dataclass(frozen=True, kw_only=True)
class Plot:
    """One plot, both of whose axes begin at zero unless `log_x` and `log_y` say otherwise."""

    file: str
    title: str
    x: str
    y: str
    lines: Sequence[Line]
    log_x: bool = False
    log_y: bool = False


@dataclass(frozen=True, kw_only=True)
class Part:
    """What one part of the bench has found."""

    rows: Sequence[Row]
    raw: Mapping[str, Any]
    """The figures of every round."""
    settings: str
    """The server's settings and whatever else was the same for all."""
    plots: Sequence[Plot] = field(default=())


def median(values: Sequence[float]) -> float | None:
    """Return the median; None of nothing."""
    return statistics.median(values) if values else None


def percentile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that so great a share of the values does not exceed; `values` is not empty."""
    ordered = sorted(values)
    return ordered[max(math.ceil(len(ordered) * share) - 1, 0)]


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> float | None:
    """Return the ratio of the medians; None where one of them is missing."""
    mine, other = median(ours), median(theirs)
    return None if mine is None or not other else mine / other


def against(rounds: Rounds, peer: str, **row: Any) -> Row:  # noqa: ANN401 - the fields of a row
    """Return the row that compares `ours` with a peer, with both medians as its note."""
    ours, theirs = rounds.get("ours", ()), rounds.get(peer, ())
    found = ratio(ours, theirs)
    note = f"{peer}: not measured" if found is None else f"{spread(ours)} against {spread(theirs)}"
    return Row(**{"measured": found, "unit": "times", "note": note, **row})


def spread(values: Sequence[float]) -> str:
    """Return the median and, of several rounds, the least and the greatest: a wide spread is a warning."""
    if len(set(values)) < 2:  # noqa: PLR2004 - one value has no spread
        return shown(median(values))
    return f"{shown(median(values))} ({shown(min(values))} to {shown(max(values))})"


def shown(value: float | None) -> str:
    """Return a number with three or four digits that count, for a person."""
    if value is None:
        return "-"
    if abs(value) >= 1000:  # noqa: PLR2004 - four digits, and the thousands apart
        return f"{value:,.0f}"
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2  # noqa: PLR2004 - three digits
    return f"{value:.{digits}f}"
