"""The server freezes, dies and is emptied under steady sending: all processes live on, and nothing stays stuck."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cli.embedded_server import EmbeddedServer
from rewardpost.states import State
from tests.house import House, Receiver, Sender, until

FROZEN_SECONDS = 8
DEAD_SECONDS = 20
EVERY_SECONDS = 0.02
LONGEST_ANSWER_SECONDS = 3
STUCK_SECONDS = 60


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    """The operator's own system."""
    async with Receiver() as receiver:
        yield receiver


@pytest.fixture
async def house(own_server: EmbeddedServer, tmp_path: Path, receiver: Receiver) -> AsyncIterator[House]:
    """A house with two workers in front of the receiver."""
    house = House(own_server, tmp_path, **receiver.environment)
    await house.open(workers=2)
    yield house
    await house.close()


async def test_every_answer_is_202_or_503_and_every_202_is_accounted_for(house: House, receiver: Receiver) -> None:
    """A server frozen for 8 s and dead for 20 s costs no acknowledged webhook, no second parcel and no process."""
    processes = house.processes
    async with _sending(house) as (sender, acknowledged):
        await _freeze_and_kill(house.server)
        await until(lambda: _answers_202_again(sender), patience=20)

    assert set(sender.answers) == {202, 503}
    assert sender.slowest < LONGEST_ANSWER_SECONDS
    await until(house.drained, patience=STUCK_SECONDS)
    assert house.processes == processes
    records = await house.records()
    assert acknowledged.keys() <= records.keys()
    for reference, record in records.items():
        if record.state is not State.SUBMITTED:
            assert (record.state, record.uncertain) == (State.NEEDS_ATTENTION, True)
        assert receiver.seen[reference] <= 1
        assert receiver.seen[reference] == 1 or record.state is not State.SUBMITTED


async def test_an_emptied_server_costs_no_process_and_nothing_that_comes_after_it(
    house: House, receiver: Receiver
) -> None:
    """FLUSHALL in the middle of steady work is survived: what is sent from then on is fulfilled, by the same ones."""
    processes = house.processes
    async with _sending(house) as (sender, acknowledged):
        for _ in range(3):
            await asyncio.sleep(2)
            await house.redis.flushall()
        emptied = time.monotonic()
        await until(lambda: _answers_202_again(sender), patience=20)
        await asyncio.sleep(2)

    await until(house.drained, patience=STUCK_SECONDS)
    assert house.processes == processes
    after = {reference for reference, began in acknowledged.items() if began > emptied}
    assert len(after) > 1 / EVERY_SECONDS
    records = await house.records()
    assert {records[reference].state for reference in after} == {State.SUBMITTED}
    assert {receiver.seen[reference] for reference in after} == {1}
    assert max(receiver.seen.values()) == 1


@contextlib.asynccontextmanager
async def _sending(house: House) -> AsyncIterator[tuple[Sender, dict[str, float]]]:
    """Send steadily as long as the context lasts."""
    sender = Sender(house.url)
    acknowledged: dict[str, float] = {}
    sending = asyncio.create_task(sender.send_steadily(acknowledged, every=EVERY_SECONDS))
    try:
        yield sender, acknowledged
    finally:
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)


async def _freeze_and_kill(server: EmbeddedServer) -> None:
    await asyncio.sleep(2)
    server.freeze()
    await asyncio.sleep(FROZEN_SECONDS)
    server.thaw()
    await asyncio.sleep(2)
    server.kill()
    await asyncio.sleep(DEAD_SECONDS)
    await asyncio.to_thread(server.start)


async def _answers_202_again(sender: Sender) -> bool:
    before, started = sender.answers[202], time.monotonic()
    while time.monotonic() < started + 1:
        await asyncio.sleep(EVERY_SECONDS)
    return sender.answers[202] > before
