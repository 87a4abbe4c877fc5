"""What a worker tells of Redis is what stands there, and nothing once it is old."""

from datetime import UTC, datetime, timedelta

import pytest
from arq.connections import ArqRedis
from prometheus_client import CollectorRegistry

from rewardpost.keys import Keys
from rewardpost.limits import Limits, provider_limit, voucherify_limit
from rewardpost.settings import Settings
from rewardpost.states import ENDS, State
from rewardpost.turns import Ended, Go
from tests.auditing import House
from tests.builders import RECEIVED_AT, changed, delivery, rewarded
from worker.gauges import STALE, Gauges

SETTINGS = Settings(provider="webhook")
LIMITS = [voucherify_limit(SETTINGS), provider_limit(SETTINGS)]


class Shown:
    """What a collector exposes, by series."""

    def __init__(self, gauges: Gauges) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(gauges)

    def value(self, name: str, **labels: str) -> float | None:
        """Return the value of a series; None where there is none."""
        return self._registry.get_sample_value(f"rewardpost_{name}", labels)


@pytest.fixture
def gauges(redis: ArqRedis, keys: Keys) -> Gauges:
    """Gauges of the empty server."""
    return Gauges(redis, keys, LIMITS)


async def test_an_empty_server(gauges: Gauges) -> None:
    """Every number is 0 and there, so that an alert can tell nothing from unknown; what has never been is left out."""
    shown = Shown(gauges)
    await gauges.read()
    names = ("queue_oldest_job_seconds", "queue_paused", "workers", "dead_letters_waiting")
    assert [shown.value(name) for name in names] == [0] * len(names)
    assert {state: shown.value("fulfilments", state=state) for state in State} == dict.fromkeys(State, 0)
    ages = {state: shown.value("fulfilments_oldest_seconds", state=state) for state in State}
    assert ages == {state: None if state in ENDS else 0 for state in State}
    assert shown.value("last_webhook_timestamp_seconds", source="voucherify") is None
    assert shown.value("installed_timestamp_seconds") is None


async def test_what_waits(redis: ArqRedis, keys: Keys, gauges: Gauges) -> None:
    """Jobs, rewards, dead letters, workers, a pause and the senders are told as they are."""
    house = House(redis, keys)
    for content in (rewarded(), b"no JSON"):
        await house.deliver(delivery(content))
    assert sorted(await house.open_all()) == ["dead_letter", "opened"]
    await house.deliver(delivery(changed(rewarded(), "data.redemption.id", "r_second")))
    await house.queue.pause("a test")
    await house.queue.sign_of_life("here:1")
    await house.audits.note_heard("voucherify", RECEIVED_AT)
    installed = await house.ledger.installed()

    shown = Shown(gauges)
    await gauges.read()
    jobs = [shown.value("queue_jobs", state=state) for state in ("queued", "deferred", "running")]
    assert jobs == [2, 0, 0]
    assert shown.value("fulfilments", state="received") == 1
    assert [shown.value(name) for name in ("queue_paused", "workers", "dead_letters_waiting")] == [1, 1, 1]
    assert shown.value("last_webhook_timestamp_seconds", source="voucherify") == RECEIVED_AT.timestamp()
    assert shown.value("installed_timestamp_seconds") == installed.timestamp()


async def test_how_long_rewards_stand_still(redis: ArqRedis, keys: Keys, gauges: Gauges) -> None:
    """The oldest of a state counts, in seconds."""
    now = datetime.now(UTC)
    for hours, reference in ((2, "vfy-older"), (1, "vfy-younger")):
        at = now - timedelta(hours=hours)
        await redis.zadd(keys.state(State.UNKNOWN), {reference: at.timestamp() * 1000})
    shown = Shown(gauges)
    await gauges.read()
    age = shown.value("fulfilments_oldest_seconds", state="unknown")
    assert age is not None
    assert timedelta(hours=2) <= timedelta(seconds=age) < timedelta(hours=3)


async def test_an_open_circuit(redis: ArqRedis, keys: Keys, gauges: Gauges) -> None:
    """The limit whose calls failed is told, and no other."""
    limits, limit = Limits(redis, keys), LIMITS[1]
    for number in range(limit.failures):
        turn = await limits.turn(limit, f"vfy-{number}")
        assert isinstance(turn, Go)
        await limits.ended(limit, turn.call, Ended.FAILED)
    shown = Shown(gauges)
    await gauges.read()
    assert [shown.value("limit_circuit_open", limit=limit.name) for limit in LIMITS] == [0, 1]


async def test_the_limit_of_memory(redis: ArqRedis, gauges: Gauges) -> None:
    """It is `maxmemory`; where none is set, what the machine has."""
    shown, told = Shown(gauges), await redis.info("memory")
    await gauges.read()
    assert shown.value("redis_memory_limit_bytes") == told["total_system_memory"]
    await redis.config_set("maxmemory", 512 * 1024 * 1024)
    try:
        await gauges.read()
        assert shown.value("redis_memory_limit_bytes") == 512 * 1024 * 1024
    finally:
        await redis.config_set("maxmemory", told["maxmemory"])


@pytest.mark.parametrize(("stale", "is_shown"), [(STALE, True), (timedelta(), False)])
async def test_an_old_reading_is_left_out(redis: ArqRedis, keys: Keys, stale: timedelta, *, is_shown: bool) -> None:
    """Numbers that stand still would keep an alert from noticing that Redis cannot be read."""
    gauges = Gauges(redis, keys, LIMITS, stale=stale)
    shown = Shown(gauges)
    await gauges.read()
    assert (shown.value("workers") is not None) is is_shown
