"""Slots and circuit of a limit on a real server: how many calls run, and what follows when they fail."""

import asyncio
from datetime import timedelta
from itertools import pairwise

import pytest
from arq.connections import ArqRedis

from rewardpost.keys import Keys
from rewardpost.limits import Limits
from rewardpost.turns import Ended, Go, Limit, Why
from tests.turn_clock import (
    BUSY,
    OPEN_LIMIT,
    START,
    THIRTY,
    Clock,
    callers,
    fail,
    go,
    serve,
    wait,
)


async def test_no_more_calls_run_than_may(limits: Limits, clock: Clock) -> None:
    """The third waits until one of two has ended, and is told to look again soon."""
    first = await go(limits, BUSY, "first")
    await go(limits, BUSY, "second")
    third = await wait(limits, BUSY, "third")
    assert third.why is Why.FULL
    assert third.after <= timedelta(milliseconds=250)
    clock.move(0.5)
    await limits.ended(BUSY, first, Ended.ANSWERED)
    await go(limits, BUSY, "third")
    assert (await limits.state(BUSY)).running == 2


async def test_a_dead_callers_slot_is_free_at_its_deadline(limits: Limits, clock: Clock) -> None:
    """Nobody says that the call ended; the one after it waits no longer than a call can last."""
    await go(limits, BUSY, "first")
    await go(limits, BUSY, "second")
    clock.move(14.9)
    await wait(limits, BUSY, "third")
    clock.move(0.2)
    await go(limits, BUSY, "third")


async def test_an_end_that_comes_late_or_twice_frees_no_other_slot(limits: Limits, clock: Clock) -> None:
    """Each end is of one call: that of the same reward's earlier one says nothing of the later one."""
    early = await go(limits, BUSY, "first")
    clock.move(20)
    await go(limits, BUSY, "first")
    await go(limits, BUSY, "second")
    for _ in range(6):
        await limits.ended(BUSY, early, Ended.FAILED)
    assert (await wait(limits, BUSY, "third")).why is Why.FULL
    assert (await limits.state(BUSY)).running == 2


async def test_slots_are_used_when_they_are_the_tighter_limit(limits: Limits, clock: Clock) -> None:
    """With calls of 0.4 to 0.6 s, five slots give ten calls a second; the announced end is right."""
    limit = Limit(name="provider:fake", calls=100, concurrency=5, longest_call=timedelta(seconds=15))
    lasts = {who: 0.4 + (number % 5) * 0.05 for number, who in enumerate(callers(400))}
    warm = dict(list(lasts.items())[:20])
    await serve(limits, limit, clock, [(0.0, who) for who in warm], lasts=lasts.__getitem__)
    begun = clock.now
    for who in callers(380, first=20):
        turn = await limits.turn(limit, who)
        if isinstance(turn, Go):
            await limits.ended(limit, turn.call, Ended.ABANDONED)
    announced = (await limits.state(limit)).through_in()
    assert announced is not None
    gone = await serve(limits, limit, clock, [(0.0, who) for who in callers(380, first=20)], lasts=lasts.__getitem__)
    seconds = (clock.now - begun) / 1_000_000
    assert len(gone) == 380
    assert announced.total_seconds() == pytest.approx(seconds, rel=0.2)
    assert 380 * 0.5 / 5 / seconds >= 0.9


async def test_a_newcomer_does_not_slip_into_a_slot_before_those_that_wait(limits: Limits, clock: Clock) -> None:
    """The slot is free for whoever is near the front; the others are not overtaken by one who happens to come now."""
    limit = Limit(name="provider:fake", concurrency=1, longest_call=timedelta(seconds=15))
    first = await go(limits, limit, "first")
    clock.move(2)
    await limits.ended(limit, first, Ended.ANSWERED)
    second = await go(limits, limit, "second")
    for who in callers(10):
        await limits.turn(limit, who)
    clock.move(2)
    await limits.ended(limit, second, Ended.ANSWERED)
    assert (await wait(limits, limit, "newcomer")).why is Why.TURN
    await go(limits, limit, callers(1)[0])


async def test_a_local_end_lets_the_next_one_in_at_once(redis: ArqRedis, keys: Keys) -> None:
    """Who waits in the same process need not look again and again."""
    limits = Limits(redis, keys)
    limit = Limit(name="provider:fake", concurrency=1)
    first = await go(limits, limit, "first")
    waiting = asyncio.create_task(limits.turn(limit, "second"))
    while not await redis.zcard(keys.turns(limit.name)):
        await asyncio.sleep(0)
    await limits.ended(limit, first, Ended.ABANDONED)
    assert isinstance(await waiting, Go)


async def test_failures_in_a_row_open_the_circuit(limits: Limits, clock: Clock) -> None:
    """Five failures in a row stop everybody for half a minute; an answer in between starts the count anew."""
    await fail(limits, OPEN_LIMIT, 4)
    await limits.ended(OPEN_LIMIT, await go(limits, OPEN_LIMIT, "well"), Ended.ANSWERED)
    await fail(limits, OPEN_LIMIT, 4)
    await limits.ended(OPEN_LIMIT, await go(limits, OPEN_LIMIT, "stopped"), Ended.ABANDONED)
    await fail(limits, OPEN_LIMIT, 1)
    stopped = await wait(limits, OPEN_LIMIT, "next")
    assert (stopped.why, stopped.after) == (Why.OPEN, timedelta(seconds=30))
    clock.move(29)
    await wait(limits, OPEN_LIMIT, "next")


async def test_one_probe_at_a_time_tries_whether_it_is_over(limits: Limits, clock: Clock) -> None:
    """Of all that come when the pause is over one goes; its success lets the others in."""
    await fail(limits, OPEN_LIMIT, 5)
    clock.move(30)
    probe = await go(limits, OPEN_LIMIT, "first")
    for who in ("second", "third"):
        assert (await wait(limits, OPEN_LIMIT, who)).why is Why.PROBE
    await limits.ended(OPEN_LIMIT, probe, Ended.ANSWERED)
    await go(limits, OPEN_LIMIT, "second")
    await go(limits, OPEN_LIMIT, "third")
    await fail(limits, OPEN_LIMIT, 4)
    await go(limits, OPEN_LIMIT, "fourth")


async def test_a_probe_that_fails_opens_it_again_for_longer(limits: Limits, clock: Clock) -> None:
    """The pause doubles up to five minutes, and is short again after a success."""
    await fail(limits, OPEN_LIMIT, 5)
    pauses = []
    for _ in range(6):
        pauses.append((await wait(limits, OPEN_LIMIT, "next")).after.total_seconds())
        clock.move(pauses[-1])
        await fail(limits, OPEN_LIMIT, 1)
    assert pauses == [30, 60, 120, 240, 300, 300]
    clock.move(300)
    await limits.ended(OPEN_LIMIT, await go(limits, OPEN_LIMIT, "probe"), Ended.ANSWERED)
    await fail(limits, OPEN_LIMIT, 5)
    assert (await wait(limits, OPEN_LIMIT, "next")).after == timedelta(seconds=30)


@pytest.mark.parametrize("silent", [True, False])
async def test_a_probe_that_says_nothing_gives_way_to_another(limits: Limits, clock: Clock, *, silent: bool) -> None:
    """Its worker died or stopped: the next one may try, at its deadline at the latest."""
    await fail(limits, OPEN_LIMIT, 5)
    clock.move(30)
    probe = await go(limits, OPEN_LIMIT, "first")
    if silent:
        clock.move(15.1)
    else:
        await limits.ended(OPEN_LIMIT, probe, Ended.ABANDONED)
    await go(limits, OPEN_LIMIT, "second")
    await wait(limits, OPEN_LIMIT, "third")


async def test_a_pause_that_is_asked_for_is_kept_exactly(limits: Limits, clock: Clock) -> None:
    """`Retry-After` counts as no failure, and does not make later pauses longer."""
    await fail(limits, OPEN_LIMIT, 4)
    call = await go(limits, OPEN_LIMIT, "told")
    await limits.ended(OPEN_LIMIT, call, Ended.FAILED, retry_after=timedelta(seconds=7))
    assert (await limits.state(OPEN_LIMIT)).open_for is not None
    assert (await wait(limits, OPEN_LIMIT, "next")).after == timedelta(seconds=7)
    clock.move(7)
    await fail(limits, OPEN_LIMIT, 1)
    assert (await wait(limits, OPEN_LIMIT, "next")).after == timedelta(seconds=30)


async def test_what_was_under_way_does_not_touch_an_open_circuit(limits: Limits, clock: Clock) -> None:
    """Calls that began before it opened neither close it nor make its pause longer."""
    calls = [await go(limits, OPEN_LIMIT, who) for who in callers(13)]
    for call in calls[:11]:
        await limits.ended(OPEN_LIMIT, call, Ended.FAILED)
    await limits.ended(OPEN_LIMIT, calls[11], Ended.ANSWERED)
    clock.move(1)
    assert (await wait(limits, OPEN_LIMIT, "next")).after == timedelta(seconds=29)
    clock.move(29)
    await go(limits, OPEN_LIMIT, "probe")
    await limits.ended(OPEN_LIMIT, calls[12], Ended.ANSWERED)
    assert (await wait(limits, OPEN_LIMIT, "next")).why is Why.PROBE


async def test_those_sent_away_come_back_one_after_another(limits: Limits, clock: Clock) -> None:
    """Nobody keeps a place at a side that is out of order, but they do not all come back at the same moment."""
    await fail(limits, Limit(name=THIRTY.name), 5)
    dues = [(await wait(limits, THIRTY, who)).due for who in callers(20)]
    assert (dues[0] - START).total_seconds() == pytest.approx(30, abs=0.01)
    assert [later - sooner for sooner, later in pairwise(dues)] == [THIRTY.interval] * 19
    assert (await limits.state(THIRTY)).waiting == 0
    assert clock.now == int(START.timestamp()) * 1_000_000
