"""Claiming jobs and writing down how they ended: the engine's script calls, and what goes in and comes out of them."""

from collections.abc import Sequence
from datetime import timedelta
from typing import NamedTuple

from arq.constants import in_progress_key_prefix, job_key_prefix, result_key_prefix, retry_key_prefix
from redis.asyncio import Redis

from rewardpost.keys import TRIES_LIFE, paused, wake_up
from rewardpost.lease import Lease
from rewardpost.scripts import Script

AGAIN_SHARE = 0.25
"""The part of a worker's claims that jobs which come again (retries, replays) get while new ones would take all."""

_CLAIM = Script("claim_jobs")
_END = Script("end_jobs")
_RENEW = Script("renew_leases")

_HEAD = 4
_FIELDS = 4
_TRIES_LIFE_MS = TRIES_LIFE // timedelta(milliseconds=1)


class Claim(NamedTuple):
    """One job in hand."""

    lease: Lease
    payload: bytes
    tries: int
    """How often it was claimed, this time included."""
    due_ms: int
    """When it was due."""


class Claimed(NamedTuple):
    """The answer to one call for jobs."""

    jobs: list[Claim]
    more: bool
    """Whether further jobs are due."""
    gone: int
    """How many names on the queue had no payload any more, and were taken off."""
    next_due: float | None
    """Seconds until the next job is due; None when nothing waits, or the queue is paused."""
    paused: bool


class Ending(NamedTuple):
    """What became of a job; see `end_jobs.lua` for the words."""

    what: str
    ms: int = 0
    result: bytes = b""
    result_ms: int = 0
    """0: it is kept for ever."""
    mark_ms: int = 0
    """How long the mark stays, so that a cron job's late twin does not run."""


def again(delay: timedelta) -> Ending:
    """Return the ending of a job that failed and is to be tried again."""
    return Ending("again", delay // timedelta(milliseconds=1))


def later(delay: timedelta) -> Ending:
    """Return the ending of a job that was not tried."""
    return Ending("later", delay // timedelta(milliseconds=1))


def give_back(claim: Claim) -> Ending:
    """Return the ending of a job that was broken off: due as it was, its try unspent."""
    return Ending("back", claim.due_ms)


class Claims:
    """One queue as a worker takes from it."""

    def __init__(self, redis: Redis, queue: str, *, lease: timedelta, worker: str) -> None:
        self._redis = redis
        self._queue = queue
        self._lease_ms = lease // timedelta(milliseconds=1)
        self._worker = worker
        self._calls = 0
        self._credit = 0.0

    async def claim(self, slots: int) -> Claimed:
        """Take at most so many due jobs, new ones first come first served, with a share for those that come again.

        Raises:
            redis.exceptions.RedisError: what was claimed unnoticed is due again when the lease ends.
        """
        self._calls += 1
        token = f"{self._worker}:{self._calls}"
        self._credit = min(self._credit + slots * AGAIN_SHARE, slots)
        now, due, more, gone, *fields = await _CLAIM.run(
            self._redis,
            keys=[self._queue, wake_up(self._queue), paused(self._queue)],
            args=[
                token,
                self._lease_ms,
                slots,
                int(self._credit),
                job_key_prefix,
                in_progress_key_prefix,
                retry_key_prefix,
                _TRIES_LIFE_MS,
            ],
        )
        self._credit -= int(self._credit)
        return Claimed(
            jobs=[
                Claim(Lease(fields[i].decode(), token), fields[i + 1], fields[i + 2], fields[i + 3])
                for i in range(0, len(fields), _FIELDS)
            ],
            more=more == 1,
            gone=gone,
            next_due=(due - now) / 1000 if due >= 0 else None,
            paused=more == b"paused",
        )

    async def end(self, endings: Sequence[tuple[Claim, Ending]]) -> list[bool]:
        """Write down how jobs ended; False for each that was no longer held, and of which nothing was written."""
        args: list[str | bytes | int] = [job_key_prefix, in_progress_key_prefix, retry_key_prefix, result_key_prefix]
        for (lease, *_), ending in endings:
            args += lease
            args += ending
        answers = await _END.run(self._redis, keys=[self._queue, wake_up(self._queue)], args=args)
        return [answer == b"ok" for answer in answers]

    async def renew(self, redis: Redis, leases: Sequence[Lease]) -> list[Lease]:
        """Prolong leases through a client of the caller's own; return those that are lost."""
        lost = await _RENEW.run(
            redis,
            keys=[self._queue],
            args=[in_progress_key_prefix, self._lease_ms, *(part for lease in leases for part in lease)],
        )
        return [leases[position] for position in lost]
