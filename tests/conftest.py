"""What tests of every kind share: a server of their own, a client of it, and the names of the keys."""

import os
import tempfile
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path
from typing import TextIO

import aiohttp
import pytest
from arq.connections import ArqRedis

from cli.embedded_server import EmbeddedServer
from rewardpost import logs
from rewardpost.connection import connect
from rewardpost.keys import DEFAULT_PREFIX, Keys
from tests.suite_log import found_in

_EXECUTABLE = os.environ.get("TEST_REDIS_SERVER")


@pytest.fixture(scope="session")
def suite_log(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TextIO]:
    """The log of all that runs inside this process; at the end nothing personal may stand in any log of the run."""
    directory = tmp_path_factory.getbasetemp()
    with (directory / "suite.log").open("a", encoding="utf-8") as stream:
        yield stream
    assert found_in(directory) == set()


@pytest.fixture(autouse=True)
def _logged(suite_log: TextIO) -> None:
    """Log into the suite's log, whatever the test before has configured."""
    logs.configure("json", stream=suite_log)


def _new_server() -> Iterator[EmbeddedServer]:
    # Not pytest's tmp_path: its length could exceed what the path of a Unix socket may have.
    with (
        tempfile.TemporaryDirectory(prefix="rewardpost-") as directory,
        EmbeddedServer(Path(directory), executable=Path(_EXECUTABLE) if _EXECUTABLE else None) as server,
    ):
        # EmbeddedServer has compared who answers with its child: this server is ours to write to.
        yield server


@pytest.fixture(scope="session")
def server() -> Iterator[EmbeddedServer]:
    """A server private to this run; a test leaves it running and configured as it found it."""
    yield from _new_server()


@pytest.fixture
def own_server() -> Iterator[EmbeddedServer]:
    """A server private to one test, which may freeze, kill and misconfigure it."""
    yield from _new_server()


@pytest.fixture
async def redis(server: EmbeddedServer) -> AsyncIterator[ArqRedis]:
    """A client of the session's server, which is empty."""
    client = connect(server.url, call_timeout=timedelta(seconds=10))
    await client.flushall()
    yield client
    await client.aclose()


@pytest.fixture
def keys() -> Keys:
    """The names of the keys of the default installation."""
    return Keys(DEFAULT_PREFIX)


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    """The client session that a process would share."""
    async with aiohttp.ClientSession() as session:
        yield session
