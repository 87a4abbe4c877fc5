"""A server that is busy with somebody's script: the engine waits, and goes on by itself."""

import asyncio

import pytest
from redis.exceptions import ResponseError

from cli.embedded_server import EmbeddedServer
from rewardpost.client import SharingRedis
from rewardpost.connection import connect
from tests.arq_workers import Tasks
from tests.engines import CALL_TIMEOUT, done, engine
from tests.house import until


async def test_a_busy_server_ends_no_worker(own_server: EmbeddedServer) -> None:
    """Every command is answered BUSY until the script is killed; then what was enqueued before is done."""
    asking, endless = (connect(own_server.url, call_timeout=CALL_TIMEOUT * 20) for _ in range(2))
    await asking.config_set("lua-time-limit", 20)
    tasks = Tasks()
    async with engine(own_server.url, tasks):
        looping: asyncio.Future[object] = asyncio.ensure_future(endless.eval("while true do end", 0))  # type: ignore[arg-type] # redis-py types both its clients with one signature

        async def busy() -> bool:
            try:
                await asking.ping()
            except ResponseError as exc:
                return "BUSY" in str(exc)
            return False

        await until(busy)
        await asyncio.sleep(CALL_TIMEOUT.total_seconds())  # long enough for the engine to have been told too
        await asking.script_kill()
        with pytest.raises(ResponseError):
            await looping
        job = await SharingRedis(asking).enqueue_job("works", _job_id="j")
        assert job is not None
        await done(asking, "j")
    assert tasks.tries == [1]
    await asking.aclose()
    await endless.aclose()
