"""What a reconciler offers, how far one run may go, and what it reports."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import NamedTuple, Protocol

import msgspec

from rewardpost.findings import Finding
from rewardpost.turns import Go, Wait


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What came of one run."""

    findings: tuple[Finding, ...] = ()
    done: int = 0
    """Jobs given back, or redemptions and rollbacks taken in; in a dry run those that would be."""
    checked: int = 0
    """Rewards, redemptions or orders looked at."""
    unfinished: str = ""
    """Why it stopped before the end; the next run goes on from there."""
    passed_over: str = ""
    """Why there was nothing to look at: something is not configured."""
    failed: str = ""
    """Why it could not look at everything: somebody did not answer, or not what was expected."""


class Stop(NamedTuple):
    """Why a run stopped before it was through."""

    why: str
    failed: bool
    """Somebody did not answer, or not what was expected; otherwise it was only a matter of time."""


def stopped(report: Report, stop: Stop | None) -> Report:
    """Return a report that says why the run stopped, where it did."""
    if stop is None:
        return report
    if stop.failed:
        return msgspec.structs.replace(report, failed=stop.why)
    return msgspec.structs.replace(report, unfinished=stop.why)


class Scope:
    """How far one run may go.

    Args:
        since: look at what was made since then, whatever was looked at before, and keep no position.
        dry_run: say what would be done, and do nothing.
        longest: how long the run may take, waits for turns included; None: as long as it takes.
        tell: is told of every wait before it begins.
    """

    def __init__(
        self,
        *,
        since: datetime | None = None,
        dry_run: bool = False,
        longest: timedelta | None = None,
        tell: Callable[[timedelta], None] = lambda _: None,
    ) -> None:
        self.since = since
        self.dry_run = dry_run
        self.is_bounded = longest is not None
        self._tell = tell
        self._ends = float("inf") if longest is None else time.monotonic() + longest.total_seconds()

    @property
    def keeps_position(self) -> bool:
        """Whether the next run is to go on where this one ends."""
        return self.since is None and not self.dry_run

    @property
    def is_over(self) -> bool:
        """Whether the run has taken as long as it may."""
        return time.monotonic() >= self._ends

    async def wait(self, span: timedelta) -> bool:
        """Wait; False, at once, where that would take too long."""
        if time.monotonic() + span.total_seconds() >= self._ends:
            return False
        self._tell(span)
        await asyncio.sleep(span.total_seconds())
        return True

    async def turn(self, ask: Callable[[], Awaitable[Go | Wait]]) -> Go | None:
        """Ask for a turn until it comes; None where that would take too long, or the run is over."""
        if self.is_over:
            return None
        while isinstance(turn := await ask(), Wait):
            if not await self.wait(turn.after):
                return None
        return turn


class Reconciler(Protocol):
    """Looks for one kind of fault, and mends what can be mended by itself."""

    async def run(self, scope: Scope) -> Report:
        """Look once.

        Raises:
            redis.exceptions.RedisError: the server did not answer; what was done so far is done.
        """
