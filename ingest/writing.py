"""Writing deliveries with a deadline for the answer but none for the write: it is never cancelled half-way.

Whether a write that is late was carried out, nobody can know; the sender's repeat finds it, or stores it.
"""

import asyncio
from datetime import timedelta
from functools import partial
from typing import Protocol

from rewardpost import logs
from rewardpost.connection import UNREACHABLE
from rewardpost.delivery import Delivery
from rewardpost.queue import Receipt

_log = logs.get(__name__)


class NotStored(Exception):  # noqa: N818 - named after what the sender has to be told
    """The delivery is not known to be stored, and nothing may be acknowledged; the message says why."""


class Store(Protocol):
    """Where deliveries go; `rewardpost.queue.Queue` is the one in use."""

    def store(self, delivery: Delivery) -> asyncio.Future[Receipt]:
        """Store a delivery or recognise it; ends with a member of `UNREACHABLE` when the outcome is not known."""

    async def abandon(self) -> None:
        """Give up what has no answer yet."""


class PendingWrites:
    """The writes that are under way, at most `most` at a time."""

    def __init__(self, store: Store, *, most: int) -> None:
        self._store = store
        self._most = most
        self._writes: set[asyncio.Future[Receipt]] = set()

    async def store(self, delivery: Delivery, *, until: float) -> Receipt:
        """Write a delivery and wait for it until a time of the loop's clock.

        Raises:
            NotStored: it is late, the server refused it or is out of reach, or too many are waiting.
        """
        if len(self._writes) >= self._most:
            raise NotStored("too many webhooks are waiting for Redis")
        write = self._store.store(delivery)
        self._writes.add(write)
        loop = asyncio.get_running_loop()
        over: asyncio.Future[None] = loop.create_future()  # by hand: `asyncio.wait` costs a twentieth of a webhook
        timer = loop.call_at(until, _end, over)
        write.add_done_callback(partial(self._is_written, over))
        try:
            await over
        finally:
            timer.cancel()
            if not write.done():
                write.add_done_callback(_note_late_end)
        if not write.done() or write.cancelled():
            raise NotStored("Redis did not answer in time")
        try:
            return write.result()
        except UNREACHABLE as exc:
            raise NotStored(f"Redis could not store it ({type(exc).__name__})") from exc

    async def settle(self, patience: timedelta) -> None:
        """Wait for what is under way, and give up what is not done by then."""
        if self._writes:
            await asyncio.wait(self._writes, timeout=patience.total_seconds())
        await self._store.abandon()

    def _is_written(self, over: asyncio.Future[None], write: asyncio.Future[Receipt]) -> None:
        self._writes.discard(write)
        _end(over)


def _end(over: asyncio.Future[None]) -> None:
    if not over.done():
        over.set_result(None)


def _note_late_end(write: asyncio.Future[Receipt]) -> None:
    if write.cancelled():
        return
    exc = write.exception()
    if exc is None:
        _log.info("late_write_ended", outcome=write.result())
    else:
        _log.warning("late_write_failed", error=type(exc).__name__)
