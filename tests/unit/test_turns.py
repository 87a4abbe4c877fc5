"""What a limit's numbers come to, and when a line will be through."""

import math
from datetime import timedelta
from typing import Any

import pytest

from cli import lines
from rewardpost import parsing
from rewardpost.limits import provider_limit, voucherify_limit
from rewardpost.settings import Settings, SettingsError, load
from rewardpost.turns import Limit, LimitState, through_in
from tests.seeding import NOW


def _state(waiting: int = 0, *, starts_in: float = 0, pace: float = 2, lasts: float = 0) -> LimitState:
    return LimitState(
        waiting=waiting,
        running=0,
        open_for=None,
        starts_in=timedelta(seconds=starts_in),
        pace=timedelta(seconds=pace),
        lasts=timedelta(seconds=lasts),
    )


@pytest.mark.parametrize(
    "limit",
    [
        voucherify_limit(Settings()),
        voucherify_limit(Settings(voucherify_calls_per_minute=1)),
        voucherify_limit(Settings(voucherify_calls_per_minute=6000)),
        provider_limit(Settings(provider_calls_per_second=1)),
        provider_limit(Settings(provider_calls_per_second=50)),
        provider_limit(Settings(provider_calls_per_second=1000)),
    ],
)
def test_no_window_holds_one_call_too_many_and_nine_tenths_are_used(limit: Limit) -> None:
    """Even when the first call was as late as it may be, the one beyond the limit falls into the next window."""
    assert limit.calls is not None
    assert limit.interval * limit.calls - limit.tolerance > limit.window
    assert limit.window / limit.interval / limit.calls > 0.9


def test_a_limit_without_a_rate_has_no_interval() -> None:
    """What is not set holds nothing back."""
    limit = provider_limit(Settings())
    assert (limit.interval, limit.tolerance, limit.concurrency) == (timedelta(), timedelta(), None)


@pytest.mark.parametrize(
    ("look_ups", "provider", "received", "deliveries", "seconds"),
    [
        (_state(), None, 0, 0, None),
        (_state(), _state(), 0, 0, None),
        (_state(pace=0), _state(pace=0), 50, 50, None),
        (_state(11), None, 11, 0, 20),
        (_state(11), None, 31, 0, 60),
        (_state(1), None, 1, 30, 60),
        (_state(1, starts_in=5, lasts=1), None, 1, 0, 6),
        (_state(), _state(31), 0, 0, 60),
        (_state(11), _state(pace=3), 11, 0, 30),
        (_state(11), _state(10, pace=3), 11, 0, 60),
        (_state(101), _state(10, pace=0.1), 101, 0, 200),
        (_state(), _state(10, starts_in=300), 0, 0, 318),
        (_state(), _state(11, pace=0, starts_in=30), 0, 0, 30),
    ],
)
def test_the_tighter_of_both_lines_decides(
    look_ups: LimitState, provider: LimitState | None, received: int, deliveries: int, seconds: float | None
) -> None:
    """What is received needs a look-up and then the provider; what stands in the first line also counts at the next."""
    through = through_in(look_ups, provider, received=received, deliveries=deliveries)
    assert through == (None if seconds is None else timedelta(seconds=seconds))


def test_where_another_source_comes_first_only_those_in_the_line_count() -> None:
    """Nobody knows which of the others will need a look-up."""
    assert through_in(_state(11), None, received=1000, deliveries=1000, each_asks=False) == timedelta(seconds=20)


@pytest.mark.parametrize(
    ("sources", "app", "first"),
    [(("voucherify", "file"), "a", True), (("voucherify", "file"), "", False), (("url", "voucherify"), "a", True)],
)
def test_a_source_that_is_not_configured_is_passed_over(sources: tuple[str, ...], app: str, *, first: bool) -> None:
    """Each reward needs a look-up only where Voucherify is the first source that is asked."""
    assert lines.asks_first(Settings(address_sources=sources, voucherify_app_id=app)) is first


def test_a_person_reads_until_when_it_takes() -> None:
    """Only what waits or is paused has a line."""
    limits: dict[str, dict[str, Any]] = {
        "voucherify": {"waiting": 0, "open_seconds": None},
        "provider:webhook": {"waiting": 7, "open_seconds": 30.0},
    }
    assert lines.rows(limits, 60.0, NOW) == [
        ("waiting for provider:webhook", "7"),
        ("provider:webhook paused until", "2026-03-01T12:00:30.000Z"),
        ("all through", "2026-03-01T12:01:00.000Z"),
    ]
    assert lines.rows({"voucherify": limits["voucherify"]}, None, NOW) == []


@pytest.mark.parametrize(("raw", "rate"), [("2.5", 2.5), (" 10 ", 10.0), ("", None), (" ", None)])
def test_a_rate_is_read(raw: str, rate: float | None) -> None:
    """A number above 0, or nothing for no limit."""
    assert parsing.rate(raw) == rate


@pytest.mark.parametrize("raw", ["0", "0.0", "-1", "1e3", "many", "nan", str(math.inf), "٣"])
def test_a_wrong_rate_is_refused(raw: str) -> None:
    """None of these says how many calls a second may be made."""
    with pytest.raises(SettingsError, match="PROVIDER_CALLS_PER_SECOND: expected a number above 0"):
        load({"PROVIDER_CALLS_PER_SECOND": raw})
