"""What waits in Redis, as gauges: every worker reads it now and then and exposes it at `/metrics`.

All workers expose the same numbers, so a query takes `max` over them. While Redis cannot be read they are left out
instead of standing still, which an alert can see.
"""

import asyncio
import contextlib
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta

import msgspec
from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from rewardpost.audits import Audits
from rewardpost.connection import UNREACHABLE
from rewardpost.dead_letters import DeadLetters
from rewardpost.keys import Keys
from rewardpost.limits import Limits
from rewardpost.queue import Depth, Queue
from rewardpost.states import ENDS, State
from rewardpost.turns import Limit, LimitState

INTERVAL = timedelta(seconds=15)
"""How often Redis is read."""
STALE = 3 * INTERVAL
"""A reading that is older is not exposed any more."""
SOURCES = ("voucherify", "shipbob")
"""The senders of webhooks whose latest one is told."""


class Memory(msgspec.Struct, frozen=True):
    """How full the server is, in bytes."""

    used: int
    """As the server itself compares it with `maxmemory`."""
    limit: int
    """`maxmemory`, or the machine's memory where none is set."""


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """What stood in Redis at one moment."""

    depth: Depth
    paused: bool
    workers: int
    dead_letters: int
    counts: Mapping[State, int]
    ages: Mapping[State, timedelta]
    """How long the reward that has been longest in a state is unchanged; none of the ends."""
    limits: Mapping[str, LimitState]
    heard: Mapping[str, datetime]
    """When the latest webhook of each sender came."""
    installed: datetime | None
    memory: Memory | None
    """None where the server does not tell."""


class Gauges(Collector):
    """The latest reading, for as long as it is fresh."""

    def __init__(self, redis: Redis, keys: Keys, limits: Sequence[Limit], *, stale: timedelta = STALE) -> None:
        self._redis = redis
        self._keys = keys
        self._limits = limits
        self._stale = stale
        self._queue = Queue(redis, keys)
        self._audits = Audits(redis, keys)
        self._letters = DeadLetters(redis, keys)
        self._lines = Limits(redis, keys)
        self._reading: Reading | None = None
        self._read_at = float("-inf")

    def describe(self) -> Iterable[Metric]:
        """Reserve no names: two workers of one process, as tests have them, do not stand in each other's way."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Return the latest reading; nothing once it is stale."""
        if self._reading is not None and time.monotonic() - self._read_at < self._stale.total_seconds():
            yield from families(self._reading)

    async def run(self) -> None:
        """Read again and again."""
        while True:
            with contextlib.suppress(*UNREACHABLE):  # the sign of life says so already; the reading gets stale
                await self.read()
            await asyncio.sleep(INTERVAL.total_seconds())

    async def read(self) -> Reading:
        """Read once.

        Raises:
            redis.exceptions.RedisError: the server did not answer, and the reading before is kept.
            OSError: the same.
            TimeoutError: the same.
        """
        counts, ages = await self._states()
        heard = {source: await self._audits.heard(source) for source in SOURCES}
        self._reading = reading = Reading(
            depth=await self._queue.depth(),
            paused=await self._queue.paused() is not None,
            workers=await self._queue.workers(),
            dead_letters=await self._letters.count(),
            counts=counts,
            ages=ages,
            limits={limit.name: await self._lines.state(limit) for limit in self._limits},
            heard={source: at for source, at in heard.items() if at is not None},
            installed=await self._audits.installed(),
            memory=await self._memory(),
        )
        self._read_at = time.monotonic()
        return reading

    async def _states(self) -> tuple[dict[State, int], dict[State, timedelta]]:
        now = await self._audits.now()
        under_way = [state for state in State if state not in ENDS]
        async with self._redis.pipeline(transaction=False) as pipe:
            for state in State:
                pipe.zcard(self._keys.state(state))
            for state in under_way:
                pipe.zrange(self._keys.state(state), 0, 0, withscores=True)
            found = await pipe.execute()
        counts = dict(zip(State, found, strict=False))
        oldest = zip(under_way, found[len(counts) :], strict=True)
        now_ms = now.timestamp() * 1000
        ages = {
            state: timedelta(milliseconds=max(now_ms - entries[0][1], 0)) if entries else timedelta()
            for state, entries in oldest
        }
        return counts, ages

    async def _memory(self) -> Memory | None:
        try:
            info = await self._redis.info("memory")
        except ResponseError:  # a managed server may refuse it
            return None
        limit = int(info.get("maxmemory") or info.get("total_system_memory") or 0)
        used = int(info.get("used_memory", 0)) - int(info.get("mem_not_counted_for_evict", 0))
        return Memory(used=used, limit=limit) if limit else None


def families(reading: Reading) -> Iterator[Metric]:
    """Return a reading as Prometheus takes it."""
    depth = reading.depth
    jobs = {"queued": depth.queued, "deferred": depth.deferred, "running": depth.running}
    yield _family("queue_jobs", "Jobs on the queue: due, due later, running.", "state", jobs)
    yield _family(
        "queue_oldest_job_seconds", "How long the oldest waiting job has been due.", value=depth.oldest_seconds
    )
    yield _family("queue_paused", "1 while an operator has paused the queue.", value=reading.paused)
    yield _family("workers", "Workers that have shown a sign of life lately.", value=reading.workers)
    yield _family("dead_letters_waiting", "Dead letters that wait for a person.", value=reading.dead_letters)
    yield _family("fulfilments", "Rewards by state.", "state", {state.value: n for state, n in reading.counts.items()})
    ages = {state.value: age.total_seconds() for state, age in reading.ages.items()}
    yield _family("fulfilments_oldest_seconds", "How long the oldest reward of a state is unchanged.", "state", ages)
    waiting = {name: state.waiting for name, state in reading.limits.items()}
    yield _family("limit_waiting", "Callers that wait for their turn at a limit.", "limit", waiting)
    is_open = {name: state.open_for is not None for name, state in reading.limits.items()}
    yield _family("limit_circuit_open", "1 while calls are held back after failures.", "limit", is_open)
    heard = {source: at.timestamp() for source, at in reading.heard.items()}
    yield _family("last_webhook_timestamp_seconds", "When the latest opened webhook of a sender came.", "source", heard)
    if reading.installed is not None:
        at = reading.installed.timestamp()
        yield _family("installed_timestamp_seconds", "The moment of installation.", value=at)
    if reading.memory is not None:
        yield _family("redis_memory_used_bytes", "Memory that counts for the limit.", value=reading.memory.used)
        yield _family("redis_memory_limit_bytes", "The limit, or the machine's memory.", value=reading.memory.limit)


def _family(
    name: str, says: str, label: str = "", values: Mapping[str, float] | None = None, *, value: float = 0
) -> Metric:
    family = GaugeMetricFamily(f"rewardpost_{name}", says, labels=[label] if label else [])
    for member, number in (values or {}).items():
        family.add_metric([member], number)
    if not label:
        family.add_metric([], value)
    return family
