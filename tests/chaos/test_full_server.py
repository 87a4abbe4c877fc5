"""A server at its memory limit: workers drain it, the door refuses meanwhile and takes in again by itself."""

import asyncio
from pathlib import Path

from aiohttp import ClientSession

from cli.embedded_server import EmbeddedServer
from rewardpost.keys import DEFAULT_PREFIX, Keys
from rewardpost.metrics import OTHER
from rewardpost.reference import for_redemption
from rewardpost.states import State
from tests.builders import body, changed, envelope, rewarded
from tests.house import House, Sender, until

COUNTED = 3000
COUNTED_BYTES = 8192
REWARDS = 300
SHORT_OF_BYTES = 2 * 1024 * 1024

KEYS = Keys(DEFAULT_PREFIX)


async def test_a_full_server_drains_by_itself_and_the_door_opens_again(
    own_server: EmbeddedServer, tmp_path: Path
) -> None:
    """With thousands waiting the server is full: 503 and not ready, all of it handled, then 202 without a hand."""
    house = House(own_server, tmp_path)
    await house.open(workers=0)
    try:
        await Sender(house.url).deliver(_backlog(), at_once=32)
        await _fill(house)
        await until(lambda: _has_noticed(house), patience=5)
        sender, acknowledged = Sender(house.url), dict[str, float]()
        assert await _sends(sender) == 503
        processes = house.processes
        sending = asyncio.create_task(sender.send_steadily(acknowledged, every=0.05))
        await house.add_worker()
        await until(house.drained, patience=60)
        await until(lambda: _has_taken_in(acknowledged), patience=10)
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        await until(house.drained, patience=10)

        assert await house.ready()
        assert house.processes[: len(processes)] == processes
        assert set(sender.answers) == {202, 503}
        assert int(await house.redis.hget(KEYS.events, OTHER)) == COUNTED  # type: ignore[misc] # redis-py types both its clients with one signature
        records = await house.records()
        assert records.keys() == {for_redemption(name) for name in _redemptions()} | acknowledged.keys()
        assert {record.state for record in records.values()} == {State.SUBMITTED}
        assert await house.redis.zcard(KEYS.dead_letters) == 0
    finally:
        await house.close()


def _redemptions() -> list[str]:
    return [f"r_full{number:05d}" for number in range(REWARDS)]


def _backlog() -> list[bytes]:
    counted = [
        body(envelope({"number": number, "filling": "x" * COUNTED_BYTES}, "customer.updated"))
        for number in range(COUNTED)
    ]
    rewards = [body(changed(rewarded(), "data.redemption.id", name)) for name in _redemptions()]
    return rewards + counted


async def _fill(house: House) -> None:
    """Set the limit to less than what is stored, as if the last of it had just reached it."""
    used = (await house.redis.info("memory"))["used_memory"]
    await house.redis.config_set("maxmemory", used - SHORT_OF_BYTES)


async def _has_noticed(house: House) -> bool:
    return not await house.ready()


async def _sends(sender: Sender) -> int | None:
    async with ClientSession() as session:
        return await sender.send(session, body(envelope({}, "customer.created")))


async def _has_taken_in(acknowledged: dict[str, float]) -> bool:
    return len(acknowledged) > 10
