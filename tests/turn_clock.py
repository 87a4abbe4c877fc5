"""A clock that a test moves, in place of the server's own in the scripts of the limits, and a line of callers by it."""

import heapq
import itertools
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any

from redis.asyncio import Redis

from rewardpost.limits import Limits
from rewardpost.scripts import Script
from rewardpost.turns import Ended, Go, Limit, Wait

START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)


MINUTE = timedelta(minutes=1)
THIRTY = Limit(name="voucherify", calls=30, window=MINUTE)
"""One call every 2.06 s."""
INTERVAL = THIRTY.interval.total_seconds()
TOLERANCE = THIRTY.tolerance.total_seconds()
BUSY = Limit(name="provider:fake", concurrency=2, longest_call=timedelta(seconds=15))
OPEN_LIMIT = Limit(name="provider:fake", longest_call=timedelta(seconds=15))


class Clock:
    """The time, as microseconds since the epoch; it stands still until it is moved."""

    def __init__(self) -> None:
        self.now = int(START.timestamp()) * 1_000_000

    async def time(self) -> tuple[int, int]:
        """Return the time as a client's `time` does."""
        return divmod(self.now, 1_000_000)

    def move(self, seconds: float) -> None:
        """Let time pass."""
        self.now += round(seconds * 1_000_000)


class ClockedScript(Script):
    """A script that takes the clock's time for the server's."""

    def __init__(self, name: str, clock: Clock) -> None:
        super().__init__(name)
        parts = self.text.split("redis.call('TIME')")
        assert len(parts) == 2
        self.text = "{ARGV[#ARGV - 1], ARGV[#ARGV]}".join(parts)
        self._clock = clock

    async def run(self, redis: Redis, *, keys: Sequence[str], args: Sequence[str | bytes | int]) -> Any:  # noqa: ANN401 - as the script answers
        """Call the script at the clock's time."""
        time = await self._clock.time()
        return await redis.eval(self.text, len(keys), *keys, *args, *time)  # type: ignore[misc, arg-type] # redis-py types both its clients with one signature


def went_at(turn: Go | Wait) -> int:
    """Return when a caller was let through, by the server's clock, in microseconds."""
    assert isinstance(turn, Go), turn
    return int(turn.call.rpartition("#")[2])


def most_in_a_window(moments: Sequence[int], window: timedelta) -> int:
    """Return how many moments fall into the fullest window of this length, wherever it begins."""
    ordered, length = sorted(moments), window // MICROSECOND
    return max((sum(first <= moment < first + length for moment in ordered) for first in ordered), default=0)


async def serve(
    limits: Limits,
    limit: Limit,
    clock: Clock,
    arrivals: Sequence[tuple[float, str]],
    *,
    late: Callable[[str], float] = lambda _: 0.0,
    away: tuple[float, float] = (0.0, 0.0),
    dead: Mapping[str, float] = MappingProxyType({}),
    lasts: Callable[[str], float] = lambda _: 0.0,
) -> list[tuple[int, str]]:
    """Have callers arrive, come again when they are told to, and call; return who was let through and when.

    Args:
        limits: without lead, so that it never waits itself.
        limit: whose turns are taken.
        clock: what the scripts go by.
        arrivals: seconds after the start, and who comes then.
        late: seconds that a caller comes later than it was told.
        away: while nobody comes at all, as when no worker runs: the seconds from and to.
        dead: seconds before which those callers do not come again, as when the worker that had their jobs died.
        lasts: seconds that a caller's call takes.
    """
    start = clock.now
    gone: list[tuple[int, str]] = []
    order = itertools.count()
    events: list[tuple[int, int, str, str]] = []

    def plan(moment: int, who: str, call: str = "") -> None:
        begin, end = (start + round(seconds * 1_000_000) for seconds in away)
        heapq.heappush(events, (end if begin <= moment < end else moment, next(order), who, call))

    for seconds, who in arrivals:
        plan(start + round(seconds * 1_000_000), who)
    while events:
        moment, _, who, call = heapq.heappop(events)
        clock.now = max(clock.now, moment)
        if call:
            await limits.ended(limit, call, Ended.ANSWERED)
            continue
        turn = await limits.turn(limit, who)
        if isinstance(turn, Go):
            gone.append((clock.now, who))
            plan(clock.now + round(lasts(who) * 1_000_000), who, turn.call)
        else:
            due = clock.now + turn.after // MICROSECOND + round(late(who) * 1_000_000)
            plan(max(due, start + round(dead.get(who, 0) * 1_000_000)), who)
    return gone


def callers(count: int, first: int = 0) -> list[str]:
    """Return the names of so many callers."""
    return [f"vfy-r_{number:04}" for number in range(first, first + count)]


async def go(limits: Limits, limit: Limit, who: str) -> str:
    """Let a caller through, and return its call."""
    turn = await limits.turn(limit, who)
    assert isinstance(turn, Go), turn
    return turn.call


async def wait(limits: Limits, limit: Limit, who: str) -> Wait:
    """Have a caller wait."""
    turn = await limits.turn(limit, who)
    assert isinstance(turn, Wait)
    return turn


async def fail(limits: Limits, limit: Limit, times: int) -> None:
    """Let calls fail."""
    for number in range(times):
        await limits.ended(limit, await go(limits, limit, f"failing-{number}"), Ended.FAILED)
