"""Turns at a limit on a real server: the rate, the order, the slots and the circuit, whatever becomes of callers."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from itertools import pairwise

import pytest
from arq.connections import ArqRedis

from cli.embedded_server import EmbeddedServer
from rewardpost import limits as module
from rewardpost.connection import connect
from rewardpost.keys import Keys
from rewardpost.limits import Limits
from rewardpost.turns import Ended, Go, Limit, Wait, Why
from tests.turn_clock import START, Clock, ClockedScript, most_in_a_window, serve, went_at

MINUTE = timedelta(minutes=1)
THIRTY = Limit(name="voucherify", calls=30, window=MINUTE)
"""One call every 2.06 s."""
INTERVAL = THIRTY.interval.total_seconds()
TOLERANCE = THIRTY.tolerance.total_seconds()
BUSY = Limit(name="provider:fake", concurrency=2, longest_call=timedelta(seconds=15))
OPEN_LIMIT = Limit(name="provider:fake", longest_call=timedelta(seconds=15))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch, redis: ArqRedis) -> Clock:
    """The time of the scripts, which a test moves."""
    clock = Clock()
    monkeypatch.setattr(redis, "time", clock.time)
    monkeypatch.setattr(module, "_TAKE", ClockedScript("take_turn", clock))
    monkeypatch.setattr(module, "_END", ClockedScript("end_call", clock))
    return clock


@pytest.fixture
def limits(redis: ArqRedis, keys: Keys) -> Limits:
    """The limits of the empty server; nothing is waited out inside."""
    return Limits(redis, keys, lead=timedelta())


def _names(count: int, first: int = 0) -> list[str]:
    return [f"vfy-r_{number:04}" for number in range(first, first + count)]


async def _go(limits: Limits, limit: Limit, who: str) -> str:
    turn = await limits.turn(limit, who)
    assert isinstance(turn, Go), turn
    return turn.call


async def _wait(limits: Limits, limit: Limit, who: str) -> Wait:
    turn = await limits.turn(limit, who)
    assert isinstance(turn, Wait)
    return turn


async def _fail(limits: Limits, limit: Limit, times: int) -> None:
    for number in range(times):
        await limits.ended(limit, await _go(limits, limit, f"failing-{number}"), Ended.FAILED)


# --- the rate ---


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
            *(_until_gone(workers[number % 4], limit, who) for number, who in enumerate(_names(200)))
        )
    assert most_in_a_window(moments, limit.window) <= 100
    assert len(moments) == 200


async def test_turns_are_given_in_the_order_of_asking(limits: Limits, clock: Clock) -> None:
    """Everybody comes again as told, and nobody is overtaken; the last one's turn is known from the beginning."""
    names = _names(40)
    for who in names:
        await limits.turn(THIRTY, who)
    state = await limits.state(THIRTY)
    assert state.waiting == 39
    gone = await serve(limits, THIRTY, clock, [(0.0, who) for who in names[1:]])
    assert [who for _, who in gone] == names[1:]
    assert (gone[-1][0] / 1_000_000 - START.timestamp()) == pytest.approx(39 * INTERVAL - TOLERANCE, abs=0.01)


async def test_asking_early_moves_nothing(limits: Limits, clock: Clock) -> None:
    """A turn is not a promise to be renewed: it is where it is, however often it is asked for."""
    await _go(limits, THIRTY, "first")
    second, third = await _wait(limits, THIRTY, "second"), await _wait(limits, THIRTY, "third")
    for _ in range(5):
        clock.move(0.1)
        assert (await _wait(limits, THIRTY, "third")).due == third.due
    assert (await _wait(limits, THIRTY, "second")).due == second.due
    assert third.due - second.due == THIRTY.interval
    assert second.why is Why.TURN


async def test_a_limit_of_one_side_is_not_that_of_another(limits: Limits, clock: Clock) -> None:
    """Names tell limits apart."""
    await _go(limits, THIRTY, "first")
    await _go(limits, Limit(name="other", calls=30, window=MINUTE), "first")
    await _wait(limits, THIRTY, "second")
    assert clock.now == int(START.timestamp()) * 1_000_000


async def test_after_an_outage_no_burst_follows_and_everybody_keeps_its_place(limits: Limits, clock: Clock) -> None:
    """While no worker ran, the turns of all passed: they move together instead of being caught up."""
    names = _names(80)
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
    third = await _wait(limits, THIRTY, "third")
    assert third.after.total_seconds() == pytest.approx(INTERVAL - TOLERANCE, abs=0.01)
    await _go(limits, THIRTY, "second")
    assert (await _wait(limits, THIRTY, "fourth")).due > (await _wait(limits, THIRTY, "third")).due


async def test_those_that_never_come_again_hold_nobody_up_for_ever(limits: Limits, clock: Clock) -> None:
    """Each reward that was cancelled in the line costs its own turn, or twice that, and no more."""
    names = _names(40)
    for who in names:
        await limits.turn(THIRTY, who)
    gone = await serve(limits, THIRTY, clock, [(0.0, names[39])])
    assert (gone[0][0] / 1_000_000 - START.timestamp()) <= 2 * 39 * INTERVAL + 1
    assert (await limits.state(THIRTY)).waiting == 0
    clock.move(INTERVAL)
    await _go(limits, THIRTY, "fresh")


async def test_who_misses_its_turn_gets_the_next_one(limits: Limits, clock: Clock) -> None:
    """Its worker died, and the job came back late: it need not stand at the end again, and brings no extra call."""
    for who in _names(6):
        await limits.turn(THIRTY, who)
    for who in _names(3, first=2):
        clock.move((await _wait(limits, THIRTY, who)).after.total_seconds())
        await _go(limits, THIRTY, who)
    late, last = await _wait(limits, THIRTY, _names(1, first=1)[0]), await _wait(limits, THIRTY, _names(1, first=5)[0])
    assert late.after <= THIRTY.interval
    assert last.due - late.due == THIRTY.interval


async def test_many_that_come_back_together_bring_no_burst(limits: Limits, clock: Clock) -> None:
    """A worker with twenty jobs died; when its lease is over all twenty are there, each later than its turn."""
    names = _names(60)
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
    delays = {who: (number % 7) * 0.003 for number, who in enumerate(_names(500))}
    gone = await serve(limits, limit, clock, [(0.0, who) for who in delays], late=delays.__getitem__)
    moments = [moment for moment, _ in gone]
    assert most_in_a_window(moments, limit.window) <= 50
    assert 499 / ((moments[-1] - moments[0]) / 1_000_000) >= 0.9 * 50


# --- the slots ---


async def test_no_more_calls_run_than_may(limits: Limits, clock: Clock) -> None:
    """The third waits until one of two has ended, and is told to look again soon."""
    first = await _go(limits, BUSY, "first")
    await _go(limits, BUSY, "second")
    third = await _wait(limits, BUSY, "third")
    assert third.why is Why.FULL
    assert third.after <= timedelta(milliseconds=250)
    clock.move(0.5)
    await limits.ended(BUSY, first, Ended.ANSWERED)
    await _go(limits, BUSY, "third")
    assert (await limits.state(BUSY)).running == 2


async def test_a_dead_callers_slot_is_free_at_its_deadline(limits: Limits, clock: Clock) -> None:
    """Nobody says that the call ended; the one after it waits no longer than a call can last."""
    await _go(limits, BUSY, "first")
    await _go(limits, BUSY, "second")
    clock.move(14.9)
    await _wait(limits, BUSY, "third")
    clock.move(0.2)
    await _go(limits, BUSY, "third")


async def test_an_end_that_comes_late_or_twice_frees_no_other_slot(limits: Limits, clock: Clock) -> None:
    """Each end is of one call: that of the same reward's earlier one says nothing of the later one."""
    early = await _go(limits, BUSY, "first")
    clock.move(20)
    await _go(limits, BUSY, "first")
    await _go(limits, BUSY, "second")
    for _ in range(6):
        await limits.ended(BUSY, early, Ended.FAILED)
    assert (await _wait(limits, BUSY, "third")).why is Why.FULL
    assert (await limits.state(BUSY)).running == 2


async def test_slots_are_used_when_they_are_the_tighter_limit(limits: Limits, clock: Clock) -> None:
    """With calls of 0.4 to 0.6 s, five slots give ten calls a second; the announced end is right."""
    limit = Limit(name="provider:fake", calls=100, concurrency=5, longest_call=timedelta(seconds=15))
    lasts = {who: 0.4 + (number % 5) * 0.05 for number, who in enumerate(_names(400))}
    warm = dict(list(lasts.items())[:20])
    await serve(limits, limit, clock, [(0.0, who) for who in warm], lasts=lasts.__getitem__)
    begun = clock.now
    for who in _names(380, first=20):
        turn = await limits.turn(limit, who)
        if isinstance(turn, Go):
            await limits.ended(limit, turn.call, Ended.ABANDONED)
    announced = (await limits.state(limit)).through_in()
    assert announced is not None
    gone = await serve(limits, limit, clock, [(0.0, who) for who in _names(380, first=20)], lasts=lasts.__getitem__)
    seconds = (clock.now - begun) / 1_000_000
    assert len(gone) == 380
    assert announced.total_seconds() == pytest.approx(seconds, rel=0.2)
    assert 380 * 0.5 / 5 / seconds >= 0.9


async def test_a_newcomer_does_not_slip_into_a_slot_before_those_that_wait(limits: Limits, clock: Clock) -> None:
    """The slot is free for whoever is near the front; the others are not overtaken by one who happens to come now."""
    limit = Limit(name="provider:fake", concurrency=1, longest_call=timedelta(seconds=15))
    first = await _go(limits, limit, "first")
    clock.move(2)
    await limits.ended(limit, first, Ended.ANSWERED)
    second = await _go(limits, limit, "second")
    for who in _names(10):
        await limits.turn(limit, who)
    clock.move(2)
    await limits.ended(limit, second, Ended.ANSWERED)
    assert (await _wait(limits, limit, "newcomer")).why is Why.TURN
    await _go(limits, limit, _names(1)[0])


async def test_a_local_end_lets_the_next_one_in_at_once(redis: ArqRedis, keys: Keys) -> None:
    """Who waits in the same process need not look again and again."""
    limits = Limits(redis, keys)
    limit = Limit(name="provider:fake", concurrency=1)
    first = await _go(limits, limit, "first")
    waiting = asyncio.create_task(limits.turn(limit, "second"))
    while not await redis.zcard(keys.turns(limit.name)):
        await asyncio.sleep(0)
    await limits.ended(limit, first, Ended.ABANDONED)
    assert isinstance(await waiting, Go)


# --- the circuit ---


async def test_failures_in_a_row_open_the_circuit(limits: Limits, clock: Clock) -> None:
    """Five failures in a row stop everybody for half a minute; an answer in between starts the count anew."""
    await _fail(limits, OPEN_LIMIT, 4)
    await limits.ended(OPEN_LIMIT, await _go(limits, OPEN_LIMIT, "well"), Ended.ANSWERED)
    await _fail(limits, OPEN_LIMIT, 4)
    await limits.ended(OPEN_LIMIT, await _go(limits, OPEN_LIMIT, "stopped"), Ended.ABANDONED)
    await _fail(limits, OPEN_LIMIT, 1)
    stopped = await _wait(limits, OPEN_LIMIT, "next")
    assert (stopped.why, stopped.after) == (Why.OPEN, timedelta(seconds=30))
    clock.move(29)
    await _wait(limits, OPEN_LIMIT, "next")


async def test_one_probe_at_a_time_tries_whether_it_is_over(limits: Limits, clock: Clock) -> None:
    """Of all that come when the pause is over one goes; its success lets the others in."""
    await _fail(limits, OPEN_LIMIT, 5)
    clock.move(30)
    probe = await _go(limits, OPEN_LIMIT, "first")
    for who in ("second", "third"):
        assert (await _wait(limits, OPEN_LIMIT, who)).why is Why.PROBE
    await limits.ended(OPEN_LIMIT, probe, Ended.ANSWERED)
    await _go(limits, OPEN_LIMIT, "second")
    await _go(limits, OPEN_LIMIT, "third")
    await _fail(limits, OPEN_LIMIT, 4)
    await _go(limits, OPEN_LIMIT, "fourth")


async def test_a_probe_that_fails_opens_it_again_for_longer(limits: Limits, clock: Clock) -> None:
    """The pause doubles up to five minutes, and is short again after a success."""
    await _fail(limits, OPEN_LIMIT, 5)
    pauses = []
    for _ in range(6):
        pauses.append((await _wait(limits, OPEN_LIMIT, "next")).after.total_seconds())
        clock.move(pauses[-1])
        await _fail(limits, OPEN_LIMIT, 1)
    assert pauses == [30, 60, 120, 240, 300, 300]
    clock.move(300)
    await limits.ended(OPEN_LIMIT, await _go(limits, OPEN_LIMIT, "probe"), Ended.ANSWERED)
    await _fail(limits, OPEN_LIMIT, 5)
    assert (await _wait(limits, OPEN_LIMIT, "next")).after == timedelta(seconds=30)


@pytest.mark.parametrize("silent", [True, False])
async def test_a_probe_that_says_nothing_gives_way_to_another(limits: Limits, clock: Clock, *, silent: bool) -> None:
    """Its worker died or stopped: the next one may try, at its deadline at the latest."""
    await _fail(limits, OPEN_LIMIT, 5)
    clock.move(30)
    probe = await _go(limits, OPEN_LIMIT, "first")
    if silent:
        clock.move(15.1)
    else:
        await limits.ended(OPEN_LIMIT, probe, Ended.ABANDONED)
    await _go(limits, OPEN_LIMIT, "second")
    await _wait(limits, OPEN_LIMIT, "third")


async def test_a_pause_that_is_asked_for_is_kept_exactly(limits: Limits, clock: Clock) -> None:
    """`Retry-After` counts as no failure, and does not make later pauses longer."""
    await _fail(limits, OPEN_LIMIT, 4)
    call = await _go(limits, OPEN_LIMIT, "told")
    await limits.ended(OPEN_LIMIT, call, Ended.FAILED, retry_after=timedelta(seconds=7))
    assert (await limits.state(OPEN_LIMIT)).open_for is not None
    assert (await _wait(limits, OPEN_LIMIT, "next")).after == timedelta(seconds=7)
    clock.move(7)
    await _fail(limits, OPEN_LIMIT, 1)
    assert (await _wait(limits, OPEN_LIMIT, "next")).after == timedelta(seconds=30)


async def test_what_was_under_way_does_not_touch_an_open_circuit(limits: Limits, clock: Clock) -> None:
    """Calls that began before it opened neither close it nor make its pause longer."""
    calls = [await _go(limits, OPEN_LIMIT, who) for who in _names(13)]
    for call in calls[:11]:
        await limits.ended(OPEN_LIMIT, call, Ended.FAILED)
    await limits.ended(OPEN_LIMIT, calls[11], Ended.ANSWERED)
    clock.move(1)
    assert (await _wait(limits, OPEN_LIMIT, "next")).after == timedelta(seconds=29)
    clock.move(29)
    await _go(limits, OPEN_LIMIT, "probe")
    await limits.ended(OPEN_LIMIT, calls[12], Ended.ANSWERED)
    assert (await _wait(limits, OPEN_LIMIT, "next")).why is Why.PROBE


async def test_those_sent_away_come_back_one_after_another(limits: Limits, clock: Clock) -> None:
    """Nobody keeps a place at a side that is out of order, but they do not all come back at the same moment."""
    await _fail(limits, Limit(name=THIRTY.name), 5)
    dues = [(await _wait(limits, THIRTY, who)).due for who in _names(20)]
    assert (dues[0] - START).total_seconds() == pytest.approx(30, abs=0.01)
    assert [later - sooner for sooner, later in pairwise(dues)] == [THIRTY.interval] * 19
    assert (await limits.state(THIRTY)).waiting == 0
    assert clock.now == int(START.timestamp()) * 1_000_000


# --- the server ---


async def test_a_long_pause_is_not_forgotten(limits: Limits, redis: ArqRedis, keys: Keys) -> None:
    """A side that asks for three days is not called again because its key went earlier."""
    call = await _go(limits, OPEN_LIMIT, "first")
    await limits.ended(OPEN_LIMIT, call, Ended.FAILED, retry_after=timedelta(days=3))
    assert await redis.ttl(keys.limit(OPEN_LIMIT.name)) > 3 * 86_400


async def test_every_key_expires(limits: Limits, redis: ArqRedis, clock: Clock) -> None:
    """Nothing is left behind by a side that is called no more, and nothing goes before the last turn."""
    limit = Limit(name="provider:fake", calls=1, window=timedelta(hours=1), longest_call=timedelta(hours=3))
    for who in _names(50):
        await limits.turn(limit, who)
    assert await redis.ttl(Keys("rewardpost").turns(limit.name)) > 48 * 3600 + 86_400
    third = _names(1, first=2)[0]
    clock.move((await _wait(limits, limit, third)).after.total_seconds())
    call = await _go(limits, limit, third)
    clock.move(limit.interval.total_seconds())
    await _go(limits, limit, _names(1, first=3)[0])
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
    call = await _go(limits, BUSY, "first")
    await redis.script_flush()
    await limits.ended(BUSY, call, Ended.ANSWERED)
    assert (await limits.state(BUSY)).running == 0


async def test_a_full_server_still_gives_turns(own_server: EmbeddedServer, own_redis: ArqRedis, keys: Keys) -> None:
    """The queue has to drain while nothing new is taken in."""
    limits = Limits(own_redis, keys, lead=timedelta())
    await own_redis.config_set("maxmemory", "1")
    call = await _go(limits, THIRTY, "first")
    await _wait(limits, THIRTY, "second")
    await limits.ended(THIRTY, call, Ended.ANSWERED)
    assert (await limits.state(THIRTY)).running == 0
    assert own_server.url


async def test_an_end_that_cannot_be_told_does_no_harm(own_server: EmbeddedServer, keys: Keys) -> None:
    """The work is done; the deadline ends the call for the others."""
    client = connect(own_server.url, call_timeout=timedelta(seconds=1))
    limits = Limits(client, keys)
    call = await _go(limits, BUSY, "first")
    own_server.stop()
    await limits.ended(BUSY, call, Ended.ANSWERED)
    await client.aclose()


async def test_the_last_moments_before_a_turn_are_waited_out(redis: ArqRedis, keys: Keys) -> None:
    """The queue is not looked at often enough to come in time: a caller is told to come early, and stays until then."""
    limits = Limits(redis, keys)
    limit = Limit(name="provider:fake", calls=2)
    first = went_at(await limits.turn(limit, "first"))
    told = await _wait(limits, limit, "second")
    assert told.after <= limit.interval - limit.tolerance - module.LEAD
    await asyncio.sleep(told.after.total_seconds())
    second = went_at(await limits.turn(limit, "second"))
    assert second - first >= (limit.interval - limit.tolerance) // timedelta(microseconds=1)
