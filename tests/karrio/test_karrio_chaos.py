"""Exactly one order for each reward, in Karrio's own database, whatever network and workers do; and the counter-proof.

`KARRIO_SEEDS` names the seeds of the faults, comma-separated.
"""

import asyncio
import os
import random
import re
from collections import Counter
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from cli.embedded_server import EmbeddedServer
from rewardpost.fulfilment import Fulfilment
from rewardpost.reference import for_redemption
from rewardpost.states import State
from tests.builders import body, changed, rewarded
from tests.fault_proxy import Fault, FaultProxy
from tests.house import House, Sender, running, until
from tests.karrio_server import TOKEN, KarrioServer

SEEDS = [int(seed) for seed in os.environ.get("KARRIO_SEEDS", "1").split(",")]
REWARDS = 300
REWARDS_OF_THE_COUNTER_PROOF = 60
WORKERS = 3
KILL_EVERY_SECONDS = 5
SENT_TOGETHER = 20
CALL_SECONDS = 2
RATES = {
    Fault.LOSE_REQUEST: 0.15,
    Fault.LOSE_ANSWER: 0.25,
    Fault.DELAY_ANSWER: 0.10,
    Fault.STATUS_502: 0.05,
    Fault.STATUS_429: 0.05,
    Fault.STATUS_503: 0.05,
}
UNDER_WAY = {State.RECEIVED, State.NEEDS_ADDRESS, State.READY, State.DISPATCHING, State.UNKNOWN}
PATIENCE_SECONDS = 900

pytestmark = pytest.mark.timeout(PATIENCE_SECONDS + 120)


@dataclass
class _Run:
    """What is to be seen after a run."""

    orders: dict[str, str] = field(default_factory=dict)
    """References of the live orders in Karrio's database, by their ids."""
    records: dict[str, Fulfilment] = field(default_factory=dict)
    faults: Counter[str] = field(default_factory=Counter)
    kills: int = 0
    locked: int = 0
    """How often Karrio wrote that its database was locked."""

    def parcels(self, references: Collection[str]) -> dict[str, int]:
        """Count the live orders of each reward, under whatever references they were made."""
        counted = Counter(re.sub(r"-(x[0-9a-f]{8}|g[0-9]+)$", "", reference) for reference in self.orders.values())
        assert counted.keys() <= set(references)
        return {reference: counted[reference] for reference in references}


class _House(House):
    """A house whose workers run a module of the tests."""

    worker_module = "tests.karrio.impatient_worker"

    async def add_worker(self) -> None:
        """Start one more worker."""
        starting = running(self.worker_module, self._environment, self._stream)
        self.workers.append(await self._stack.enter_async_context(starting))


class _ForgetfulHouse(_House):
    worker_module = "tests.karrio.forgetful_worker"


@pytest.mark.parametrize("seed", SEEDS)
async def test_each_reward_becomes_exactly_one_order(own_server: EmbeddedServer, tmp_path: Path, seed: int) -> None:
    """A network that loses more than half of the calls, and workers that die: one live order for each reward."""
    references = _references(REWARDS)
    run = await _run(_House, own_server, tmp_path, references, seed)
    assert run.parcels(references) == dict.fromkeys(references, 1)
    others = [record for record in run.records.values() if record.state is not State.SUBMITTED]
    assert [(record.reference, record.state, record.why) for record in others] == []
    known = {str(record.provider_order): record.provider_reference for record in run.records.values()}
    assert known == run.orders
    assert all(run.faults[fault.value] for fault in RATES)
    assert run.locked
    assert run.kills >= WORKERS


async def test_a_fresh_reference_for_each_attempt_makes_several_orders_of_one_reward(
    own_server: EmbeddedServer, tmp_path: Path
) -> None:
    """The counter-proof: the same run, the same counting, and the one mistake shows."""
    references = _references(REWARDS_OF_THE_COUNTER_PROOF)
    run = await _run(_ForgetfulHouse, own_server, tmp_path, references, SEEDS[0], seen=True)
    assert max(run.parcels(references).values()) > 1


def _references(number: int) -> dict[str, str]:
    """Return so many references, each with its redemption."""
    return {for_redemption(redemption): redemption for redemption in map("r_karrio{:04d}".format, range(number))}


async def _run(
    kind: type[_House],
    server: EmbeddedServer,
    directory: Path,
    references: Mapping[str, str],
    seed: int,
    *,
    seen: bool = False,
) -> _Run:
    """Deliver each reward twice at once and wait until all have settled; `seen`: or until one has two orders."""
    bodies = [body(changed(rewarded(), "data.redemption.id", redemption)) for redemption in references.values()]
    run = _Run()
    # Karrio as it comes: simultaneous posts meet "database is locked", which is one more unclear answer.
    with KarrioServer(contended=True) as karrio:

        async def over() -> bool:
            run.orders = karrio.orders()
            return (seen and max(run.parcels(references).values()) > 1) or await _settled(house, len(bodies))

        async with (
            FaultProxy(karrio.url, seed=seed, rates=RATES, delay=1.5 * CALL_SECONDS) as faults,
            _opened(kind, server, directory, faults.url) as house,
        ):
            killing = asyncio.create_task(_kill(house, run, random.Random(seed)))  # noqa: S311 - repeatable, no secret
            try:
                twice = [content for content in bodies for _ in range(2)]  # neighbours are sent together
                await Sender(house.url).deliver(twice, at_once=SENT_TOGETHER)
                await until(over, patience=PATIENCE_SECONDS)
            finally:
                killing.cancel()
            run.records = await house.records()
            run.faults = faults.seen
        run.orders = karrio.orders()
        run.locked = karrio.log.count("database is locked")
    return run


@asynccontextmanager
async def _opened(
    kind: type[_House], server: EmbeddedServer, directory: Path, karrio_url: str
) -> AsyncIterator[_House]:
    house = kind(
        server,
        directory,
        PROVIDER="karrio",
        KARRIO_URL=karrio_url,
        KARRIO_TOKEN=TOKEN,
        PROVIDER_TIMEOUT_SECONDS=str(CALL_SECONDS),
        PROVIDER_QUIET_SECONDS="2",
        PROVIDER_CONCURRENCY="4",
        WORKER_LEASE_SECONDS="2",
        WORKER_MAX_ATTEMPTS="100",
    )
    try:
        await house.open(workers=WORKERS)
        yield house
    finally:
        await house.close()


async def _settled(house: _House, rewards: int) -> bool:
    records = await house.records()
    return len(records) == rewards and not any(record.state in UNDER_WAY for record in records.values())


async def _kill(house: _House, run: _Run, chance: random.Random) -> None:
    while True:
        await asyncio.sleep(KILL_EVERY_SECONDS)
        chance.choice(house.workers).kill()
        run.kills += 1
