"""Behind Sentinel: a client finds the new master after each kind of failover, and keeps it."""

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from redis.asyncio import Redis

from cli.embedded_server import EmbeddedServer
from rewardpost.connection import UNREACHABLE, connect
from tests.house import until
from tests.sentinels import follow, sentinel_of

PATIENCE = 15.0
CALL_TIMEOUT = timedelta(seconds=1)


@pytest.fixture
def other_server(own_server: EmbeddedServer) -> Iterator[EmbeddedServer]:
    """A second server private to one test."""
    with (
        tempfile.TemporaryDirectory(prefix="rewardpost-") as directory,
        EmbeddedServer(Path(directory), executable=own_server.executable) as server,
    ):
        yield server


@pytest.fixture
async def sentinel_port(own_server: EmbeddedServer, other_server: EmbeddedServer, tmp_path: Path) -> AsyncIterator[int]:
    """A sentinel that watches `own_server` and knows `other_server` as its replica."""
    await follow(other_server, own_server)
    async with sentinel_of(own_server.executable, own_server.port, tmp_path) as port:
        asking = connect(f"redis://127.0.0.1:{port}", call_timeout=CALL_TIMEOUT)

        async def knows_the_replica() -> bool:
            replicas = await asking.sentinel_slaves("main")  # type: ignore[no-untyped-call] # redis-py leaves it untyped
            return [replica["flags"] for replica in replicas] == ["slave"]

        await until(knows_the_replica, patience=PATIENCE)
        await asking.aclose()
        yield port


@contextlib.asynccontextmanager
async def watched(server: EmbeddedServer) -> AsyncIterator[Redis]:
    """A client of this one server, whoever is master."""
    client = connect(server.url, call_timeout=CALL_TIMEOUT)
    yield client
    await client.aclose()


async def test_clients_follow_a_planned_failover(
    own_server: EmbeddedServer, other_server: EmbeddedServer, sentinel_port: int
) -> None:
    """The old master lives on and is demoted; soon all writes reach the new one and none is refused any more."""
    url = f"redis+sentinel://127.0.0.1:{sentinel_port}/main/0"
    client = connect(url, call_timeout=CALL_TIMEOUT)
    await asyncio.gather(*(client.set("before", 1) for _ in range(3)))
    async with watched(own_server) as old, watched(other_server) as new, watched_sentinel(sentinel_port) as sentinel:
        await sentinel.execute_command("SENTINEL", "FAILOVER", "main")  # type: ignore[no-untyped-call] # the same

        async def has_happened() -> bool:
            return int((await sentinel.sentinel_master("main"))["port"]) == other_server.port  # type: ignore[no-untyped-call] # the same

        await until(has_happened, patience=PATIENCE)
        # Sentinel does this too, some eight seconds later, and closes connections then; others may not.
        await old.replicaof("127.0.0.1", str(other_server.port))

        async def follows() -> bool:
            try:
                await client.set("after", 1)
            except UNREACHABLE:
                return False
            return int(await new.exists("after")) == 1

        await until(follows, patience=PATIENCE)
        for _ in range(5):
            await asyncio.gather(*(client.incr("count") for _ in range(3)))
        assert await new.get("count") == b"15"
    await client.aclose()


@contextlib.asynccontextmanager
async def watched_sentinel(port: int) -> AsyncIterator[Redis]:
    """A client of the sentinel itself."""
    client = connect(f"redis://127.0.0.1:{port}", call_timeout=CALL_TIMEOUT)
    yield client
    await client.aclose()


@pytest.mark.parametrize("misfortune", ["kill", "freeze"])
async def test_clients_follow_when_the_master_is_gone(
    own_server: EmbeddedServer, other_server: EmbeddedServer, sentinel_port: int, misfortune: str
) -> None:
    """Killed or hanging: the same client writes to the promoted replica, which has what was confirmed."""
    client = connect(f"redis+sentinel://127.0.0.1:{sentinel_port}/main/0", call_timeout=CALL_TIMEOUT)
    await client.set("before", 1)
    async with watched(other_server) as new:

        async def replicated() -> bool:
            return bool(await new.exists("before"))

        await until(replicated, patience=PATIENCE)
        getattr(own_server, misfortune)()

        async def follows() -> bool:
            with contextlib.suppress(*UNREACHABLE):
                await client.set("after", 1)
                return bool(await new.exists("after"))
            return False

        await until(follows, patience=PATIENCE)
        assert await client.get("before") == b"1"
    await client.aclose()
