"""Turns at a limit on a real server: the rate and the order, whatever becomes of callers."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest
from arq.connections import ArqRedis

from cli.embedded_server import EmbeddedServer
from rewardpost.connection import connect
from rewardpost.keys import Keys
from rewardpost.limits import Limits
from rewardpost.turns import Ended, Go, Limit, Why
from tests.turn_clock import (
    INTERVAL,
    MINUTE,
    START,
    THIRTY,
    TOLERANCE,
    Clock,
    callers,
    go,
    most_in_a_window,
    serve,
    wait,
    went_at,
)


@asynccontextmanager
async def _workers(url: str, keys: Keys, count: int) -> AsyncIterator[list[Limits]]:
    clients = [connect(url, call_timeout=timedelta(seconds=10)) for _ in range(count)]
    try:
        yield [Limits(client, keys) for client in clients]
    finally:
        await asyncio.gather(*(client.aclose() for client in clients))


async def _until_gone(limits: Limits, limit: Limit, who: str) -> int:
    while True:
        turn = await limits.turn(limit, who)
        if isinstance(turn, Go):
            await limits.ended(limit, turn.call, Ended.ANSWERED)
            return went_at(turn)
        await asyncio.sleep(turn.after.total_seconds())


async def test_claimants_of_several_workers_keep_to_the_rate(
    server: EmbeddedServer, redis: ArqRedis, keys: Keys
) -> None:
    """Two hundred at once over four connections, by the server's own clock: no second has a call too many."""
    await redis.ping()
    limit = Limit(name="provider:fake", calls=100)
    async with _workers(server.url, keys, 4) as workers:
        moments = await asyncio.gather(
            *(_until_gone(workers[number % 4], limit, who) for number, who in enumerate(callers(200)))
        )
    assert most_in_a_window(moments, limit.window) <= 100
    assert len(moments) == 200


async def test_turns_are_given_in_the_order_of_asking(limits: Limits, clock: Clock) -> None:
    """Everybody comes again as told, and nobody is overtaken; the last one's turn is known from the beginning."""
    names = callers(40)
    for who in names:
        await limits.turn(THIRTY, who)
    state = await limits.state(THIRTY)
    assert state.waiting == 39
    gone = await serve(limits, THIRTY, clock, [(0.0, who) for who in names[1:]])
    assert [who for _, who in gone] == names[1:]
    assert (gone[-1][0] / 1_000_000 - START.timestamp()) == pytest.approx(39 * INTERVAL - TOLERANCE, abs=0.01)


async def test_asking_early_moves_nothing(limits: Limits, clock: Clock) -> None:
    """A turn is not a promise to be renewed: it is where it is, however often it is asked for."""
    await go(limits, THIRTY, "first")
    second, third = await wait(limits, THIRTY, "second"), await wait(limits, THIRTY, "third")
    for _ in range(5):
        clock.move(0.1)
        assert (await wait(limits, THIRTY, "third")).due == third.due
    assert (await wait(limits, THIRTY, "second")).due == second.due
    assert third.due - second.due == THIRTY.interval
    assert second.why is Why.TURN


async def test_a_limit_of_one_side_is_not_that_of_another(limits: Limits, clock: Clock) -> None:
    """Names tell limits apart."""
    await go(limits, THIRTY, "first")
    await go(limits, Limit(name="other", calls=30, window=MINUTE), "first")
    await wait(limits, THIRTY, "second")
    assert clock.now == int(START.timestamp()) * 1_000_000


async def test_after_an_outage_no_burst_follows_and_everybody_keeps_its_place(limits: Limits, clock: Clock) -> None:
    """While no worker ran, the turns of all passed: they move together instead of being caught up."""
    names = callers(80)
    gone = await serve(
        limits, THIRTY, clock, [(0.001 * number, who) for number, who in enumerate(names)], away=(60, 960)
    )
    moments = [moment for moment, _ in gone]
    assert most_in_a_window(moments, MINUTE) <= 30
    assert [who for _, who in gone] == names
    seconds = (moments[-1] - moments[0]) / 1_000_000
    assert seconds == pytest.approx(900 + 79 * INTERVAL, abs=2 * INTERVAL)


async def test_whoever_comes_first_after_an_outage_does_not_overtake(limits: Limits, clock: Clock) -> None:
    """Those before it get their chance first: that they did not come says nothing while nobody did."""
    for who in ("first", "second", "third", "fourth"):
        await limits.turn(THIRTY, who)
    clock.move(3600)
    third = await wait(limits, THIRTY, "third")
    assert third.after.total_seconds() == pytest.approx(INTERVAL - TOLERANCE, abs=0.01)
    await go(limits, THIRTY, "second")
    assert (await wait(limits, THIRTY, "fourth")).due > (await wait(limits, THIRTY, "third")).due


async def test_those_that_never_come_again_hold_nobody_up_for_ever(limits: Limits, clock: Clock) -> None:
    """Each reward that was cancelled in the line costs its own turn, or twice that, and no more."""
    names = callers(40)
    for who in names:
        await limits.turn(THIRTY, who)
    gone = await serve(limits, THIRTY, clock, [(0.0, names[39])])
    assert (gone[0][0] / 1_000_000 - START.timestamp()) <= 2 * 39 * INTERVAL + 1
    assert (await limits.state(THIRTY)).waiting == 0
    clock.move(INTERVAL)
    await go(limits, THIRTY, "fresh")


async def test_who_misses_its_turn_gets_the_next_one(limits: Limits, clock: Clock) -> None:
    """Its worker died, and the job came back late: it need not stand at the end again, and brings no extra call."""
    for who in callers(6):
        await limits.turn(THIRTY, who)
    for who in callers(3, first=2):
        clock.move((await wait(limits, THIRTY, who)).after.total_seconds())
        await go(limits, THIRTY, who)
    late, last = await wait(limits, THIRTY, callers(1, first=1)[0]), await wait(limits, THIRTY, callers(1, first=5)[0])
    assert late.after <= THIRTY.interval
    assert last.due - late.due == THIRTY.interval


async def test_many_that_come_back_together_bring_no_burst(limits: Limits, clock: Clock) -> None:
    """A worker with twenty jobs died; when its lease is over all twenty are there, each later than its turn."""
    names = callers(60)
    dead = dict.fromkeys(names[2:42:2], 90.0)
    gone = await serve(limits, THIRTY, clock, [(0.0, who) for who in names], dead=dead)
    assert len(gone) == 60
    assert most_in_a_window([moment for moment, _ in gone], MINUTE) <= 30
    order = [who for _, who in gone]
    assert order[-1] == names[-1]
    assert [who for who in order if who not in dead] == [who for who in names if who not in dead]


async def test_small_delays_cost_nothing(limits: Limits, clock: Clock) -> None:
    """Callers that come a little late each time still use the whole rate."""
    limit = Limit(name="provider:fake", calls=50)
    delays = {who: (number % 7) * 0.003 for number, who in enumerate(callers(500))}
    gone = await serve(limits, limit, clock, [(0.0, who) for who in delays], late=delays.__getitem__)
    moments = [moment for moment, _ in gone]
    assert most_in_a_window(moments, limit.window) <= 50
    assert 499 / ((moments[-1] - moments[0]) / 1_000_000) >= 0.9 * 50
