"""What faults of Redis do to the door: nothing is acknowledged that could be lost, and it recovers by itself."""

import asyncio
import time
from pathlib import Path

import aiohttp
import pytest
from arq.connections import ArqRedis

from cli.embedded_server import EmbeddedServer
from rewardpost.delivery import delivery_id
from rewardpost.keys import Keys
from tests.door_client import BODY, Door, eventually, opened, sign, stored


async def _not_ready(door: Door, because: str) -> None:
    async def refused() -> bool:
        answer = await door.request("GET", "/readyz")
        return answer.status == 503 and because in answer.content()["detail"]

    await eventually(refused, within=3)
    assert (await door.request("GET", "/livez")).status == 200
    answer = await door.post()
    assert answer.status == 503
    assert int(answer.headers["Retry-After"]) > 0
    assert because in answer.content()["detail"]


async def _ready_again(door: Door) -> None:
    async def acknowledged() -> bool:
        return (await door.post()).status == 202

    await eventually(acknowledged)
    assert (await door.request("GET", "/readyz")).status == 200


async def test_a_frozen_server_is_503_in_time(own_server: EmbeddedServer) -> None:
    """While Redis hangs no webhook is acknowledged nor kept waiting; afterwards the same door goes on."""
    async with opened(own_server.url) as door:
        assert (await door.post(b"before", signature=sign(b"before"))).status == 202
        own_server.freeze()
        before = time.monotonic()
        answers = await asyncio.gather(*(door.post(body, signature=sign(body)) for body in [b"1", b"2", b"3"]))
        assert {answer.status for answer in answers} == {503}
        assert all(int(answer.headers["Retry-After"]) > 0 for answer in answers)
        assert time.monotonic() - before < 3
        await _not_ready(door, "out of reach")
        own_server.thaw()
        await _ready_again(door)


async def test_a_killed_server_comes_back(own_server: EmbeddedServer, own_redis: ArqRedis, keys: Keys) -> None:
    """A dead Redis is 503; started again on its data it has what was acknowledged, and the door goes on."""
    async with opened(own_server.url) as door:
        assert (await door.post(b"before", signature=sign(b"before"))).status == 202
        own_server.kill()
        assert (await door.post()).status == 503
        await _not_ready(door, "out of reach")
        own_server.start()
        await _ready_again(door)
    assert set(await stored(own_redis, keys)) == {keys.delivery_job(delivery_id(body)) for body in (b"before", BODY)}


async def test_opens_while_redis_is_away(tmp_path: Path) -> None:
    """The door starts without Redis, says that it is not ready, and recovers by itself."""
    server = EmbeddedServer(tmp_path)
    async with opened(server.tcp_url) as door:
        await _not_ready(door, "out of reach")
        with server:
            await _ready_again(door)


async def test_a_full_server_is_503(own_server: EmbeddedServer, own_redis: ArqRedis) -> None:
    """A server without memory takes nothing in, and is used again once there is room."""
    async with opened(own_server.url) as door:
        await own_redis.config_set("maxmemory", "1")
        assert (await door.post()).status == 503
        await _not_ready(door, "full")
        assert await own_redis.dbsize() == 0
        await own_redis.config_set("maxmemory", "0")
        await _ready_again(door)


@pytest.mark.parametrize(
    ("name", "value"),
    [("appendfsync", "everysec"), ("appendonly", "no"), ("maxmemory-policy", "allkeys-lru")],
)
async def test_a_server_that_may_forget_is_503(
    own_server: EmbeddedServer,
    own_redis: ArqRedis,
    name: str,
    value: str,
) -> None:
    """Each setting without which a confirmed webhook could be lost closes the door until it is set back."""
    right = (await own_redis.config_get(name))[name]
    async with opened(own_server.url) as door:
        await own_redis.config_set(name, value)
        await _not_ready(door, f"{name} is {value}, expected {right}")
        assert await own_redis.dbsize() == 0
        await own_redis.config_set(name, right)
        await _ready_again(door)


async def test_an_operator_can_vouch_for_the_server(own_server: EmbeddedServer, own_redis: ArqRedis) -> None:
    """With REDIS_DURABILITY=trust the settings are not looked at, but a server that is away still is."""
    await own_redis.config_set("appendfsync", "everysec")
    async with opened(own_server.url, REDIS_DURABILITY="trust") as door:
        assert (await door.post()).status == 202
        own_server.kill()
        await _not_ready(door, "out of reach")


async def test_a_server_that_hides_its_settings_needs_a_word(own_server: EmbeddedServer, own_redis: ArqRedis) -> None:
    """Where CONFIG is forbidden, readiness says what to check and which setting to use then."""
    await own_redis.acl_setuser(
        "guest",
        enabled=True,
        passwords=["+pw"],
        keys=["*"],
        categories=["+@all"],
        commands=["-config", "-info"],
    )
    url = own_server.tcp_url.replace("://", "://guest:pw@")
    async with opened(url) as door:
        await _not_ready(door, "REDIS_DURABILITY=trust")
    async with opened(url, REDIS_DURABILITY="trust") as door:
        assert (await door.post()).status == 202


async def test_a_replica_is_503(own_server: EmbeddedServer, own_redis: ArqRedis) -> None:
    """A server that became a replica, as after a failover, takes no webhook in."""
    async with opened(own_server.url) as door:
        await own_redis.replicaof("127.0.0.1", "1")
        assert (await door.post()).status == 503
        await _not_ready(door, "expected a master")
        await own_redis.replicaof("NO", "ONE")
        await _ready_again(door)


async def test_a_request_in_hand_is_finished_when_the_door_closes(
    own_server: EmbeddedServer,
    own_redis: ArqRedis,
) -> None:
    """A webhook that waits for Redis while the door closes gets its answer."""

    async def waiting_for_redis() -> bool:
        return int((await own_redis.info("clients"))["blocked_clients"]) > 0

    async with aiohttp.ClientSession() as session:
        async with opened(own_server.url) as door:
            await own_redis.client_pause(700, all=False)
            answer = asyncio.create_task(Door(session, door.port).post())
            await eventually(waiting_for_redis, within=0.6)
        assert (await answer).status == 202
