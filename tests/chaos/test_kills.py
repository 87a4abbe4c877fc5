"""Door, server and workers are killed again and again: each reward reaches the receiver once, or a person is asked."""

import asyncio
import random
from pathlib import Path

from cli.embedded_server import EmbeddedServer
from rewardpost.fulfilment import Fulfilment
from rewardpost.reference import for_redemption
from rewardpost.states import State
from tests.builders import body, changed, rewarded
from tests.house import House, Process, Receiver, Sender, until

REWARDS = 5000
WORKERS = 2
KILLS = 10
"""Of each of the three."""
SENT_TOGETHER = 50
SEED = 20260301


async def test_each_reward_reaches_the_receiver_once_or_waits_for_a_person(
    own_server: EmbeddedServer, tmp_path: Path
) -> None:
    """Thirty kills of door, server and workers leave no reward twice at the receiver and none unaccounted for."""
    chance = random.Random(SEED)  # noqa: S311 - repeatable, no secret
    redemptions = [f"r_killed{number:05d}" for number in range(REWARDS)]
    bodies = [body(changed(rewarded(), "data.redemption.id", redemption)) for redemption in redemptions]
    async with Receiver() as receiver:
        house = House(own_server, tmp_path, **receiver.environment, WORKER_LEASE_SECONDS="5")
        await house.open(workers=WORKERS)
        try:
            killing = asyncio.create_task(_kill(house, chance))
            await _send_while(killing, Sender(house.url), bodies)
            await until(house.drained, patience=120)
            records = await house.records()
        finally:
            await house.close()

    assert house.door.starts == KILLS + 1
    assert sum(worker.starts for worker in house.workers) == KILLS + WORKERS
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


async def _kill(house: House, chance: random.Random) -> None:
    victims = ["door", "server", "worker"] * KILLS
    chance.shuffle(victims)
    for victim in victims:
        await asyncio.sleep(chance.uniform(0.2, 1.0))
        match victim:
            case "door":
                await _kill_process(house.door)
                await until(house.ready)
            case "worker":
                await _kill_process(chance.choice(house.workers))
            case _:
                house.server.kill()
                await asyncio.sleep(chance.uniform(0.0, 0.5))
                await asyncio.to_thread(house.server.start)


async def _kill_process(process: Process) -> None:
    starts = process.starts

    async def has_started_anew() -> bool:
        return process.starts > starts

    process.kill()
    await until(has_started_anew)


async def _send_while(killing: asyncio.Task[None], sender: Sender, bodies: list[bytes]) -> None:
    """Spread the rewards over the time of the kills, and send the rest when they are over."""
    remaining = list(bodies)
    while remaining and not killing.done():
        batch, remaining = remaining[:SENT_TOGETHER], remaining[SENT_TOGETHER:]
        await sender.deliver(batch, at_once=10)
        await asyncio.sleep(0.1)
    await sender.deliver(remaining, at_once=10)
    await killing
