"""Whatever callers do, and whenever they come, a limit is kept, and everybody who comes is served."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from unittest.mock import patch

from hypothesis import given, settings
from hypothesis import strategies as st

from cli.embedded_server import EmbeddedServer
from rewardpost import limits as module
from rewardpost.connection import connect
from rewardpost.keys import DEFAULT_PREFIX, Keys
from rewardpost.limits import Limits
from rewardpost.turns import Limit, LimitState
from tests.turn_clock import Clock, ClockedScript, most_in_a_window, serve

Gone = Sequence[tuple[int, str]]

LIMITS = st.builds(
    Limit,
    name=st.just("provider:fake"),
    calls=st.integers(1, 60),
    window=st.sampled_from([timedelta(seconds=1), timedelta(minutes=1)]),
    longest_call=st.just(timedelta(seconds=30)),
)


class _Run:
    """Callers who arrive in the order of their names, and what became of them."""

    def __init__(self, server: EmbeddedServer, limit: Limit, arrivals: Sequence[float]) -> None:
        self.names = [f"vfy-r_{number:04}" for number in range(len(arrivals))]
        self.clock = Clock()
        self.start = self.clock.now
        self._server, self._limit = server, limit
        self._arrivals = list(zip(sorted(arrivals), self.names, strict=True))

    def gone(self, *, late: Sequence[float] = (0.0,), lasts: float = 0.0, away: tuple[float, float] = (0, 0)) -> Gone:
        """Let them all through, each a little late in turn."""
        delays = {who: late[number % len(late)] for number, who in enumerate(self.names)}

        async def served() -> Gone:
            redis = connect(self._server.url, call_timeout=timedelta(seconds=10))
            try:
                await redis.flushall()
                return await serve(
                    Limits(redis, Keys(DEFAULT_PREFIX), lead=timedelta()),
                    self._limit,
                    self.clock,
                    self._arrivals,
                    late=delays.__getitem__,
                    away=away,
                    lasts=lambda _: lasts,
                )
            finally:
                await redis.aclose()

        with (
            patch.object(module, "_TAKE", ClockedScript("take_turn", self.clock)),
            patch.object(module, "_END", ClockedScript("end_call", self.clock)),
        ):
            return asyncio.run(served())


@settings(max_examples=60, deadline=None)  # each example is a run of its own on the server
@given(
    limit=LIMITS,
    arrivals=st.lists(st.floats(0, 30), min_size=1, max_size=80),
    late=st.lists(st.one_of(st.just(0.0), st.floats(0, 0.05), st.floats(0, 20)), min_size=1, max_size=7),
    away=st.tuples(st.floats(0, 40), st.floats(0, 400)).map(lambda parts: (parts[0], parts[0] + parts[1])),
)
def test_no_window_ever_holds_too_many(
    server: EmbeddedServer, limit: Limit, arrivals: list[float], late: list[float], away: tuple[float, float]
) -> None:
    """Callers that are late, in bursts, or all away for a while: nobody is forgotten, and no window is too full."""
    run = _Run(server, limit, arrivals)
    gone = run.gone(late=late, away=away)
    assert sorted(who for _, who in gone) == run.names
    assert limit.calls is not None
    assert most_in_a_window([moment for moment, _ in gone], limit.window) <= limit.calls


@settings(max_examples=40, deadline=None)  # the same
@given(
    limit=LIMITS,
    arrivals=st.lists(st.floats(0, 30), min_size=1, max_size=80),
    away=st.tuples(st.floats(0, 40), st.floats(0, 400)).map(lambda parts: (parts[0], parts[0] + parts[1])),
)
def test_punctual_callers_go_in_the_order_in_which_they_came(
    server: EmbeddedServer, limit: Limit, arrivals: list[float], away: tuple[float, float]
) -> None:
    """Also past a time in which nobody was there; those that first arrive at its end are one crowd."""
    run = _Run(server, limit, arrivals)
    gone = [who for _, who in run.gone(away=away)]
    early = [who for seconds, who in zip(sorted(arrivals), run.names, strict=True) if not away[0] <= seconds < away[1]]
    assert [who for who in gone if who in early] == early


@settings(max_examples=40, deadline=None)  # the same
@given(limit=LIMITS, count=st.integers(12, 80), late=st.lists(st.floats(0, 0.015), min_size=1, max_size=7))
def test_the_announced_end_is_right_and_the_rate_is_used(
    server: EmbeddedServer, limit: Limit, count: int, late: list[float]
) -> None:
    """What the line came to when the last one had asked is when the last one went, within a twentieth."""
    run = _Run(server, limit, [0.0] * count)
    gone = run.gone(late=late)
    taken = timedelta(microseconds=max(moment for moment, _ in gone) - run.start)
    line = LimitState(
        waiting=count - 1,
        running=0,
        open_for=None,
        starts_in=limit.interval,
        pace=limit.interval,
        lasts=timedelta(),
    )
    announced = line.through_in()
    assert announced is not None
    assert limit.calls is not None
    assert abs(announced - taken) <= limit.tolerance + announced / 20
    assert (count - 1) / (taken / limit.window) >= 0.9 * limit.calls


@settings(max_examples=40, deadline=None)  # the same
@given(
    concurrency=st.integers(1, 6),
    count=st.integers(1, 60),
    lasts=st.floats(0.01, 5),
    late=st.lists(st.floats(0, 0.5), min_size=1, max_size=5),
)
def test_never_more_calls_run_than_may(
    server: EmbeddedServer, concurrency: int, count: int, lasts: float, late: list[float]
) -> None:
    """Whatever calls take, each slot is one caller's, and all are served."""
    limit = Limit(name="provider:fake", concurrency=concurrency, longest_call=timedelta(seconds=30))
    run = _Run(server, limit, [0.0] * count)
    gone = run.gone(late=late, lasts=lasts)
    assert sorted(who for _, who in gone) == run.names
    assert most_in_a_window([moment for moment, _ in gone], timedelta(seconds=lasts)) <= concurrency
