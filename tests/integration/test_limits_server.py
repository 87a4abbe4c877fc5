"""Limits on a server that forgets scripts, is full or goes away; and what they leave behind."""

import asyncio
from datetime import timedelta

from arq.connections import ArqRedis

from cli.embedded_server import EmbeddedServer
from rewardpost import limits as module
from rewardpost.connection import connect
from rewardpost.keys import Keys
from rewardpost.limits import Limits
from rewardpost.turns import Ended, Limit
from tests.turn_clock import (
    BUSY,
    OPEN_LIMIT,
    THIRTY,
    Clock,
    callers,
    go,
    wait,
    went_at,
)


async def test_a_long_pause_is_not_forgotten(limits: Limits, redis: ArqRedis, keys: Keys) -> None:
    """A side that asks for three days is not called again because its key went earlier."""
    call = await go(limits, OPEN_LIMIT, "first")
    await limits.ended(OPEN_LIMIT, call, Ended.FAILED, retry_after=timedelta(days=3))
    assert await redis.ttl(keys.limit(OPEN_LIMIT.name)) > 3 * 86_400


async def test_every_key_expires(limits: Limits, redis: ArqRedis, clock: Clock) -> None:
    """Nothing is left behind by a side that is called no more, and nothing goes before the last turn."""
    limit = Limit(name="provider:fake", calls=1, window=timedelta(hours=1), longest_call=timedelta(hours=3))
    for who in callers(50):
        await limits.turn(limit, who)
    assert await redis.ttl(Keys("rewardpost").turns(limit.name)) > 48 * 3600 + 86_400
    third = callers(1, first=2)[0]
    clock.move((await wait(limits, limit, third)).after.total_seconds())
    call = await go(limits, limit, third)
    clock.move(limit.interval.total_seconds())
    await go(limits, limit, callers(1, first=3)[0])
    await limits.ended(limit, call, Ended.FAILED, retry_after=timedelta(days=1))
    found = sorted([key async for key in redis.scan_iter()])
    assert found == sorted(
        Keys("rewardpost").prefix.encode() + name
        for name in (b"calls:provider:fake", b"limit:provider:fake", b"missed:provider:fake", b"turns:provider:fake")
    )
    lives = {key.rpartition(b"}:")[2]: await redis.ttl(key) for key in found}
    assert all(0 < life < 4 * 86_400 for life in lives.values())
    assert lives[b"turns:provider:fake"] > 48 * 3600
    assert lives[b"limit:provider:fake"] > 86_400


async def test_a_server_that_has_forgotten_the_scripts_is_told_again(limits: Limits, redis: ArqRedis) -> None:
    """SCRIPT FLUSH, or a new master, costs nothing."""
    await redis.script_flush()
    call = await go(limits, BUSY, "first")
    await redis.script_flush()
    await limits.ended(BUSY, call, Ended.ANSWERED)
    assert (await limits.state(BUSY)).running == 0


async def test_a_full_server_still_gives_turns(own_server: EmbeddedServer, own_redis: ArqRedis, keys: Keys) -> None:
    """The queue has to drain while nothing new is taken in."""
    limits = Limits(own_redis, keys, lead=timedelta())
    await own_redis.config_set("maxmemory", "1")
    call = await go(limits, THIRTY, "first")
    await wait(limits, THIRTY, "second")
    await limits.ended(THIRTY, call, Ended.ANSWERED)
    assert (await limits.state(THIRTY)).running == 0
    assert own_server.url


async def test_an_end_that_cannot_be_told_does_no_harm(own_server: EmbeddedServer, keys: Keys) -> None:
    """The work is done; the deadline ends the call for the others."""
    client = connect(own_server.url, call_timeout=timedelta(seconds=1))
    limits = Limits(client, keys)
    call = await go(limits, BUSY, "first")
    own_server.stop()
    await limits.ended(BUSY, call, Ended.ANSWERED)
    await client.aclose()


async def test_the_last_moments_before_a_turn_are_waited_out(redis: ArqRedis, keys: Keys) -> None:
    """The queue is not looked at often enough to come in time: a caller is told to come early, and stays until then."""
    limits = Limits(redis, keys)
    limit = Limit(name="provider:fake", calls=2)
    first = went_at(await limits.turn(limit, "first"))
    told = await wait(limits, limit, "second")
    assert told.after <= limit.interval - limit.tolerance - module.LEAD
    await asyncio.sleep(told.after.total_seconds())
    second = went_at(await limits.turn(limit, "second"))
    assert second - first >= (limit.interval - limit.tolerance) // timedelta(microseconds=1)
