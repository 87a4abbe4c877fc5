"""The queue as the door and the ledger see it: one atomic write for each delivery, on arq's own keys.

arq's `enqueue_job` answers None both for a duplicate and for a connection that broke at its EXEC, so nothing
that is acknowledged may depend on it; `Queue.store` raises when the outcome is not known.
"""

from datetime import datetime
from enum import StrEnum

import msgspec
from redis.asyncio import Redis

from rewardpost import codec
from rewardpost.delivery import Delivery
from rewardpost.keys import Keys
from rewardpost.scripts import Script

OPEN_DELIVERY = "open_delivery"
"""Name of the task that opens a delivery; names of tasks are for ever."""
SHIP_REWARD = "ship_reward"
"""Name of the task that carries a reward out."""

LIFE_SIGN_SECONDS = 5
"""How often a worker shows a sign of life."""
_SILENCE_SECONDS = 3 * LIFE_SIGN_SECONDS
_LOOKED_AT = 5000

_STORE = Script("store_delivery")


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


class Queue:
    """Takes deliveries in, and tells how many jobs there are."""

    def __init__(self, redis: Redis, keys: Keys) -> None:
        self._redis = redis
        self._keys = keys

    async def store(self, delivery: Delivery) -> Receipt:
        """Put a delivery on the queue, unless the same body is waiting, running or settled.

        A twin among the dead letters is superseded in the same write.

        Raises:
            redis.exceptions.RedisError: the server refused or the outcome is not known; nothing may be
                acknowledged, and storing the same delivery again is safe.
            OSError: the same.
            TimeoutError: the same.
        """
        keys = self._keys
        job_id = keys.delivery_job(delivery.id)
        answer = await _STORE.run(
            self._redis,
            keys=[
                keys.queue,
                keys.job(job_id),
                keys.delivery(delivery.id),
                keys.dead_letters,
                keys.dead_letter(delivery.id),
            ],
            args=[job_id, delivery.id, job_payload(OPEN_DELIVERY, delivery, at=delivery.received_at)],
        )
        return Receipt(answer.decode())

    async def depth(self) -> Depth:
        """Count the jobs; running ones are looked for among those that have been due the longest."""
        seconds, microseconds = await self._redis.time()
        now_ms = seconds * 1000 + microseconds // 1000
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.zcount(self._keys.queue, "-inf", now_ms)
            pipe.zcount(self._keys.queue, f"({now_ms}", "+inf")
            pipe.zrange(self._keys.queue, 0, _LOOKED_AT - 1, withscores=True)
            due, deferred, head = await pipe.execute()
        marks = await self._redis.mget([self._keys.in_progress(job.decode()) for job, _ in head]) if head else []
        running = [mark is not None for mark in marks]
        waiting = [score for (_, score), runs in zip(head, running, strict=True) if not runs and score <= now_ms]
        late = sum(score > now_ms for (_, score), runs in zip(head, running, strict=True) if runs)
        return Depth(
            queued=max(due - (sum(running) - late), 0),
            deferred=deferred - late,
            running=sum(running),
            oldest_seconds=max(now_ms - min(waiting), 0) / 1000 if waiting else 0.0,
        )

    async def sign_of_life(self, worker: str) -> None:
        """Note that a worker lives, and forget those that have not said so for a while."""
        seconds, _ = await self._redis.time()
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.zadd(self._keys.workers, {worker: seconds})
            pipe.zremrangebyscore(self._keys.workers, "-inf", seconds - _SILENCE_SECONDS)
            await pipe.execute()

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
