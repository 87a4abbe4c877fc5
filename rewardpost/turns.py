"""Turns at a limit as plain data: what a limit is, how asking and calling may end, when a line will be through.

Pure: who keeps the line, and its one clock, is `rewardpost.limits`.
"""

from datetime import datetime, timedelta
from enum import StrEnum

import msgspec

LATE = 0.02
"""How late a call may be, as a part of the window, before the calls behind it move too."""
ON_THE_WAY = 0.01
"""How much later than another one a call may reach the other side, as a part of the window, but at least
`LEAST_ON_THE_WAY`, since a new connection takes as long as it takes."""
LEAST_ON_THE_WAY = timedelta(milliseconds=30)


class Limit(msgspec.Struct, frozen=True, kw_only=True):
    """What another side can bear, from all workers together."""

    name: str
    calls: float | None = None
    """In any one window; None: as many as there are."""
    window: timedelta = timedelta(seconds=1)
    concurrency: int | None = None
    """Calls at a time; None: as many as there are."""
    longest_call: timedelta = timedelta(seconds=60)
    """After this a call counts as ended whose worker has not said so: it died."""
    failures: int = 5
    """So many in a row open the circuit."""
    first_pause: timedelta = timedelta(seconds=30)
    """How long the circuit stays open at first; it doubles with each probe that fails."""
    longest_pause: timedelta = timedelta(minutes=5)

    @property
    def interval(self) -> timedelta:
        """Time between two calls; nothing without a rate.

        A little more than the window's share: a call may be `LATE` and another one quick on its way, and still no
        window of the other side, wherever it begins, sees one call too many.
        """
        if self.calls is None:
            return timedelta()
        margin = self.tolerance + max(self.window * ON_THE_WAY, LEAST_ON_THE_WAY)
        return (self.window + margin) / self.calls

    @property
    def tolerance(self) -> timedelta:
        """How late a call may be without moving those behind it."""
        return timedelta() if self.calls is None else self.window * LATE


class Why(StrEnum):
    """Why a caller has to wait."""

    TURN = "others are before it"
    FULL = "as many calls are running as may run at a time"
    OPEN = "the circuit is open after failures"
    PROBE = "one call tries whether the other side is well again"


class Go(msgspec.Struct, frozen=True):
    """Call now, and say how it ended."""

    call: str
    """Names this call."""


class Wait(msgspec.Struct, frozen=True, kw_only=True):
    """Come again later; one's place is kept."""

    due: datetime
    """By Redis's clock."""
    after: timedelta
    """The same, from now."""
    why: Why


class Ended(StrEnum):
    """How a call ended, as far as the other side's health shows in it."""

    ANSWERED = "answered"
    """Whatever the answer was: a 404 is one."""
    FAILED = "failed"
    """No connection, no answer in time, a server's fault, or too many requests."""
    ABANDONED = "abandoned"
    """We broke it off; that says nothing."""


class LimitState(msgspec.Struct, frozen=True, kw_only=True):
    """How a limit stands at one moment."""

    waiting: int
    """Callers with a place in the line."""
    running: int
    open_for: timedelta | None
    """How long the circuit stays open; None while it is not."""
    starts_in: timedelta
    """When the first of the line can go."""
    pace: timedelta
    """From one to the next."""
    lasts: timedelta
    """How long a call takes."""

    def through_in(self, more: int = 0) -> timedelta | None:
        """Return when the line and so many callers behind it will be through; None when nobody waits or will."""
        count = self.waiting + more
        if not count:
            return None
        return self.starts_in + self.pace * (count - 1) + self.lasts


def through_in(
    look_ups: LimitState, provider: LimitState | None, *, received: int, deliveries: int, each_asks: bool = True
) -> timedelta | None:
    """Return when all that waits for a limit will be through; None when nothing does.

    A reward needs a look-up and then the provider, so both lines move at the same time and the longer one decides.

    Args:
        look_ups: the limit of the look-ups.
        provider: the limit of the provider; None where it takes no turn.
        received: rewards without an address as yet, those in the line of the look-ups among them.
        deliveries: webhooks that wait to be opened; each may be a reward.
        each_asks: whether each reward needs a look-up; otherwise only those that are in its line do.
    """
    unasked = max(received - look_ups.waiting, 0) + deliveries if each_asks else 0
    ends = [_end(look_ups, unasked)]
    if provider is not None:
        ends.append(_end(provider, received + deliveries))
    return max((end for end in ends if end is not None), default=None)


def _end(state: LimitState, more: int) -> timedelta | None:
    if not state.pace and not state.waiting:
        return None  # nothing is limited here, so nothing will have to wait
    return state.through_in(more)
