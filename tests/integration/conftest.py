"""What integration tests share: an open door, and a client of a server that a test may break."""

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from arq.connections import ArqRedis

from cli.embedded_server import EmbeddedServer
from rewardpost import limits as module
from rewardpost.keys import Keys
from rewardpost.limits import Limits
from tests.arq_workers import client_of
from tests.cutting_proxy import CuttingProxy
from tests.door_client import Door, opened
from tests.turn_clock import Clock, ClockedScript


@pytest.fixture
async def door(server: EmbeddedServer, redis: ArqRedis) -> AsyncIterator[Door]:
    """A door on the session's server, which is empty."""
    assert await redis.dbsize() == 0
    async with opened(server.url) as door:
        yield door


@pytest.fixture
async def proxy(server: EmbeddedServer, redis: ArqRedis) -> AsyncIterator[CuttingProxy]:
    """A proxy before the session's server, which is empty."""
    del redis
    async with CuttingProxy(server.port) as proxy:
        yield proxy


@pytest.fixture
async def stock(server: EmbeddedServer, redis: ArqRedis) -> AsyncIterator[ArqRedis]:
    """Arq's own client of the session's server, which is empty."""
    del redis
    async with client_of(server.port) as client:
        yield client


@pytest.fixture
async def own_redis(own_server: EmbeddedServer) -> AsyncIterator[ArqRedis]:
    """A client of the test's own server."""
    client = ArqRedis.from_url(own_server.url)
    yield client
    await client.aclose()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch, redis: ArqRedis) -> Clock:
    """The time of the scripts, which a test moves."""
    clock = Clock()
    monkeypatch.setattr(redis, "time", clock.time)
    monkeypatch.setattr(module, "_TAKE", ClockedScript("take_turn", clock))
    monkeypatch.setattr(module, "_END", ClockedScript("end_call", clock))
    return clock


@pytest.fixture
def limits(redis: ArqRedis, keys: Keys) -> Limits:
    """The limits of the empty server; nothing is waited out inside."""
    return Limits(redis, keys, lead=timedelta())
