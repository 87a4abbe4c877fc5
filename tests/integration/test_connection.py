"""Clients from addresses: each kind leads to the server, and none waits longer than it was told."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from arq.connections import ArqRedis

from cli.embedded_server import EmbeddedServer
from rewardpost.connection import UNREACHABLE, arq_settings, connect, parse_sentinel
from rewardpost.durability import DurabilityWatch
from tests.sentinels import sentinel_of

SHORT = timedelta(seconds=0.2)


@asynccontextmanager
async def client_of(url: str, call_timeout: timedelta = timedelta(seconds=2)) -> AsyncIterator[ArqRedis]:
    """A client that is given back."""
    client = connect(url, call_timeout=call_timeout)
    yield client
    await client.aclose()


async def test_every_kind_of_address_leads_to_the_server(server: EmbeddedServer, tmp_path: Path) -> None:
    """A Unix socket, TCP and Sentinel all give a client of the same process."""
    async with sentinel_of(server.executable, server.port, tmp_path) as port:
        for url in (server.url, server.tcp_url, f"redis+sentinel://127.0.0.1:1,127.0.0.1:{port}/main/0"):
            async with client_of(url) as client:
                assert (await client.info("server"))["process_id"] == server.pid


async def test_a_database_is_selected(server: EmbeddedServer, tmp_path: Path) -> None:
    """The database in the address is the one that is used, behind Sentinel too."""
    async with sentinel_of(server.executable, server.port, tmp_path) as port:
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
        "redis://host/0?hunter2=1",
        "redis://host/0?socket_timeout=hunter2",
        "redis+sentinel://host/main?hunter2=1",
        "redis+sentinel://host/main?socket_timeout=hunter2",
        "redis://host/0?ssl_ca_certs=hunter2",
        "rediss://host/0?ssl_ca_certs=hunter2",
        "rediss://host/0?ssl_cert_reqs=hunter2",
        "redis+sentinel://host/main?ssl=1&ssl_certfile=hunter2&ssl_keyfile=hunter2",
        "redis+sentinel://host/main?ssl=1&ssl_cert_reqs=hunter2",
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


def test_arqs_settings_have_what_the_address_says() -> None:
    """Credentials unquoted and the options for TLS too, which arq's own reading of an address leaves out."""
    ours = arq_settings("rediss://me:s%40fe@one:1/3?ssl_ca_certs=/ca.pem&ssl_check_hostname=1")
    assert (ours.host, ours.port, ours.database, ours.ssl) == ("one", 1, 3, True)
    assert (ours.username, ours.password) == ("me", "s@fe")
    assert (ours.ssl_ca_certs, ours.ssl_check_hostname, ours.ssl_cert_reqs) == ("/ca.pem", True, "required")


async def test_an_address_can_hold_options_of_redis_py(server: EmbeddedServer, tmp_path: Path) -> None:
    """Behind Sentinel as for any other."""
    async with sentinel_of(server.executable, server.port, tmp_path) as port:
        for url in (f"{server.tcp_url}?client_name=me", f"redis+sentinel://127.0.0.1:{port}/main/0?client_name=me"):
            async with client_of(url) as client:
                assert await client.client_getname() == "me"


@pytest.mark.parametrize("url", ["redis://me:hunter2@host/0", "redis+sentinel://me:hunter2@host/main/0"])
def test_a_client_that_is_printed_gives_no_password_away(url: str) -> None:
    """Unlike arq's own settings; so no log and no exception that shows one can."""
    client = connect(url, call_timeout=SHORT)
    assert "hunter2" not in repr(client) + repr(client.connection_pool)
