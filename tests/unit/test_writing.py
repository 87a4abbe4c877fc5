"""Writes under way: their deadline, their bound, and what becomes of those that are late."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from redis.exceptions import OutOfMemoryError

from ingest.writing import NotStored, PendingWrites
from rewardpost.delivery import Delivery, delivery_id
from rewardpost.queue import Receipt

SOON = timedelta(seconds=0.02)


class SlowStore:
    """A store that answers when it is told to, and remembers what it was asked and what it finished."""

    def __init__(self) -> None:
        self.answer = asyncio.Event()
        self.failure: Exception | None = None
        self.finished: list[str] = []
        self._tasks: set[asyncio.Task[Receipt]] = set()

    def store(self, delivery: Delivery) -> asyncio.Future[Receipt]:
        """Wait, then store or fail."""
        task = asyncio.create_task(self._store(delivery))
        self._tasks.add(task)
        return task

    async def abandon(self) -> None:
        """Break off what is not finished."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _store(self, delivery: Delivery) -> Receipt:
        await self.answer.wait()
        if self.failure is not None:
            raise self.failure
        self.finished.append(delivery.id)
        return Receipt.STORED


def _delivery(body: bytes = b"{}") -> Delivery:
    return Delivery(id=delivery_id(body), source="voucherify", received_at=datetime.now(UTC), body=body)


def _until(wait: timedelta) -> float:
    return asyncio.get_running_loop().time() + wait.total_seconds()


async def test_a_receipt_in_time_is_handed_on() -> None:
    """What the store says is what the caller gets."""
    store = SlowStore()
    store.answer.set()
    assert await PendingWrites(store, most=1).store(_delivery(), until=_until(SOON)) is Receipt.STORED


async def test_a_late_write_is_not_acknowledged_but_goes_on() -> None:
    """At the deadline the caller is told no; the write itself is carried out."""
    store = SlowStore()
    writes = PendingWrites(store, most=1)
    with pytest.raises(NotStored, match="in time"):
        await writes.store(_delivery(), until=_until(SOON))
    store.answer.set()
    await writes.settle(timedelta(seconds=5))
    assert store.finished == [delivery_id(b"{}")]


async def test_a_deadline_that_has_passed_is_not_acknowledged() -> None:
    """Time spent before the write counts too."""
    with pytest.raises(NotStored):
        await PendingWrites(SlowStore(), most=1).store(_delivery(), until=_until(-SOON))


async def test_a_caller_that_is_cancelled_leaves_the_write_alone() -> None:
    """A sender that hangs up does not stop what it sent half-way."""
    store = SlowStore()
    writes = PendingWrites(store, most=1)
    caller = asyncio.create_task(writes.store(_delivery(), until=_until(timedelta(seconds=5))))
    await asyncio.sleep(0)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    store.answer.set()
    await writes.settle(timedelta(seconds=5))
    assert store.finished == [delivery_id(b"{}")]


@pytest.mark.parametrize("failure", [OutOfMemoryError("Anna"), ConnectionResetError("Anna"), TimeoutError("Anna")])
async def test_a_refused_write_is_not_acknowledged(failure: Exception) -> None:
    """Whatever Redis raised, the reason names its class and not its message."""
    store = SlowStore()
    store.failure = failure
    store.answer.set()
    with pytest.raises(NotStored) as caught:
        await PendingWrites(store, most=1).store(_delivery(), until=_until(SOON))
    assert type(failure).__name__ in str(caught.value)
    assert "Anna" not in str(caught.value)


async def test_a_late_failure_disturbs_nobody() -> None:
    """The exception of a write that nobody waits for is taken note of; an unnoticed one would be an error here."""
    store = SlowStore()
    store.failure = ConnectionResetError("late")
    writes = PendingWrites(store, most=1)
    with pytest.raises(NotStored):
        await writes.store(_delivery(), until=_until(SOON))
    store.answer.set()
    await writes.settle(timedelta(seconds=5))
    assert store.finished == []


async def test_more_than_the_bound_is_refused_at_once() -> None:
    """Beyond the bound nothing is handed to the store, until there is room again."""
    store = SlowStore()
    writes = PendingWrites(store, most=2)
    for body in (b"1", b"2"):
        with pytest.raises(NotStored, match="in time"):
            await writes.store(_delivery(body), until=_until(SOON))
    with pytest.raises(NotStored, match="too many"):
        await writes.store(_delivery(b"3"), until=_until(timedelta(seconds=60)))
    store.answer.set()
    await writes.settle(timedelta(seconds=5))
    assert await writes.store(_delivery(b"4"), until=_until(SOON)) is Receipt.STORED
    assert sorted(store.finished) == sorted(map(delivery_id, (b"1", b"2", b"4")))


async def test_settling_gives_up_after_a_while() -> None:
    """A write that never ends does not keep the process from ending."""
    writes = PendingWrites(SlowStore(), most=1)
    with pytest.raises(NotStored):
        await writes.store(_delivery(), until=_until(SOON))
    async with asyncio.timeout(2):
        await writes.settle(SOON)


async def test_a_write_that_was_given_up_is_not_acknowledged() -> None:
    """Whoever still waits for it is told at once that it is not known to be stored."""
    writes = PendingWrites(SlowStore(), most=1)
    caller = asyncio.create_task(writes.store(_delivery(), until=_until(timedelta(seconds=60))))
    await asyncio.sleep(0)
    async with asyncio.timeout(2):
        await writes.settle(SOON)
        with pytest.raises(NotStored):
            await caller
