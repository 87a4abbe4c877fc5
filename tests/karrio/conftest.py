"""What the tests against a real Karrio share: one server for the session, emptied for each test."""

from collections.abc import Iterator
from datetime import timedelta

import aiohttp
import pytest

from rewardpost.settings import Settings
from tests import karrio_server
from tests.karrio_server import TOKEN, KarrioServer
from worker.providers.karrio import Karrio, build


@pytest.fixture(scope="session", autouse=True)
def _prepared() -> None:
    """Skip what needs a server where none can be started."""
    why = karrio_server.missing()
    if why is not None:
        pytest.skip(why)


@pytest.fixture(scope="session")
def running() -> Iterator[KarrioServer]:
    """The server of the session."""
    with KarrioServer() as server:
        yield server


@pytest.fixture
def karrio(running: KarrioServer) -> KarrioServer:
    """The server of the session, which has no orders."""
    running.clear()
    assert not running.live_orders()
    return running


@pytest.fixture
def provider(session: aiohttp.ClientSession, karrio: KarrioServer) -> Karrio:
    """The provider, made as the worker makes it, with time enough for a busy machine."""
    settings = Settings(karrio_url=karrio.url, karrio_token=TOKEN, provider_timeout=timedelta(seconds=30))
    return build(settings, session)
