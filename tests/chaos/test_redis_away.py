"""The server freezes and dies under steady sending: nothing that was acknowledged is lost, nobody waits long."""

import asyncio
import time
from pathlib import Path

from aiohttp import ClientSession, ClientTimeout

from cli.embedded_server import EmbeddedServer
from rewardpost.reference import for_redemption
from rewardpost.states import State
from tests.builders import body, changed, rewarded
from tests.house import House, Sender, until

FROZEN_SECONDS = 8
DEAD_SECONDS = 20
EVERY_SECONDS = 0.02
LONGEST_ANSWER_SECONDS = 3


async def test_every_answer_is_202_or_503_and_every_202_reaches_the_ledger(
    own_server: EmbeddedServer, tmp_path: Path
) -> None:
    """A server frozen for 8 s and then dead for 20 s costs no acknowledged webhook and no restart of the door."""
    house = House(own_server, tmp_path)
    await house.open()
    try:
        door, sender = house.door.pid, Sender(house.url)
        acknowledged: set[str] = set()
        sending = asyncio.create_task(_send_steadily(sender, acknowledged))
        await _freeze_and_kill(own_server)
        await until(lambda: _answers_202_again(sender), patience=20)
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)

        assert set(sender.answers) == {202, 503}
        assert sender.slowest < LONGEST_ANSWER_SECONDS
        assert (house.door.pid, house.door.starts) == (door, 1)
        await until(house.drained, patience=120)
        records = await house.records()
        assert acknowledged <= records.keys()
        assert {records[reference].state for reference in acknowledged} == {State.SUBMITTED}
    finally:
        await house.close()


async def _send_steadily(sender: Sender, acknowledged: set[str]) -> None:
    """Start a webhook every few milliseconds, whatever became of those before."""

    async def send(session: ClientSession, number: int) -> None:
        redemption = f"r_steady{number:06d}"
        content = changed(rewarded(), "data.redemption.id", redemption)
        if await sender.send(session, body(content)) == 202:
            acknowledged.add(for_redemption(redemption))

    async with ClientSession(timeout=ClientTimeout(total=30)) as session, asyncio.TaskGroup() as group:
        number = 0
        while True:
            group.create_task(send(session, number))
            number += 1
            await asyncio.sleep(EVERY_SECONDS)


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
