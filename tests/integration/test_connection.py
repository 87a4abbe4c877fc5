"""Clients from addresses: each kind leads to the server, and none waits longer than it was told."""

import asyncio
import signal
import socket
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from arq.connections import ArqRedis
from redis.asyncio.sentinel import SentinelConnectionPool

from cli.embedded_server import EmbeddedServer
from rewardpost.connection import UNREACHABLE, arq_settings, connect, parse_sentinel
from rewardpost.durability import DurabilityWatch

SHORT = timedelta(seconds=0.2)


@asynccontextmanager
async def client_of(url: str, call_timeout: timedelta = timedelta(seconds=2)) -> AsyncIterator[ArqRedis]:
    """A client that is given back."""
    client = connect(url, call_timeout=call_timeout)
    yield client
    await client.aclose()
    if isinstance(client.connection_pool, SentinelConnectionPool):
        for sentinel in client.connection_pool.sentinel_manager.sentinels:
            await sentinel.aclose()


@asynccontextmanager
async def sentinel_of(server: EmbeddedServer, directory: Path) -> AsyncIterator[int]:
    """A sentinel that watches the server as `main`; yields its port."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
    configuration = directory / "sentinel.conf"
    configuration.write_text(f"port {port}\nbind 127.0.0.1\nsentinel monitor main 127.0.0.1 {server.port} 1\n")
    process = subprocess.Popen([server.executable, configuration, "--sentinel"], stdout=subprocess.DEVNULL)  # noqa: S603, ASYNC220 - the server under test; starting it does not wait
    try:
        async with client_of(f"redis://127.0.0.1:{port}") as sentinel, asyncio.timeout(10):
            while not await _answers(sentinel):
                await asyncio.sleep(0.02)
        yield port
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()


async def _answers(client: ArqRedis) -> bool:
    try:
        return bool(await client.ping())
    except UNREACHABLE:
        return False


async def test_every_kind_of_address_leads_to_the_server(server: EmbeddedServer, tmp_path: Path) -> None:
    """A Unix socket, TCP and Sentinel all give a client of the same process."""
    async with sentinel_of(server, tmp_path) as port:
        for url in (server.url, server.tcp_url, f"redis+sentinel://127.0.0.1:1,127.0.0.1:{port}/main/0"):
            async with client_of(url) as client:
                assert (await client.info("server"))["process_id"] == server.pid


async def test_a_database_is_selected(server: EmbeddedServer, tmp_path: Path) -> None:
    """The database in the address is the one that is used, behind Sentinel too."""
    async with sentinel_of(server, tmp_path) as port:
        for number, url in enumerate((server.tcp_url[:-1] + "7", f"redis+sentinel://127.0.0.1:{port}/main/8"), 7):
            async with client_of(url) as client:
                assert (await client.client_info())["db"] == number


async def test_a_server_that_hangs_costs_the_call_timeout(own_server: EmbeddedServer) -> None:
    """A frozen server is given up in time, by a command and by a look."""
    async with client_of(own_server.url, SHORT) as client:
        await client.ping()
        own_server.freeze()
        before = time.monotonic()
        with pytest.raises(UNREACHABLE):
            await client.ping()
        assert time.monotonic() - before < 1
    async with client_of(own_server.url, timedelta(seconds=60)) as client:
        before = time.monotonic()
        assert "out of reach" in str(await DurabilityWatch(client, trust=False).look())
        assert time.monotonic() - before < 2


async def test_a_client_reconnects_by_itself(own_server: EmbeddedServer) -> None:
    """After a restart of the server the same client works, without an error for the first command."""
    async with client_of(own_server.url) as client:
        await client.ping()
        own_server.kill()
        with pytest.raises(UNREACHABLE):
            await client.ping()
        own_server.start()
        assert await client.ping()


async def test_a_watch_ends_whenever_it_is_cancelled(server: EmbeddedServer) -> None:
    """One cancellation is enough at any moment of a look, although redis-py may lose it on Python 3.11."""
    for turns in range(40):
        async with client_of(server.url) as client:
            watching = asyncio.create_task(DurabilityWatch(client, trust=False).run())
            for _ in range(turns):
                await asyncio.sleep(0)
            watching.cancel()
            done, _ = await asyncio.wait({watching}, timeout=0.5)
            assert done


@pytest.mark.parametrize(
    "url",
    [
        "redis+sentinel://",
        "redis+sentinel://host",
        "redis+sentinel://host:hunter2/main",
        "redis+sentinel://host/main/hunter2",
        "redis://:pass@host:hunter2/0",
        "hunter2",
    ],
)
def test_a_bad_address_is_refused_without_repeating_it(url: str) -> None:
    """The message says what an address looks like and nothing of the one that came."""
    with pytest.raises(ValueError, match="redis") as caught:
        connect(url, call_timeout=SHORT)
    assert "hunter2" not in str(caught.value)


def test_a_sentinel_address_is_taken_apart() -> None:
    """Hosts, ports, master, database, credentials and TLS; arq's settings say the same."""
    url = "redis+sentinel://me:s%40fe@one:1,two/main/3?ssl=1"
    address = parse_sentinel(url)
    assert address.sentinels == (("one", 1), ("two", 26379))
    assert (address.master, address.database, address.username, address.password) == ("main", 3, "me", "s@fe")
    assert address.tls
    ours = arq_settings(url)
    assert (ours.host, ours.sentinel_master, ours.database) == ([("one", 1), ("two", 26379)], "main", 3)
