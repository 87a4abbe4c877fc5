"""The ledger is lost, or goes back to a backup, in the middle of a run: still one order for each reward at Karrio."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from cli.embedded_server import EmbeddedServer
from rewardpost.keys import DEFAULT_PREFIX, Keys
from rewardpost.reference import for_redemption
from rewardpost.states import State
from tests.house import House, Sender, until
from tests.karrio_server import TOKEN, KarrioServer
from tests.lost_ledger import back_up, emptied, put_back, redeemed
from tests.voucherify_api import VoucherifyServer, running

REWARDS = 30
HOUR = timedelta(hours=1)
KEYS = Keys(DEFAULT_PREFIX)
UNDER_WAY = {State.RECEIVED, State.NEEDS_ADDRESS, State.READY, State.DISPATCHING, State.UNKNOWN}


@pytest.fixture
async def voucherify() -> AsyncIterator[VoucherifyServer]:
    """The project, whose redemptions an audit can list."""
    async with running() as server:
        yield server


@pytest.fixture
async def house(
    own_server: EmbeddedServer, tmp_path: Path, voucherify: VoucherifyServer, karrio: KarrioServer
) -> AsyncIterator[House]:
    """An hour-old installation that ships by Karrio."""
    house = House(
        own_server,
        tmp_path,
        PROVIDER="karrio",
        KARRIO_URL=karrio.url,
        KARRIO_TOKEN=TOKEN,
        PROVIDER_QUIET_SECONDS="1",
        PROVIDER_CONCURRENCY="2",
        SHIP_SINCE="",
        ADDRESS_SOURCES="file",
        VOUCHERIFY_CALLS_PER_MINUTE="100000",
        **voucherify.environment,
    )
    await house.open(workers=2)
    await house.redis.set(KEYS.installed_at, (datetime.now(UTC) - HOUR).isoformat())
    yield house
    await house.close()


async def deliver(house: House, voucherify: VoucherifyServer, numbers: Sequence[int]) -> set[str]:
    """Redeem and deliver so many rewards, ten minutes ago by Voucherify's clock."""
    bodies = redeemed(voucherify, names(numbers))
    await Sender(house.url).deliver(bodies, at_once=10)
    return {for_redemption(name) for name in names(numbers)}


def names(numbers: Iterable[int]) -> list[str]:
    """Return the ids of redemptions."""
    return [f"r_karriolost{number:04d}" for number in numbers]


async def audit(house: House) -> None:
    """Audit since two hours ago."""
    result = await house.command("audit", "--since", (datetime.now(UTC) - 2 * HOUR).isoformat())
    assert result.returncode == 0, result.stderr


async def at_rest(house: House, references: set[str]) -> None:
    """Wait until all these rewards are known, and none is under way unless it is held."""

    async def rests() -> bool:
        records = await house.records()
        waiting = [record for record in records.values() if record.state in UNDER_WAY and record.hold is None]
        return records.keys() == references and not waiting

    await until(rests, patience=90)


async def test_after_the_ledger_was_lost_each_reward_has_one_order(
    house: House, voucherify: VoucherifyServer, karrio: KarrioServer
) -> None:
    """What Karrio has is taken over; what it has not waits for a person, and is then sent once."""
    references = await deliver(house, voucherify, range(REWARDS))
    await at_rest(house, references)
    references |= await deliver(house, voucherify, range(REWARDS, 2 * REWARDS))
    await asyncio.sleep(0.3)  # in the middle of sending
    known = await emptied(house.redis, KEYS, [State.SUBMITTED])
    assert len(known) >= REWARDS

    await audit(house)
    await at_rest(house, references)
    await asyncio.sleep(2)  # a call that was under way when the ledger was lost lands meanwhile
    records = await house.records()
    held = {reference for reference, record in records.items() if record.hold is not None}
    assert {record.state for record in records.values()} <= {State.SUBMITTED, State.READY}
    assert known & held == set()

    for reference in held:
        assert (await house.command("release", "reward", reference, "--reason", "go on")).returncode == 0
    await at_rest(house, references)
    assert karrio.live_orders() == Counter(references)
    assert {record.state for record in (await house.records()).values()} == {State.SUBMITTED}


async def test_after_a_backup_was_put_back_each_reward_has_one_order(
    house: House, voucherify: VoucherifyServer, karrio: KarrioServer
) -> None:
    """Rewards of the time since are found by the audit, and their orders by the look at Karrio."""
    references = await deliver(house, voucherify, range(REWARDS))
    await at_rest(house, references)
    backup = await back_up(house.redis)
    references |= await deliver(house, voucherify, range(REWARDS, 2 * REWARDS))
    await at_rest(house, references)

    await put_back(house.redis, KEYS, backup, age=HOUR)
    await audit(house)
    await at_rest(house, references)
    assert karrio.live_orders() == Counter(references)
    records = await house.records()
    assert {record.state for record in records.values()} == {State.SUBMITTED}
    assert sum(record.why == "found at the provider" for record in records.values()) == REWARDS


async def test_withheld_webhooks_are_found_by_the_audit_and_shipped(
    house: House, voucherify: VoucherifyServer, karrio: KarrioServer
) -> None:
    """Each once, also when the webhook comes after all."""
    bodies = redeemed(voucherify, names(range(10)))
    references = {for_redemption(name) for name in names(range(10))}
    await audit(house)
    await at_rest(house, references)
    assert karrio.live_orders() == Counter(references)
    await Sender(house.url).deliver(bodies, at_once=10)
    await audit(house)
    await at_rest(house, references)
    assert karrio.live_orders() == Counter(references)
