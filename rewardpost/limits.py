"""Limits on calls to others that hold across all workers: whether it is a caller's turn, or when it will be.

A limiter that can only refuse would have all that it refused come back at once. Here whoever has to wait keeps a
place in a line, so that a job can go back to the queue until its turn, and the end of the line is known.
"""

import asyncio
import contextlib
import math
from datetime import UTC, datetime, timedelta

from redis.asyncio import Redis

from rewardpost.connection import UNREACHABLE
from rewardpost.keys import Keys
from rewardpost.scripts import Script
from rewardpost.settings import Settings
from rewardpost.turns import Ended, Go, Limit, LimitState, Wait, Why

VOUCHERIFY = "voucherify"
"""Name of the limit of all calls to Voucherify, look-ups and audits alike."""

LEAD = timedelta(milliseconds=250)
"""How long before its turn a caller is to come again, and waits it out here: the queue is not looked at more often,
and a turn to which nobody comes in time is lost."""
PATIENCE = 4 * LEAD
"""Longest wait here altogether, however short each single one is."""

NO_JOB_RUNS_LONGER = timedelta(seconds=60)

_LIFE = timedelta(days=1)
_SPARE = timedelta(seconds=5)
_MICROSECOND = timedelta(microseconds=1)

_TAKE = Script("take_turn")
_END = Script("end_call")


def voucherify_limit(settings: Settings) -> Limit:
    """Return the one budget of calls to Voucherify."""
    window = timedelta(minutes=1)
    return Limit(name=VOUCHERIFY, calls=settings.voucherify_calls_per_minute, window=window)


def provider_limit(settings: Settings, call_timeout: timedelta = NO_JOB_RUNS_LONGER) -> Limit:
    """Return what the settings say about the provider, whose calls take no longer than `call_timeout`."""
    return Limit(
        name=f"provider:{settings.provider}",
        calls=settings.provider_calls_per_second,
        concurrency=settings.provider_concurrency or None,
        longest_call=call_timeout + _SPARE,
    )


class Limits:
    """The lines at all limits of one installation; one for each process, so that it knows its own callers."""

    def __init__(self, redis: Redis, keys: Keys, *, lead: timedelta = LEAD) -> None:
        self._redis = redis
        self._keys = keys
        self._lead = lead
        self._ends: dict[str, asyncio.Event] = {}

    async def turn(self, limit: Limit, who: str) -> Go | Wait:
        """Let `who` call now, or say when to come again.

        `who` is found again in the line by its name, so a caller has to use the same one for each try. What is left
        of a wait that is shorter than `LEAD` is waited out here. After `Go`, `ended` has to be told.

        Raises:
            redis.exceptions.RedisError: whether it was let through is not known; if so, the call that was not made
                counts as running until its deadline.
        """
        given_up = asyncio.get_running_loop().time() + PATIENCE.total_seconds()
        while True:
            answer = await self._ask(limit, who)
            if isinstance(answer, Go) or answer.why in {Why.OPEN, Why.PROBE}:
                return answer
            if answer.after > self._lead or asyncio.get_running_loop().time() > given_up:
                early = min(self._lead, answer.after) if answer.why is Why.TURN else timedelta()
                return Wait(due=answer.due - early, after=answer.after - early, why=answer.why)
            await self._pass_time(limit, answer)

    async def ended(self, limit: Limit, call: str, how: Ended, *, retry_after: timedelta | None = None) -> None:
        """Note how a call ended; does no harm when it is late, repeated, or fails: then the deadline ends the call.

        `retry_after` is what the other side asks for (with 429 or 503): then the circuit is open for just that long,
        and no failure is counted.
        """
        asked_for = -1 if retry_after is None else retry_after // _MICROSECOND
        with contextlib.suppress(*UNREACHABLE):
            await _END.run(
                self._redis,
                keys=[self._keys.limit(limit.name), self._keys.calls(limit.name)],
                args=[
                    call,
                    how.value,
                    asked_for,
                    limit.failures,
                    limit.first_pause // _MICROSECOND,
                    limit.longest_pause // _MICROSECOND,
                    _LIFE // timedelta(milliseconds=1),
                ],
            )
        if limit.name in self._ends:
            self._ends.pop(limit.name).set()

    async def state(self, limit: Limit) -> LimitState:
        """Return how a limit stands now."""
        seconds, microseconds = await self._redis.time()
        now = seconds * 1_000_000 + microseconds
        async with self._redis.pipeline(transaction=False) as pipe:  # a full Redis 7.0 refuses MULTI, even to look
            pipe.zcard(self._keys.turns(limit.name))
            pipe.zcount(self._keys.calls(limit.name), f"({now}", "+inf")
            pipe.hmget(self._keys.limit(limit.name), ["free", "open_until", "lasts"])
            waiting, running, found = await pipe.execute()
        free, open_until, lasts = (int(value or 0) for value in found)
        open_for = timedelta(microseconds=open_until - now) if open_until > now else None
        return LimitState(
            waiting=waiting,
            running=running,
            open_for=open_for,
            starts_in=max(timedelta(microseconds=max(free - now, 0)), open_for or timedelta()),
            pace=max(limit.interval, timedelta(microseconds=lasts / (limit.concurrency or math.inf))),
            lasts=timedelta(microseconds=lasts),
        )

    async def _ask(self, limit: Limit, who: str) -> Go | Wait:
        name, keys = limit.name, self._keys
        answer = await _TAKE.run(
            self._redis,
            keys=[keys.turns(name), keys.missed(name), keys.limit(name), keys.calls(name)],
            args=[
                who,
                -(-limit.interval // _MICROSECOND),
                limit.tolerance // _MICROSECOND,
                limit.concurrency or 0,
                limit.longest_call // _MICROSECOND,
                _LIFE // timedelta(milliseconds=1),
            ],
        )
        if answer[0] == b"go":
            return Go(answer[1].decode())
        due, now, why = answer[1:]
        return Wait(
            due=datetime.fromtimestamp(0, UTC) + timedelta(microseconds=due),
            after=timedelta(microseconds=due - now),
            why=Why[why.decode()],
        )

    async def _pass_time(self, limit: Limit, wait: Wait) -> None:
        if wait.why is not Why.FULL:
            await asyncio.sleep(wait.after.total_seconds())
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait.after.total_seconds()):
                await self._ends.setdefault(limit.name, asyncio.Event()).wait()
