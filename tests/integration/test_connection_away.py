"""Connections over which nothing comes, and servers that are not the master any more: none of it lasts."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from arq.connections import ArqRedis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ReadOnlyError
from redis.exceptions import TimeoutError as RedisTimeoutError

from cli.embedded_server import EmbeddedServer
from rewardpost.connection import UNREACHABLE, connect
from tests.cutting_proxy import CuttingProxy
from tests.sentinels import follow, sentinel_of

CALL_TIMEOUT = timedelta(seconds=0.3)
SOON = 3 * CALL_TIMEOUT.total_seconds()


@pytest.fixture
async def client(proxy: CuttingProxy) -> AsyncIterator[ArqRedis]:
    """A client that goes through the proxy."""
    client = connect(proxy.url, call_timeout=CALL_TIMEOUT)
    yield client
    await client.aclose()


@contextlib.contextmanager
def soon() -> Iterator[None]:
    """Fail when what is inside takes much longer than a call may."""
    before = time.monotonic()
    yield
    assert time.monotonic() - before < SOON


@pytest.mark.parametrize("connected", [True, False])
async def test_a_black_hole_costs_the_call_timeout(proxy: CuttingProxy, client: ArqRedis, connected: bool) -> None:  # noqa: FBT001 - a case
    """Whether the connection was there before or is to be made."""
    if connected:
        await client.ping()
    with proxy.black_hole(), soon(), pytest.raises(RedisTimeoutError):
        await client.ping()
    assert await client.ping()


async def test_a_black_hole_takes_in_no_more_than_fits(proxy: CuttingProxy, client: ArqRedis) -> None:
    """A command that is larger than all buffers on the way ends in time as well, at its sending."""
    await client.ping()
    with proxy.black_hole(), soon(), pytest.raises(RedisTimeoutError):
        await client.set("key", b"x" * 50_000_000)


async def test_callers_at_a_black_hole_do_not_wait_for_one_another(proxy: CuttingProxy, client: ArqRedis) -> None:
    """Twenty that connect at the same moment are all told after the time of one."""
    with proxy.black_hole(), soon():
        answers = await asyncio.gather(*(client.ping() for _ in range(20)), return_exceptions=True)
    assert {type(answer) for answer in answers} == {RedisTimeoutError}


async def test_what_was_connected_while_the_server_refused_is_connected_again(
    proxy: CuttingProxy, client: ArqRedis
) -> None:
    """At the first command after it listens again."""
    await client.ping()
    async with proxy.refusing():
        for _ in range(3):
            with pytest.raises(RedisConnectionError):
                await client.ping()
    assert await client.ping()


async def test_a_sentinel_that_is_a_black_hole_costs_little(server: EmbeddedServer, tmp_path: Path) -> None:
    """The next one is asked in time, and when there is none the call ends in time."""
    async with (
        sentinel_of(server.executable, server.port, tmp_path) as port,
        CuttingProxy(port) as hole,
    ):
        url = f"redis+sentinel://127.0.0.1:{hole.port},127.0.0.1:{port}/main/0"
        patient = connect(url, call_timeout=timedelta(seconds=4))
        alone = connect(f"redis+sentinel://127.0.0.1:{hole.port}/main/0", call_timeout=CALL_TIMEOUT)
        with hole.black_hole():
            before = time.monotonic()
            assert await patient.ping()
            assert time.monotonic() - before < 3
            with soon(), pytest.raises(UNREACHABLE):
                await alone.ping()
        assert await alone.ping()
        await alone.aclose()
        await patient.aclose()


async def test_a_demoted_server_is_left_at_its_first_refusal(
    own_server: EmbeddedServer, server: EmbeddedServer, redis: ArqRedis
) -> None:
    """The address leads to the new master by now; idle connections to the old one are given up too."""
    async with CuttingProxy(own_server.port) as address:
        client = connect(address.url, call_timeout=timedelta(seconds=2))
        await asyncio.gather(*(client.blpop("none", timeout=0.05) for _ in range(3)))  # type: ignore[arg-type] # redis-py types both its clients with one signature
        await follow(own_server, server)
        address.upstream_port = server.port
        with pytest.raises(ReadOnlyError):
            await client.set("key", 1)
        for _ in range(3):
            await client.set("key", 2)
        assert await redis.get("key") == b"2"
        await client.aclose()


async def test_a_pipeline_is_told_of_a_demotion_for_each_command(
    own_server: EmbeddedServer, server: EmbeddedServer, redis: ArqRedis
) -> None:
    """The connection is left after the last reply, so that what could be read is still answered."""
    await follow(own_server, server)
    async with CuttingProxy(own_server.port) as address:
        client = connect(address.url, call_timeout=timedelta(seconds=2))
        for attempt in range(2):
            async with client.pipeline(transaction=False) as pipe:
                pipe.set("key", 1)
                pipe.get("key")
                first, second = await pipe.execute(raise_on_error=False)
            if attempt == 0:
                assert isinstance(first, ReadOnlyError)
                assert second is None
                address.upstream_port = server.port
            else:
                assert (first, second) == (True, b"1")
        await client.aclose()
    assert await redis.get("key") == b"1"
