"""The ledger is lost, or goes back to a backup, in the middle of a run: nothing is listed a second time unasked."""

from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from cli.embedded_server import EmbeddedServer
from rewardpost.keys import DEFAULT_PREFIX, Keys
from rewardpost.reference import for_redemption
from rewardpost.states import State
from tests.house import House, Sender, operations_of, until
from tests.lost_ledger import back_up, emptied, put_back, redeemed
from tests.voucherify_api import VoucherifyServer, running

REWARDS = 30
HOUR = timedelta(hours=1)
KEYS = Keys(DEFAULT_PREFIX)
LISTED = (State.SUBMITTED, State.SHIPPED)


@pytest.fixture
async def voucherify() -> AsyncIterator[VoucherifyServer]:
    """The project, whose redemptions an audit can list."""
    async with running() as server:
        yield server


@pytest.fixture
async def house(own_server: EmbeddedServer, tmp_path: Path, voucherify: VoucherifyServer) -> AsyncIterator[House]:
    """An hour-old installation that packs by hand."""
    house = House(
        own_server,
        tmp_path,
        PROVIDER="manual",
        SHIP_SINCE="",
        ADDRESS_SOURCES="file",
        VOUCHERIFY_CALLS_PER_MINUTE="100000",
        **voucherify.environment,
    )
    await house.open(workers=2)
    await house.redis.set(KEYS.installed_at, (datetime.now(UTC) - HOUR).isoformat())
    yield house
    await house.close()


async def listed(house: House) -> set[str]:
    """Return what is, or was, on the packing list."""
    return {record.reference async for record in operations_of(house.redis).in_states(*LISTED)}


async def deliver(house: House, voucherify: VoucherifyServer, numbers: Sequence[int]) -> set[str]:
    """Redeem and deliver so many rewards, ten minutes ago by Voucherify's clock."""
    bodies = redeemed(voucherify, [f"r_lost{number:04d}" for number in numbers])
    await Sender(house.url).deliver(bodies, at_once=10)
    return {for_redemption(f"r_lost{number:04d}") for number in numbers}


async def audit(house: House) -> None:
    """Audit since two hours ago, and wait until all that was found has come to rest."""
    result = await house.command("audit", "--since", (datetime.now(UTC) - 2 * HOUR).isoformat())
    assert result.returncode == 0, result.stderr
    await until(house.drained)


async def test_what_was_listed_is_not_listed_again_after_the_ledger_was_lost(
    house: House, voucherify: VoucherifyServer
) -> None:
    """The audit finds every reward again, and a person decides about each."""
    references = await deliver(house, voucherify, range(REWARDS))
    await until(house.drained)
    references |= await deliver(house, voucherify, range(REWARDS, 2 * REWARDS))
    before = await emptied(house.redis, KEYS, LISTED)
    assert len(before) >= REWARDS

    await until(house.drained)
    await audit(house)
    records = await house.records()
    assert records.keys() == references
    assert await listed(house) & before == set()
    assert all(record.hold is not None for record in records.values() if record.reference in before)

    for reference in references - before - await listed(house):
        assert (await house.command("release", "reward", reference, "--reason", "never packed")).returncode == 0
    await until(house.drained)
    assert await listed(house) == references - before


async def test_what_was_listed_since_a_backup_is_not_listed_again_when_it_is_put_back(
    house: House, voucherify: VoucherifyServer
) -> None:
    """Its ledger does not know them, and says since when it has been watched."""
    known = await deliver(house, voucherify, range(REWARDS))
    await until(house.drained)
    assert await listed(house) == known
    backup = await back_up(house.redis)

    since = await deliver(house, voucherify, range(REWARDS, 2 * REWARDS))
    await until(house.drained)
    assert await listed(house) == known | since
    await put_back(house.redis, KEYS, backup, age=HOUR)
    assert await listed(house) == known

    await audit(house)
    records = await house.records()
    assert records.keys() == known | since
    assert await listed(house) == known
    holds = {record.hold.source for record in records.values() if record.hold is not None}
    assert holds == {"audit"}
    warned = await house.command("packing-list")
    assert f"{REWARDS} of these were listed before" in warned.stderr
    assert "nothing to pack" not in warned.stderr

    released = min(since)
    assert (await house.command("release", "reward", released, "--reason", "never packed")).returncode == 0
    await until(house.drained)
    assert await listed(house) == known | {released}
