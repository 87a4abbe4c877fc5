"""When Voucherify was last heard: noted beside a worker's sign of life, and missed after a while."""

from datetime import timedelta

import pytest
from arq.connections import ArqRedis

from cli.embedded_server import EmbeddedServer
from rewardpost.audits import Audits
from rewardpost.connection import connect
from rewardpost.keys import DEFAULT_PREFIX, Keys
from rewardpost.queue import Queue
from rewardpost.settings import Settings
from tests.auditing import House, silence, working
from tests.builders import body, delivery, rewarded
from tests.house import until
from tests.voucherify_api import ago
from worker.heartbeat import Heartbeat
from worker.reconcilers.protocol import Report, Scope


@pytest.fixture
def house(redis: ArqRedis, keys: Keys) -> House:
    """An installation that expects a webhook a day."""
    return House(redis, keys, Settings(voucherify_silence=timedelta(hours=24)))


async def listen(house: House) -> Report:
    """Look once."""
    return await silence(house).run(Scope())


async def test_silence_is_told_after_its_time(house: House) -> None:
    """From the latest webhook on, not from the first."""
    await house.redis.set(house.keys.installed_at, ago(days=9).isoformat())
    await house.audits.note_heard("voucherify", ago(days=3))
    await house.audits.note_heard("shipbob", ago(minutes=1))
    report = await listen(house)
    assert [finding.kind for finding in report.findings] == ["silence"]
    assert f"{ago(days=3):%Y-%m-%d}" in report.findings[0].what
    assert (await listen(house)).findings[0].id == report.findings[0].id
    await house.audits.note_heard("voucherify", ago(hours=23))
    assert (await listen(house)).findings == ()


async def test_a_new_installation_has_its_time_too(house: House) -> None:
    """Nothing is said before the first worker, nor for a day after it; then it is."""
    assert "no worker" in (await listen(house)).passed_over
    await house.redis.set(house.keys.installed_at, ago(hours=23).isoformat())
    assert (await listen(house)).findings == ()
    await house.redis.set(house.keys.installed_at, ago(hours=25).isoformat())
    assert len((await listen(house)).findings) == 1


async def test_a_paused_queue_tells_nothing(house: House) -> None:
    """What comes is not opened, so that nobody knows."""
    await house.redis.set(house.keys.installed_at, ago(days=9).isoformat())
    await house.queue.pause("stock-taking")
    assert "paused" in (await listen(house)).passed_over


async def test_an_older_delivery_does_not_turn_the_time_back(house: House) -> None:
    """Workers note what they have in hand, in any order."""
    newer = ago(minutes=1)
    heartbeat = Heartbeat(house.queue, house.audits)
    heartbeat.heard("voucherify", newer)
    heartbeat.heard("voucherify", ago(minutes=5))
    await heartbeat.beat()
    other = Heartbeat(house.queue, house.audits)
    other.heard("voucherify", ago(minutes=3))
    await other.beat()
    assert await house.audits.heard("voucherify") == newer


async def test_a_full_server_is_told_later(own_server: EmbeddedServer) -> None:
    """The worker stays ready meanwhile, and what it heard is not forgotten."""
    redis = connect(own_server.url, call_timeout=timedelta(seconds=10))
    keys = Keys(DEFAULT_PREFIX)
    audits, at = Audits(redis, keys), ago(minutes=1)
    heartbeat = Heartbeat(Queue(redis, keys), audits)
    heartbeat.heard("voucherify", at)
    await redis.config_set("maxmemory", "1")
    await heartbeat.beat()
    assert (heartbeat.problem, await audits.heard("voucherify")) == (None, None)
    await redis.config_set("maxmemory", "0")
    await heartbeat.beat()
    assert await audits.heard("voucherify") == at
    await redis.aclose()


async def test_a_worker_notes_which_webhook_it_has_opened(server: EmbeddedServer, house: House) -> None:
    """From the queue to a whole worker's sign of life."""
    stored = delivery(body(rewarded()))
    await house.deliver(stored)

    async def is_noted() -> bool:
        return await house.audits.heard("voucherify") == stored.received_at

    async with working(Settings(redis_url=server.url, worker_port=None)):
        await until(is_noted, patience=30)
