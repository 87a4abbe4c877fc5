"""The proxy that cuts connections does what the tests that rely on it believe."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from arq.connections import ArqRedis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from cli.embedded_server import EmbeddedServer
from rewardpost.connection import UNREACHABLE, connect
from rewardpost.keys import Keys
from rewardpost.scripts import Script
from tests.cutting_proxy import CuttingProxy, Moment, named, script, transaction
from tests.house import until

CALL_TIMEOUT = timedelta(seconds=0.5)


@pytest.fixture
async def client(proxy: CuttingProxy) -> AsyncIterator[ArqRedis]:
    """A client that goes through the proxy."""
    client = connect(proxy.url, call_timeout=CALL_TIMEOUT)
    yield client
    await client.aclose()


@contextlib.asynccontextmanager
async def raw(proxy: CuttingProxy) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A bare connection through the proxy."""
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    yield reader, writer
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


def sent_through(proxy: CuttingProxy) -> list[str]:
    """Return the names of the commands that a client was told to send, without those of redis-py itself."""
    return [command.name for command in proxy.commands if command.name not in {"CLIENT", "PING"}]


async def test_everything_passes_and_is_seen(proxy: CuttingProxy, client: ArqRedis) -> None:
    """Replies of every shape come back whole, and each command of a pipeline is seen by itself."""
    big = b"\r\n*1\r\n" * 50_000
    async with client.pipeline(transaction=True) as pipe:
        pipe.set("a", big)
        pipe.get("a")
        pipe.zadd("z", {"m": 1})
        pipe.zrange("z", 0, -1, withscores=True)
        pipe.get("none")
        assert await pipe.execute() == [True, big, 1, [(b"m", 1.0)], None]
    assert await client.blpop("list", timeout=0.01) is None  # type: ignore[misc, arg-type] # redis-py types both its clients with one signature
    assert "db0" in await client.info("keyspace")
    assert sent_through(proxy) == ["MULTI", "SET", "GET", "ZADD", "ZRANGE", "GET", "EXEC", "BLPOP", "INFO"]


async def test_a_command_that_is_cut_before_never_reaches_the_server(
    proxy: CuttingProxy, client: ArqRedis, redis: ArqRedis
) -> None:
    """What came before it is carried out, it is not, and the next connection passes."""
    cut = proxy.cut(Moment.BEFORE, named("INCRBY", "counter"))
    await client.set("counter", 5)
    with pytest.raises(RedisConnectionError):
        await client.incr("counter")
    assert (cut.made, cut.happened.is_set()) == (1, True)
    assert await redis.get("counter") == b"5"
    assert await client.incr("counter") == 6


async def test_a_command_that_is_cut_after_was_carried_out(
    proxy: CuttingProxy, client: ArqRedis, redis: ArqRedis
) -> None:
    """Only its reply is lost."""
    proxy.cut(Moment.AFTER, named("INCRBY"))
    with pytest.raises(RedisConnectionError):
        await client.incr("counter")
    assert await redis.get("counter") == b"1"


@pytest.mark.parametrize(("moment", "left"), [(Moment.BEFORE, b"1"), (Moment.AFTER, b"2")])
async def test_in_a_pipeline_the_replies_before_the_cut_arrive(
    proxy: CuttingProxy, redis: ArqRedis, moment: Moment, left: bytes
) -> None:
    """What was sent together is cut at the one command, wherever its packet ended."""
    proxy.cut(moment, named("INCR"), skip=1)
    async with raw(proxy) as (reader, writer):
        sent = b"*2\r\n$4\r\nINCR\r\n$1\r\nn\r\n" * 3
        writer.write(sent[:70])
        await writer.drain()
        assert await reader.readexactly(4) == b":1\r\n"
        assert await reader.read() == b""
    assert await redis.get("n") == left


async def test_the_nth_and_the_next_k_are_cut(proxy: CuttingProxy, client: ArqRedis) -> None:
    """Those before and those after pass."""
    cut = proxy.cut(Moment.BEFORE, named("ECHO"), skip=2, times=3)
    passed = []
    for _ in range(7):
        try:
            passed.append(bool(await client.echo("again")))
        except UNREACHABLE:
            passed.append(False)
    assert passed == [True, True, False, False, False, True, True]
    assert cut.made == 3


async def test_a_script_is_cut_by_its_name(proxy: CuttingProxy, client: ArqRedis, redis: ArqRedis, keys: Keys) -> None:
    """Whether it is called by digest or sent whole; a call that the server does not know was no call."""
    enqueue = Script("enqueue_job")

    async def call(through: ArqRedis, job: str) -> int:
        parts = [*keys.job_parts(job), keys.result(job), keys.wake_up]
        return int(await enqueue.run(through, keys=parts, args=[job, b"payload", 0, 0]))

    await redis.script_flush()
    cut = proxy.cut(Moment.AFTER, script("enqueue_job"))
    with pytest.raises(RedisConnectionError):
        await call(client, "whole")
    assert sent_through(proxy) == ["EVALSHA", "EVAL"]
    assert (cut.made, await redis.zcard(keys.queue)) == (1, 1)
    proxy.cut(Moment.AFTER, script("claim_jobs"))
    proxy.cut(Moment.BEFORE, script("enqueue_job"))
    with pytest.raises(RedisConnectionError):
        await call(client, "by-digest")
    assert await redis.zcard(keys.queue) == 1
    assert await call(client, "by-digest") == 1


async def test_a_transaction_is_cut_at_its_exec(proxy: CuttingProxy, client: ArqRedis, redis: ArqRedis) -> None:
    """It is chosen by what stands in it."""
    proxy.cut(Moment.BEFORE, transaction("SET", "wanted"))
    for key, stored in (("other", True), ("wanted", False), ("wanted", True)):
        async with client.pipeline(transaction=True) as pipe:
            pipe.set(key, 1)
            with contextlib.nullcontext() if stored else pytest.raises(RedisConnectionError):
                await pipe.execute()
        assert bool(await redis.exists(key)) is stored


async def test_a_black_hole_answers_nothing(proxy: CuttingProxy, client: ArqRedis, redis: ArqRedis) -> None:
    """Neither an open connection nor a new one; afterwards nothing of what was sent reaches the server."""
    await client.ping()
    with proxy.black_hole():
        for _ in range(2):
            before = time.monotonic()
            with pytest.raises(RedisTimeoutError):
                await client.set("key", 1)
            assert time.monotonic() - before < 2 * CALL_TIMEOUT.total_seconds()
    assert await client.ping()
    assert await redis.exists("key") == 0


async def test_what_a_black_hole_held_up_can_come_late(proxy: CuttingProxy, client: ArqRedis, redis: ArqRedis) -> None:
    """The server carries out what its client has given up."""
    await client.ping()
    with proxy.black_hole(deliver_late=True), pytest.raises(RedisTimeoutError):
        await client.set("key", 1)

    async def stored() -> bool:
        return bool(await redis.exists("key"))

    await until(stored, patience=5)


async def test_connections_are_refused_for_a_while(proxy: CuttingProxy, client: ArqRedis) -> None:
    """At once, and afterwards the same address leads to the server again."""
    await client.ping()
    async with proxy.refusing():
        for _ in range(2):
            with pytest.raises(RedisConnectionError):
                await client.ping()
    assert await client.ping()


async def test_a_server_that_dies_cuts_its_clients(own_server: EmbeddedServer) -> None:
    """The proxy hides nothing of what the server does itself."""
    async with CuttingProxy(own_server.port) as proxy:
        client = connect(proxy.url, call_timeout=CALL_TIMEOUT)
        await client.ping()
        own_server.kill()
        with pytest.raises(RedisConnectionError):
            await client.ping()
        own_server.start()
        assert await client.ping()
        await client.aclose()


async def test_all_connections_are_cut_at_once(proxy: CuttingProxy) -> None:
    """Those that are open; new ones pass."""
    ping = b"*1\r\n$4\r\nPING\r\n"
    for _ in range(2):
        async with raw(proxy) as (reader, writer):
            writer.write(ping)
            assert await reader.readexactly(7) == b"+PONG\r\n"
            proxy.drop()
            assert await reader.read() == b""
