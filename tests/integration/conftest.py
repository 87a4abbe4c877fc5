"""What integration tests share: an open door, and a client of a server that a test may break."""

from collections.abc import AsyncIterator

import pytest
from arq.connections import ArqRedis

from cli.embedded_server import EmbeddedServer
from tests.door_client import Door, opened


@pytest.fixture
async def door(server: EmbeddedServer, redis: ArqRedis) -> AsyncIterator[Door]:
    """A door on the session's server, which is empty."""
    assert await redis.dbsize() == 0
    async with opened(server.url) as door:
        yield door


@pytest.fixture
async def own_redis(own_server: EmbeddedServer) -> AsyncIterator[ArqRedis]:
    """A client of the test's own server."""
    client = ArqRedis.from_url(own_server.url)
    yield client
    await client.aclose()
