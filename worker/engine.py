"""The engine: arq's worker on arq's own keys, with claims, ends and leases in scripts, so that no job is lost.

What differs from arq's `Worker`: one call claims jobs for all free slots and one call ends many; a claim is a lease
that its token guards and a thread renews; an idle worker is woken instead of polling; every exception is tried again
with back-off, and what is spent is set aside by its task; nothing that Redis does ends the process.
"""

import asyncio
import contextlib
import inspect
import os
import signal
import socket
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from signal import Signals
from typing import Any
from uuid import uuid4

from arq.connections import ArqRedis, create_pool
from arq.constants import abort_jobs_ss
from arq.worker import Worker
from redis.asyncio import Redis

from rewardpost import logs
from rewardpost.connection import UNREACHABLE
from rewardpost.keys import wake_up
from rewardpost.lease import Lease
from worker.claims import Claims
from worker.in_hand import InHand
from worker.lease_keeper import LeaseKeeper

LEASE = timedelta(seconds=30)
"""How long a dead worker's job stays its own, unless said otherwise."""
FAREWELL = timedelta(seconds=10)
"""How long a worker that stops tries to write down how its jobs ended; what is not written is due after the lease."""

_LONGEST_WAIT = 1.0
_IDLE_TICK = 0.1  # how late an idle server ends a wait: `hz` is 10
_AFTER_DUE = 0.002
_PAUSES = (0.05, 0.1, 0.2, 0.5, 1.0)

log = logs.get(__name__)


class Engine(Worker):
    """arq's worker, several times faster, losing nothing.

    Args:
        functions: as arq takes them; a `TaskFunction` may end its own jobs.
        lease: how long a dead worker's job stays its own.
        connect: makes a client for the thread that renews leases; by default one like the pool's,
            which does not do behind Sentinel.
        options: those of arq's `Worker`; `poll_delay`, `queue_read_limit` and `expires_extra_ms` have no effect.
    """

    def __init__(
        self,
        functions: Sequence[Any] = (),
        *,
        lease: timedelta = LEASE,
        connect: Callable[[], Redis] | None = None,
        **options: Any,  # noqa: ANN401 - arq's own
    ) -> None:
        super().__init__(functions, **options)
        if self._pool is not None:  # arq would fall back on pickle, whatever the client reads and writes
            self.job_serializer = self.job_serializer or self._pool.job_serializer
            self.job_deserializer = self.job_deserializer or self._pool.job_deserializer
        self._lease = lease
        self._connect = connect or self._connect_alike
        self._name = f"{socket.gethostname()}:{os.getpid()}:{uuid4().hex[:8]}"
        self._failures = 0
        self._house_kept_at = float("-inf")
        self._stopping: asyncio.Task[None] | None = None
        self._leases: dict[Lease, float] = {}
        self._keeper: LeaseKeeper | None = None
        self._in_hand: InHand | None = None
        self._nudging: asyncio.Task[None] | None = None

    async def main(self) -> None:
        """Work until told to stop; Redis may come and go."""
        if self._pool is None:
            self._pool = await create_pool(
                self.redis_settings,
                job_deserializer=self.job_deserializer,
                job_serializer=self.job_serializer,
                default_queue_name=self.queue_name,
            )
        self._claims = Claims(self.pool, self.queue_name, lease=self._lease, worker=self._name)
        # A client of its own, which shares no round trip: a wait would hold up all others.
        self._waiting = ArqRedis(connection_pool=self.pool.connection_pool)
        self._in_hand = in_hand = InHand(self, self._claims, self._leases, self._pause)
        self._keeper = keeper = LeaseKeeper(
            self._connect, self._claims.renew, in_hand.note_lost, self._leases, lease=self._lease
        )
        self.ctx["redis"] = self.pool
        if self.on_startup:
            await self.on_startup(self.ctx)
        keeper.start()
        while not (self.burst and await self._burst_is_over(in_hand)):
            if self.main_task is not None and self.main_task.cancelling():
                raise asyncio.CancelledError  # redis-py can swallow the first one on Python 3.11
            try:
                keeper.loop_seen = time.monotonic()
                await self._take_turn(in_hand)
                self._failures = 0
            except Exception as exc:  # noqa: BLE001 - the loop goes on whatever it is: all jobs depend on it
                await self._pause(exc)

    async def close(self) -> None:
        """Give back what is in hand, write down what has ended, and let go of Redis, which may be away."""
        if not self._handle_signals:
            self.handle_sig(signal.SIGUSR1)
        if not self._pool:
            return
        if self._stopping is not None:
            await self._stopping
        if self._in_hand is not None:
            await self._write_last_endings(self._in_hand)
        if self._keeper is not None:
            await self._keeper.stop()
        with contextlib.suppress(*UNREACHABLE):
            await self.pool.delete(self.health_check_key)
        if self.on_shutdown:
            try:
                await self.on_shutdown(self.ctx)
            except Exception as exc:  # whatever it is, the connections have to be given back
                log.warning("hook_failed", exc_info=exc)
        await self.pool.aclose(close_connection_pool=True)
        self._pool = None

    async def _write_last_endings(self, in_hand: InHand) -> None:
        try:
            async with asyncio.timeout(FAREWELL.total_seconds()):
                await in_hand.settle()
        except TimeoutError:
            log.warning("endings_not_written", count=len(in_hand))
            await in_hand.abandon()

    def handle_sig(self, signum: Signals) -> None:
        """Take no more jobs and give those in hand back at once, or after `job_completion_wait`."""
        self.allow_pick_jobs = False
        if self._stopping is None:
            log.info("worker_stopping", signal=Signals(signum).name, count=len(self.tasks))
            self._stopping = self.loop.create_task(self._stop(Signals(signum)))

    handle_sig_wait_for_completion = handle_sig

    async def _stop(self, signum: Signals) -> None:
        if self.tasks and self._job_completion_wait:
            await asyncio.wait(self.tasks.values(), timeout=self._job_completion_wait)
        while self.tasks:  # redis-py can swallow a cancelling on Python 3.11
            for task in list(self.tasks.values()):
                task.cancel()
            await asyncio.wait(list(self.tasks.values()), timeout=_LONGEST_WAIT)
        if self.main_task is not None:
            self.main_task.cancel()
        if self.on_stop:
            try:
                self.on_stop(signum)
            except Exception as exc:  # whatever it is, the worker goes on stopping
                log.warning("hook_failed", exc_info=exc)

    async def _take_turn(self, in_hand: InHand) -> None:
        """Claim for all free slots, or wait until something can have changed."""
        await self._keep_house()
        slots = self._free_slots()
        if slots <= 0:
            in_hand.freed.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LONGEST_WAIT):
                    await in_hand.freed.wait()
            return
        claimed = await self._claims.claim(slots)
        aborted = await self._aborted([claim.lease.job_id for claim in claimed.jobs])
        for claim in claimed.jobs:
            in_hand.start(claim, aborted=claim.lease.job_id in aborted)
        if claimed.gone:
            log.warning("jobs_without_payload", count=claimed.gone)
        to_come = claimed.next_due is not None or claimed.paused
        if not claimed.more and (not self.burst or (to_come and not claimed.jobs)):  # a burst ends when nothing is left
            await self._wait(claimed.next_due)

    async def _wait(self, next_due: float | None) -> None:
        """Wait for a wake-up, but no longer than until the next job is due."""
        timeout = self.pool.connection_pool.connection_kwargs.get("socket_timeout")
        longest = min(_LONGEST_WAIT, timeout / 2 if timeout else _LONGEST_WAIT)
        nudge = None
        if next_due is not None and next_due < longest + _IDLE_TICK:
            longest = min(longest, max(next_due, 0.001))  # 0 would be for ever
            nudge = self.loop.call_later(longest + _AFTER_DUE, self._nudge)
        try:
            await self._waiting.blpop(wake_up(self.queue_name), timeout=longest)  # type: ignore[misc, arg-type] # redis-py types both its clients with one signature
        finally:
            if nudge is not None:
                nudge.cancel()

    def _nudge(self) -> None:
        """Have the server look at its clock; an idle one does so at its ticks alone, and jobs would be late."""

        async def ping() -> None:
            with contextlib.suppress(*UNREACHABLE):
                await self.pool.ping()

        self._nudging = self.loop.create_task(ping())

    def _free_slots(self) -> int:
        if not self.allow_pick_jobs:
            return 0
        # Jobs whose end is not written down yet are in hand too: Redis sets the pace when it is the slower one.
        free = min(self.max_jobs - len(self.tasks), 3 * self.max_jobs - len(self._leases))
        if self.burst and self.max_burst_jobs >= 0:
            free = min(free, self.max_burst_jobs - self._jobs_started())
        return free

    async def _burst_is_over(self, in_hand: InHand) -> bool:
        if self.tasks:
            await asyncio.wait(list(self.tasks.values()), return_when=asyncio.FIRST_COMPLETED)
        if self.tasks or self._house_kept_at < 0:
            return False
        await in_hand.settle()
        if 0 <= self.max_burst_jobs <= self._jobs_started():
            return True
        with contextlib.suppress(*UNREACHABLE):
            return int(await self.pool.zcard(self.queue_name)) == 0
        return False

    async def _keep_house(self) -> None:
        """Do what arq does at every poll besides claiming; what a full server refuses of it holds no job up."""
        now = time.monotonic()
        if now - self._house_kept_at < _LONGEST_WAIT / 2:
            return
        self._house_kept_at = now
        with contextlib.suppress(*UNREACHABLE):
            await self.record_health()
        planned = [(cron_job, cron_job.next_run) for cron_job in self.cron_jobs]
        try:
            await self.run_cron(datetime.now(tz=self.timezone), _LONGEST_WAIT)
        except BaseException:
            for cron_job, next_run in planned:  # arq has moved them on; enqueueing again finds what was enqueued
                cron_job.next_run = next_run
            raise
        if self.allow_abort_jobs:
            await self._cancel_aborted_jobs()

    async def _aborted(self, job_ids: list[str]) -> set[str]:
        """Return which of these are to be aborted; arq's key for that lies apart, since it cannot carry a hash tag."""
        if not self.allow_abort_jobs or not job_ids:
            return set()
        scores = await self.pool.zmscore(abort_jobs_ss, job_ids)
        aborted = {job_id for job_id, score in zip(job_ids, scores, strict=True) if score is not None}
        if aborted:
            await self.pool.zrem(abort_jobs_ss, *aborted)
        return aborted

    async def _pause(self, exc: Exception) -> None:
        if isinstance(exc, UNREACHABLE):
            log.warning("redis_out_of_reach", error=type(exc).__name__)
        else:
            log.warning("engine_turn_failed", exc_info=exc)
        await asyncio.sleep(_PAUSES[min(self._failures, len(_PAUSES) - 1)])
        self._failures += 1

    def _connect_alike(self) -> Redis:
        pool = self.pool.connection_pool
        alike = type(pool)(connection_class=pool.connection_class, **pool.connection_kwargs)
        return Redis(connection_pool=alike)


# The `arq` command hands on only what it finds in the signature of `arq.worker.Worker`, in whose place this one stands.
_ARQS, _OURS = inspect.signature(Worker).parameters, inspect.signature(Engine).parameters
Engine.__signature__ = inspect.Signature([*_ARQS.values(), _OURS["lease"], _OURS["connect"]])  # type: ignore[attr-defined] # what `inspect` looks for first
