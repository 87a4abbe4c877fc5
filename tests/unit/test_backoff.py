"""The wait after a failed attempt: longer each time, never too long, never the same for all."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.backoff import back_off

HALF_AN_HOUR = timedelta(minutes=30)


@pytest.mark.parametrize(("attempt", "seconds"), [(1, 1), (2, 2), (3, 4), (11, 1024), (12, 1800), (10**9, 1800)])
def test_it_doubles_up_to_half_an_hour(attempt: int, seconds: int) -> None:
    """Without chance the waits are 1 s, 2 s, 4 s … 30 min, however often it failed."""
    assert back_off(attempt, 0.0) == timedelta(seconds=seconds)


@given(attempt=st.integers(-5, 10**6), random=st.floats(0, 1, exclude_max=True))
def test_chance_takes_at_most_half_of_it(attempt: int, random: float) -> None:
    """Jobs that failed together meet no more, and none is tried at once."""
    full = back_off(attempt, 0.0)
    assert full / 2 <= back_off(attempt, random) <= full <= HALF_AN_HOUR
    assert full >= timedelta(seconds=1)
