"""What the door acknowledges, over real HTTP on a real server, and what is stored then."""

import asyncio
import gzip
import io
import json
import logging
import zlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import msgspec
import pytest
from arq.connections import ArqRedis

from cli.embedded_server import EmbeddedServer
from rewardpost import codec
from rewardpost.delivery import Delivery, delivery_id
from rewardpost.keys import Keys
from tests.door_client import BODY, LIMIT, Door, head, opened, sign, stored


async def test_a_signed_webhook_is_stored_whole(door: Door, redis: ArqRedis, keys: Keys) -> None:
    """202 names the delivery, and the queue holds its job with the very bytes that came."""
    before = datetime.now(UTC)
    answer = await door.post(headers={"Content-Type": "application/json", "X-Request-Id": "é" * 300, "Cookie": "no"})
    assert answer.status == 202
    assert answer.content() == {"delivery": delivery_id(BODY), "status": "stored"}
    job_id = keys.delivery_job(delivery_id(BODY))
    assert await stored(redis, keys) == [job_id]
    job = codec.decode(await redis.get(keys.job(job_id)))
    delivery = msgspec.convert(job["a"][0], Delivery)
    assert job["f"] == "open_delivery"
    assert (delivery.id, delivery.body, delivery.source) == (delivery_id(BODY), BODY, "voucherify")
    assert before <= delivery.received_at <= datetime.now(UTC)
    assert set(delivery.headers) == {"content-type", "user-agent", "x-request-id"}
    assert delivery.headers["content-type"] == "application/json"
    assert len(delivery.headers["x-request-id"]) == 256


async def test_a_repeat_is_a_duplicate(door: Door, redis: ArqRedis, keys: Keys) -> None:
    """The same body again is acknowledged and not stored again."""
    answers = [await door.post() for _ in range(3)]
    assert [answer.content()["status"] for answer in answers] == ["stored", "duplicate", "duplicate"]
    assert len(await stored(redis, keys)) == 1


async def test_simultaneous_repeats_are_stored_once(door: Door, redis: ArqRedis, keys: Keys) -> None:
    """Of many equal bodies at one moment exactly one is stored."""
    answers = await asyncio.gather(*(door.post() for _ in range(50)))
    assert sorted(answer.content()["status"] for answer in answers) == ["duplicate"] * 49 + ["stored"]
    assert len(await stored(redis, keys)) == 1


async def test_a_settled_delivery_is_a_duplicate(door: Door, redis: ArqRedis, keys: Keys) -> None:
    """A body that was handled already is acknowledged and not queued."""
    await redis.set(keys.delivery(delivery_id(BODY)), "done")
    answer = await door.post()
    assert (answer.status, answer.content()["status"]) == (202, "duplicate")
    assert await stored(redis, keys) == []


async def test_a_dead_twin_is_superseded(door: Door, redis: ArqRedis, keys: Keys) -> None:
    """A body whose twin lies among the dead letters is stored anew, and the dead letter is gone."""
    twin = delivery_id(BODY)
    await redis.zadd(keys.dead_letters, {twin: 1, "somebody else": 2})
    await redis.hset(keys.dead_letter(twin), "reason", "unreadable")  # type: ignore[misc] # redis-py types both its clients with one signature
    answer = await door.post()
    assert (answer.status, answer.content()["status"]) == (202, "stored")
    assert await redis.zrange(keys.dead_letters, 0, -1) == [b"somebody else"]
    assert not await redis.exists(keys.dead_letter(twin))


async def test_insignificant_space_does_not_matter_to_the_signature(door: Door) -> None:
    """An indented body carries the signature of the compact one, and is stored as it came."""
    indented = json.dumps(json.loads(BODY), indent=2).encode()
    answer = await door.post(indented, signature=sign(BODY))
    assert (answer.status, answer.content()["delivery"]) == (202, delivery_id(indented))


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"not JSON", id="not JSON"),
        pytest.param(b"[" * 100_000, id="deeply nested"),
        pytest.param(b"\xff\xfe\x00", id="not UTF-8"),
        pytest.param(b'{"a":NaN,"a":1e999999,"b":"\\ud800"}', id="odd JSON"),
        pytest.param(b"x" * LIMIT, id="as large as allowed"),
    ],
)
async def test_whatever_is_correctly_signed_is_taken_in(door: Door, body: bytes) -> None:
    """The door never judges content: a poison message answered with an error would switch the sender off."""
    assert (await door.post(body)).status == 202


async def test_a_chunked_body_is_accepted(door: Door) -> None:
    """A body without a declared length is taken in like any other."""

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(BODY), 7):
            yield BODY[start : start + 7]

    answer = await door.post(pieces())
    assert answer.content() == {"delivery": delivery_id(BODY), "status": "stored"}


def _raw_deflate(body: bytes) -> bytes:
    stream = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return stream.compress(body) + stream.flush()


@pytest.mark.parametrize(
    ("coding", "sent"),
    [
        pytest.param("gzip", gzip.compress(BODY), id="gzip"),
        pytest.param("X-GZIP", gzip.compress(BODY), id="gzip by its old name"),
        pytest.param("gzip", gzip.compress(BODY[:9]) + gzip.compress(b"") + gzip.compress(BODY[9:]), id="members"),
        pytest.param("deflate", zlib.compress(BODY), id="zlib"),
        pytest.param("deflate", _raw_deflate(BODY), id="raw deflate"),
        pytest.param("identity", BODY, id="identity"),
    ],
)
async def test_a_compressed_body_is_signed_and_stored_decompressed(door: Door, coding: str, sent: bytes) -> None:
    """The signature is over the decompressed bytes, and so is the delivery's id."""
    answer = await door.post(sent, headers={"Content-Encoding": coding}, signature=sign(BODY))
    assert answer.content() == {"delivery": delivery_id(BODY), "status": "stored"}


async def test_waits_with_the_body_for_a_continue(door: Door) -> None:
    """A sender that asks first is told to go on, and then acknowledged."""
    answer = await door.raw(head(f"Content-Length: {len(BODY)}", "Expect: 100-continue", "Connection: close"), BODY)
    assert answer.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 202 ")


@pytest.mark.parametrize("header", ["Expect: a miracle", "Upgrade: h2c", "Upgrade: websocket", "X-Bytes: \udcff"])
async def test_an_odd_header_is_passed_over(door: Door, header: str) -> None:
    """A header that asks for something unknown is no reason to refuse a webhook."""
    answer = await door.raw(head(f"Content-Length: {len(BODY)}", header, "Connection: close"), BODY)
    assert answer.startswith(b"HTTP/1.1 202 ")


async def test_there_is_no_access_log(server: EmbeddedServer, redis: ArqRedis) -> None:
    """The door logs its own answers, and aiohttp nothing, whatever the level of its access log is."""
    access = logging.getLogger("aiohttp.access")
    before, stream = access.level, io.StringIO()
    handler = logging.StreamHandler(stream)
    access.addHandler(handler)
    access.setLevel(logging.DEBUG)
    try:
        async with opened(server.url) as door:
            assert (await door.post()).status == 202
    finally:
        access.removeHandler(handler)
        access.setLevel(before)
    assert stream.getvalue() == ""
    assert await redis.dbsize() > 0


async def test_probes_and_metrics(door: Door) -> None:
    """The process is alive and ready, and has counted what it answered."""
    for path, status in (("/livez", "alive"), ("/readyz", "ready")):
        answer = await door.request("GET", path)
        assert (answer.status, answer.content()) == (200, {"status": status})

    async def counted(answer: str) -> float:
        text = (await door.request("GET", "/metrics")).body.decode()
        return float(text.split(f'rewardpost_webhooks_total{{answer="{answer}"}} ')[1].split("\n")[0])

    stored, unauthorized = await counted("stored"), await counted("unauthorized")
    await door.post()
    await door.post(signature="wrong")
    assert await counted("stored") == stored + 1
    assert await counted("unauthorized") == unauthorized + 1
