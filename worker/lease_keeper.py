"""The heartbeat of jobs in hand: renews their leases from a thread of its own, so that a busy loop loses none."""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta

from redis.asyncio import Redis

from rewardpost import logs
from rewardpost.connection import UNREACHABLE
from rewardpost.lease import Lease

_MOST_AT_ONCE = 1000
_RETRY_SECONDS = 0.5

log = logs.get(__name__)


def worth_renewing(deadline: float, loop_seen: float, now: float) -> bool:
    """Say whether a job's lease is to be renewed; the three are times of one monotonic clock, in seconds.

    Past its deadline only while the event loop has shown since that it lives: a loop that hangs would never end the
    job, and has to lose it.
    """
    return now <= deadline or loop_seen > deadline


class LeaseKeeper:
    """Renews the leases of `in_hand`, which maps each to its job's deadline, every third of a lease.

    `connect` is called in the thread, and what it returns is used there alone; `renew` returns the leases that are
    lost, which `lost` is told of in the thread.
    """

    def __init__(
        self,
        connect: Callable[[], Redis],
        renew: Callable[[Redis, list[Lease]], Awaitable[list[Lease]]],
        lost: Callable[[Lease], None],
        in_hand: dict[Lease, float],
        *,
        lease: timedelta,
    ) -> None:
        self.loop_seen = time.monotonic()
        """When the event loop that runs the jobs has last shown that it lives."""
        self._connect = connect
        self._renew = renew
        self._lost = lost
        self._in_hand = in_hand
        self._interval = lease.total_seconds() / 3
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lease-keeper", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    async def stop(self) -> None:
        """End the thread; what is still in hand runs out by itself."""
        self._stop.set()
        if self._thread.is_alive():
            await asyncio.to_thread(self._thread.join)

    def _run(self) -> None:
        with asyncio.Runner() as runner:
            redis = self._connect()
            pause = self._interval
            while not self._stop.wait(pause):
                started = time.monotonic()
                try:
                    runner.run(self._beat(redis))
                except UNREACHABLE as exc:
                    log.warning("leases_not_renewed", error=type(exc).__name__)
                    pause = min(self._interval / 4, _RETRY_SECONDS)
                else:
                    pause = max(self._interval - (time.monotonic() - started), 0.0)
            runner.run(redis.aclose(close_connection_pool=True))

    async def _beat(self, redis: Redis) -> None:
        now = time.monotonic()
        leases = [
            lease for lease, deadline in list(self._in_hand.items()) if worth_renewing(deadline, self.loop_seen, now)
        ]
        for start in range(0, len(leases), _MOST_AT_ONCE):
            for lease in await self._renew(redis, leases[start : start + _MOST_AT_ONCE]):
                if self._in_hand.pop(lease, None) is not None:
                    self._lost(lease)
