"""The queue as the door and the ledger see it: one atomic write for each delivery, on arq's own keys.

arq's `enqueue_job` answers None both for a duplicate and for a connection that broke at its EXEC, so nothing
that is acknowledged may depend on it; `Queue.store` raises when the outcome is not known.
"""

import asyncio
import contextlib
from collections.abc import Sequence
from datetime import UTC, datetime
from enum import StrEnum

import msgspec
from redis.asyncio import Redis
from redis.exceptions import RedisError

from rewardpost import codec
from rewardpost.client import PackingRedis
from rewardpost.delivery import Delivery
from rewardpost.group_commit import GroupCommit
from rewardpost.keys import Keys
from rewardpost.scripts import Script

OPEN_DELIVERY = "open_delivery"
"""Name of the task that opens a delivery; names of tasks are for ever."""
SHIP_REWARD = "ship_reward"
"""Name of the task that carries a reward out."""

AGAIN_MS = 3_155_760_000_000
"""How far above its due time a job lies that comes again, which makes a lane of its own; `jobs.lua` has it too."""

LIFE_SIGN_SECONDS = 5
"""How often a worker shows a sign of life."""
_SILENCE_SECONDS = 3 * LIFE_SIGN_SECONDS
_GAP_SECONDS = 120

_STORE = Script("store_delivery")
_SIGN_OF_LIFE = Script("sign_of_life")
_MOST_TOGETHER = 128  # how many deliveries share one write: as long as it takes, the server does nothing else
_MOST_BYTES_TOGETHER = 4 * 1024 * 1024  # their bodies; a write stands in memory several times on its way


class Receipt(StrEnum):
    """What became of a delivery that the door wanted stored; both are acknowledged."""

    STORED = "stored"
    DUPLICATE = "duplicate"
    """The same body is waiting, running or settled."""


class Depth(msgspec.Struct, frozen=True, kw_only=True):
    """How much lies on the queue."""

    queued: int
    """Due and waiting."""
    deferred: int
    """Due later."""
    running: int
    oldest_seconds: float
    """How long the oldest waiting job has been due; 0 when none waits."""


class Gap(msgspec.Struct, frozen=True):
    """A time in which no worker showed a sign of life: all were stopped, or the server went back to a backup."""

    start: datetime
    end: datetime


class Queue:
    """Takes deliveries in, and tells how many jobs there are."""

    def __init__(self, redis: Redis, keys: Keys) -> None:
        self._redis = redis
        self._packing = PackingRedis(connection_pool=redis.connection_pool)
        self._keys = keys
        self._deliveries: GroupCommit[Delivery, Receipt] = GroupCommit(
            self._store, most=_MOST_TOGETHER, size=lambda delivery: len(delivery.body), most_size=_MOST_BYTES_TOGETHER
        )

    def store(self, delivery: Delivery) -> asyncio.Future[Receipt]:
        """Put a delivery on the queue, unless the same body is waiting, running or settled.

        A twin among the dead letters is superseded in the same write. Deliveries that wait at the same moment share
        one write; giving the future up takes back nothing.

        Raises, when awaited:
            redis.exceptions.RedisError: the server refused or the outcome is not known; nothing may be
                acknowledged, and storing the same delivery again is safe.
            OSError: the same.
            TimeoutError: the same.
        """
        return self._deliveries.put(delivery)

    async def abandon(self) -> None:
        """Give up the deliveries that are not known to be stored yet; their futures are cancelled."""
        await self._deliveries.abandon()

    async def _store(self, deliveries: Sequence[Delivery]) -> list[Receipt]:
        keys = [self._keys.queue, self._keys.wake_up, self._keys.dead_letters]
        args: list[str | bytes] = []
        for delivery in deliveries:
            job_id = self._keys.delivery_job(delivery.id)
            keys += self._keys.job(job_id), self._keys.delivery(delivery.id), self._keys.dead_letter(delivery.id)
            args += job_id, delivery.id, job_payload(OPEN_DELIVERY, delivery, at=delivery.received_at)
        return [Receipt(answer.decode()) for answer in await _STORE.run(self._packing, keys=keys, args=args)]

    async def depth(self) -> Depth:
        """Count the jobs."""
        seconds, microseconds = await self._redis.time()
        now = seconds * 1000 + microseconds // 1000
        async with self._redis.pipeline(transaction=False) as pipe:  # a full Redis 7.0 refuses MULTI, even to look
            pipe.zcard(self._keys.queue)
            for base in (-AGAIN_MS, 0, AGAIN_MS):
                pipe.zcount(self._keys.queue, base, base + now)
                pipe.zrange(self._keys.queue, base, base + now, byscore=True, offset=0, num=1, withscores=True)
            pipe.zcount(self._keys.queue, now + 1 - AGAIN_MS, -1)
            jobs, left, first_left, new, first_new, again, first_again, running = await pipe.execute()
        dues = [score + AGAIN_MS for _, score in first_left]
        dues += [score for _, score in first_new] + [score - AGAIN_MS for _, score in first_again]
        queued = left + new + again
        return Depth(
            queued=queued,
            deferred=jobs - queued - running,
            running=running,
            oldest_seconds=max(now - min(dues), 0) / 1000 if dues else 0.0,
        )

    async def pause(self, why: str) -> None:
        """Have no worker claim anything from now on; what runs goes on, and the door takes in as before."""
        await self._redis.set(self._keys.paused, why)

    async def resume(self) -> bool:
        """Have workers claim again; False where the queue was not paused."""
        deleted = await self._redis.delete(self._keys.paused)
        await self._redis.delete(self._keys.wake_up)  # at most one element lies there
        with contextlib.suppress(RedisError):  # a full server refuses it; workers look once a second anyway
            await self._redis.lpush(self._keys.wake_up, "1")  # type: ignore[misc] # redis-py types both its clients with one signature
        return bool(deleted)

    async def paused(self) -> str | None:
        """Return why the queue is paused; None while it is not."""
        why = await self._redis.get(self._keys.paused)
        return why.decode() if why is not None else None

    async def sign_of_life(self, worker: str) -> None:
        """Note that a worker lives, and forget those that have not said so for a while."""
        await _SIGN_OF_LIFE.run(
            self._redis, keys=[self._keys.workers, self._keys.watch], args=[worker, _SILENCE_SECONDS, _GAP_SECONDS]
        )

    async def latest_gap(self) -> Gap | None:
        """Return the latest time in which nobody watched; None where there was none since the first worker."""
        start, end = await self._redis.hmget(self._keys.watch, ["gap_from", "since"])  # type: ignore[misc] # redis-py types both its clients with one signature
        if not end or not int(start):
            return None
        return Gap(datetime.fromtimestamp(int(start), UTC), datetime.fromtimestamp(int(end), UTC))

    async def farewell(self, worker: str) -> None:
        """Forget a worker that ends."""
        await self._redis.zrem(self._keys.workers, worker)

    async def workers(self) -> int:
        """Count the workers that have shown a sign of life lately."""
        seconds, _ = await self._redis.time()
        return int(await self._redis.zcount(self._keys.workers, seconds - _SILENCE_SECONDS, "+inf"))


def job_payload(function: str, *args: object, at: datetime) -> bytes:
    """Encode a job as arq stores it; `at` is when it was enqueued, which arq shows and nothing depends on."""
    return codec.encode({"t": None, "f": function, "a": args, "k": {}, "et": int(at.timestamp() * 1000)})
