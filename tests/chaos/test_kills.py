"""Door, server and workers are killed again and again: each reward reaches the receiver once, or a person is asked."""

import asyncio
import base64
import contextlib
import random
from collections.abc import AsyncIterator
from pathlib import Path

from cli.embedded_server import EmbeddedServer
from rewardpost.fulfilment import Fulfilment
from rewardpost.reference import for_redemption
from rewardpost.states import State
from tests.builders import body, changed, rewarded
from tests.house import House, Process, Receiver, Sender, until

REWARDS = 2000
KILLS = 10
SEED = 20260301


async def test_each_reward_reaches_the_receiver_once_or_waits_for_a_person(
    own_server: EmbeddedServer, tmp_path: Path
) -> None:
    """Ten kills of the door and ten of the server leave no reward twice at the receiver and none unaccounted for."""
    chance = random.Random(SEED)  # noqa: S311 - repeatable, no secret
    redemptions = [f"r_killed{number:05d}" for number in range(REWARDS)]
    bodies = [body(changed(rewarded(), "data.redemption.id", redemption)) for redemption in redemptions]
    references = {for_redemption(redemption) for redemption in redemptions}
    async with Receiver() as receiver, _house(own_server, tmp_path, receiver) as house:
        killing = asyncio.create_task(_kill(house, chance))
        await _send_while(killing, Sender(house.url), bodies)
        await until(house.drained, patience=180)
        records = await house.records()

        assert house.door.starts == KILLS + 1
        _account_for(references, records, receiver)


async def test_workers_that_die_leave_no_reward_twice_and_none_behind(
    own_server: EmbeddedServer, tmp_path: Path
) -> None:
    """Workers are killed while they ship: what each had in hand is taken up by another, or a person is asked."""
    chance = random.Random(SEED)  # noqa: S311 - repeatable, no secret
    redemptions = [f"r_orphan{number:05d}" for number in range(REWARDS // 4)]
    bodies = [body(changed(rewarded(), "data.redemption.id", redemption)) for redemption in redemptions]
    async with Receiver() as receiver, _house(own_server, tmp_path, receiver, workers=2) as house:
        killing = asyncio.create_task(_kill_workers(house, chance))
        await _send_while(killing, Sender(house.url), bodies)
        await until(house.drained, patience=240)
        records = await house.records()

        assert sum(worker.starts for worker in house.workers) == KILLS + 2
        _account_for({for_redemption(redemption) for redemption in redemptions}, records, receiver)


def _account_for(references: set[str], records: dict[str, Fulfilment], receiver: Receiver) -> None:
    """Check that the ledger knows each reward, and the receiver has seen it once, or a person is asked about it."""
    assert records.keys() == references
    unsettled = {reference for reference in references if records[reference].state is not State.SUBMITTED}
    assert all(records[reference].state is State.NEEDS_ATTENTION for reference in unsettled)
    assert all(records[reference].uncertain for reference in unsettled)
    assert {receiver.seen[reference] for reference in references - unsettled} == {1}
    assert all(receiver.seen[reference] <= 1 for reference in unsettled)
    assert len(unsettled) < len(references) / 4


@contextlib.asynccontextmanager
async def _house(
    server: EmbeddedServer, directory: Path, receiver: Receiver, *, workers: int = 1
) -> AsyncIterator[House]:
    secret = "whsec_" + base64.b64encode(b"a secret of the receiver").decode()
    house = House(server, directory, PROVIDER="webhook", WEBHOOK_OUT_URL=receiver.url, WEBHOOK_OUT_SECRET=secret)
    await house.open(workers=workers)
    try:
        yield house
    finally:
        await house.close()


async def _kill_workers(house: House, chance: random.Random) -> None:
    for _ in range(KILLS):
        await asyncio.sleep(chance.uniform(0.3, 1.0))
        victim = chance.choice(house.workers)
        starts = victim.starts
        victim.kill()
        await until(lambda victim=victim, starts=starts: _restarted(victim, starts))


async def _restarted(worker: Process, starts: int) -> bool:
    return worker.starts > starts


async def _kill(house: House, chance: random.Random) -> None:
    victims = ["door", "server"] * KILLS
    chance.shuffle(victims)
    for victim in victims:
        await asyncio.sleep(chance.uniform(0.2, 1.0))
        if victim == "door":
            starts = house.door.starts
            house.door.kill()
            await until(lambda starts=starts: _started_anew(house, starts))
        else:
            house.server.kill()
            await asyncio.sleep(chance.uniform(0.0, 0.5))
            await asyncio.to_thread(house.server.start)


async def _started_anew(house: House, starts: int) -> bool:
    return house.door.starts > starts and await house.ready()


async def _send_while(killing: asyncio.Task[None], sender: Sender, bodies: list[bytes]) -> None:
    """Spread the rewards over the time of the kills, and send the rest when they are over."""
    remaining = list(bodies)
    while remaining and not killing.done():
        batch, remaining = remaining[:25], remaining[25:]
        await sender.deliver(batch, at_once=10)
        await asyncio.sleep(0.1)
    await sender.deliver(remaining, at_once=10)
    await killing
