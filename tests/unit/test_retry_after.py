"""`Retry-After` in both its forms, and in none."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker import retry_after

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0),
        ("120", 120),
        (" 7 ", 7),
        ("1.5", 1.5),
        ("Sun, 01 Mar 2026 12:00:30 GMT", 30),
        ("Sunday, 01-Mar-26 12:01:00 GMT", 60),
        ("Sun Mar  1 12:00:10 2026", 10),
        ("Sun, 01 Mar 2026 11:00:00 GMT", 0),
        ("999999999", 86_400),
        ("Sun, 01 Mar 2099 12:00:00 GMT", 86_400),
    ],
)
def test_a_wait_is_read(value: str, seconds: float) -> None:
    """Seconds and the three forms of a date give a wait between nothing and a day."""
    assert retry_after.parse(value, NOW) == timedelta(seconds=seconds)


@pytest.mark.parametrize("value", [None, "", "soon", "-5", "1e3", "NaN", "٣", "2026-03-01T12:00:00Z", "9" * 5000])
def test_what_cannot_be_read_is_no_wait(value: str | None) -> None:
    """The caller falls back on its own wait."""
    assert retry_after.parse(value, NOW) is None


@given(st.text())
def test_no_header_raises(value: str) -> None:
    """A server can write anything at all into a header."""
    wait = retry_after.parse(value, NOW)
    assert wait is None or timedelta() <= wait <= retry_after.LONGEST
