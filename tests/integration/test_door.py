"""The door over real HTTP on a real server: what is answered, what is stored, and what faults do to both."""

import asyncio
import gzip
import hashlib
import hmac
import io
import json
import logging
import time
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from arq.connections import ArqRedis

from cli.embedded_server import EmbeddedServer
from ingest.serving import open_door
from rewardpost import codec, logs, settings
from rewardpost.delivery import delivery_id
from rewardpost.keys import Keys

SECRET = "the secret of the tests"
PATH = "/webhooks/voucherify"
BODY = json.dumps({"event": {"type": "customer.rewarded"}, "note": "x y"}, separators=(",", ":")).encode()
LIMIT = 1_048_576


def _sign(body: bytes) -> str:
    return hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()


@dataclass
class Reply:
    """One answer of the door."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def content(self) -> dict[str, Any]:
        """The answer's JSON object."""
        content: dict[str, Any] = json.loads(self.body)
        return content


@dataclass
class Door:
    """A client of one open door."""

    session: aiohttp.ClientSession
    port: int

    async def post(
        self,
        body: bytes | AsyncIterator[bytes] = BODY,
        headers: Mapping[str, str] | None = None,
        signature: str | None = None,
    ) -> Reply:
        """Send one webhook, correctly signed unless a signature is given."""
        if signature is None:
            signature = _sign(body if isinstance(body, bytes) else BODY)
        return await self.request(
            "POST",
            PATH,
            data=io.BytesIO(body) if isinstance(body, bytes) else body,
            headers={"X-Voucherify-Signature": signature, **(headers or {})},
        )

    async def request(self, method: str, path: str, **options: Any) -> Reply:  # noqa: ANN401 - aiohttp's own options
        """Send one request."""
        async with self.session.request(method, f"http://127.0.0.1:{self.port}{path}", **options) as answer:
            return Reply(answer.status, answer.headers, await answer.read())

    async def raw(self, *pieces: bytes, end: bool = False) -> bytes:
        """Write bytes to a connection and return all that comes back until the door closes it."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
            if end:
                writer.write_eof()
            async with asyncio.timeout(5):
                return await reader.read()
        except ConnectionResetError:
            return b""
        finally:
            writer.close()


async def eventually(condition: Callable[[], Awaitable[bool]], *, within: float = 10) -> None:
    """Wait until a condition holds, or fail."""
    async with asyncio.timeout(within):
        while not await condition():  # noqa: ASYNC110 - another process changes the condition
            await asyncio.sleep(0.02)


@asynccontextmanager
async def opened(redis_url: str, **environ: str) -> AsyncIterator[Door]:
    """Open a door with these settings on a free port."""
    configuration = settings.load(
        {
            "REDIS_URL": redis_url,
            "INGEST_HOST": "127.0.0.1",
            "INGEST_PORT": "0",
            "VOUCHERIFY_WEBHOOK_SECRETS": f"an older one,{SECRET}",
            **environ,
        },
    )
    async with open_door(configuration) as addresses, aiohttp.ClientSession() as session:
        yield Door(session, addresses[0][1])


@pytest.fixture
async def door(server: EmbeddedServer, redis: ArqRedis) -> AsyncIterator[Door]:
    """A door on the session's server, which is empty."""
    assert await redis.dbsize() == 0
    async with opened(server.url) as door:
        yield door


async def _stored(redis: ArqRedis, keys: Keys) -> list[str]:
    return [job.decode() for job in await redis.zrange(keys.queue, 0, -1)]


# --- what is acknowledged ---


async def test_a_signed_webhook_is_stored_whole(door: Door, redis: ArqRedis, keys: Keys) -> None:
    """202 names the delivery, and the queue holds its job with the very bytes that came."""
    before = datetime.now(UTC)
    answer = await door.post(headers={"Content-Type": "application/json", "X-Request-Id": "é" * 300, "Cookie": "no"})
    assert answer.status == 202
    assert answer.content() == {"delivery": delivery_id(BODY), "status": "stored"}
    job_id = keys.delivery_job(delivery_id(BODY))
    assert await _stored(redis, keys) == [job_id]
    job = codec.decode(await redis.get(keys.job(job_id)))
    delivery = job["a"][0]
    assert job["f"] == "open_delivery"
    assert delivery["body"] == BODY
    assert delivery["source"] == "voucherify"
    assert before <= delivery["received_at"] <= datetime.now(UTC) or isinstance(delivery["received_at"], str)
    assert delivery["headers"]["content-type"] == "application/json"
    assert set(delivery["headers"]) == {"content-type", "user-agent", "x-request-id"}
    assert len(delivery["headers"]["x-request-id"]) == 256


async def test_a_repeat_is_a_duplicate(door: Door, redis: ArqRedis, keys: Keys) -> None:
    """The same body again is acknowledged and not stored again."""
    answers = [await door.post() for _ in range(3)]
    assert [answer.content()["status"] for answer in answers] == ["stored", "duplicate", "duplicate"]
    assert len(await _stored(redis, keys)) == 1


async def test_simultaneous_repeats_are_stored_once(door: Door, redis: ArqRedis, keys: Keys) -> None:
    """Of many equal bodies at one moment exactly one is stored."""
    answers = await asyncio.gather(*(door.post() for _ in range(50)))
    assert sorted(answer.content()["status"] for answer in answers) == ["duplicate"] * 49 + ["stored"]
    assert len(await _stored(redis, keys)) == 1


async def test_a_settled_delivery_is_a_duplicate(door: Door, redis: ArqRedis, keys: Keys) -> None:
    """A body that was handled already is acknowledged and not queued."""
    await redis.set(keys.delivery(delivery_id(BODY)), "done")
    answer = await door.post()
    assert (answer.status, answer.content()["status"]) == (202, "duplicate")
    assert await _stored(redis, keys) == []


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
    answer = await door.post(indented, signature=_sign(BODY))
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
    answer = await door.post(sent, headers={"Content-Encoding": coding}, signature=_sign(BODY))
    assert answer.content() == {"delivery": delivery_id(BODY), "status": "stored"}


async def test_waits_with_the_body_for_a_continue(door: Door) -> None:
    """A sender that asks first is told to go on, and then acknowledged."""
    answer = await door.raw(_head(f"Content-Length: {len(BODY)}", "Expect: 100-continue", "Connection: close"), BODY)
    assert answer.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 202 ")


@pytest.mark.parametrize("header", ["Expect: a miracle", "Upgrade: h2c", "Upgrade: websocket", "X-Bytes: \udcff"])
async def test_an_odd_header_is_passed_over(door: Door, header: str) -> None:
    """A header that asks for something unknown is no reason to refuse a webhook."""
    answer = await door.raw(_head(f"Content-Length: {len(BODY)}", header, "Connection: close"), BODY)
    assert answer.startswith(b"HTTP/1.1 202 ")


# --- what is refused ---


def _head(*headers: str, signature: str | None = _sign(BODY), method: str = "POST") -> bytes:
    lines = [f"{method} {PATH} HTTP/1.1", "Host: door", *headers]
    if signature is not None:
        lines.append(f"X-Voucherify-Signature: {signature}")
    return "\r\n".join([*lines, "", ""]).encode("utf-8", "surrogateescape")


LENGTH = f"Content-Length: {len(BODY)}"


@pytest.mark.parametrize(
    "head",
    [
        pytest.param(_head(LENGTH, signature=None), id="missing"),
        pytest.param(_head(LENGTH, signature=""), id="empty"),
        pytest.param(_head(LENGTH, f"x-voucherify-signature: {_sign(BODY)}"), id="doubled"),
        pytest.param(_head(LENGTH, signature=_sign(BODY).upper()), id="upper case"),
        pytest.param(_head(LENGTH, signature=_sign(b"another")), id="of another body"),
        pytest.param(_head(LENGTH, signature="\udcff" * 64), id="not text"),
        pytest.param(_head(LENGTH, signature="0" * 8000), id="very long"),
    ],
)
async def test_a_bad_signature_is_401(door: Door, redis: ArqRedis, head: bytes) -> None:
    """Without exactly one good signature nothing is stored."""
    answer = await door.raw(head.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1), BODY)
    assert answer.startswith(b"HTTP/1.1 401 ")
    assert b"application/problem+json" in answer
    assert await redis.dbsize() == 0


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS"])
async def test_another_method_is_405(door: Door, method: str) -> None:
    """Only POST is taken, and the answer says so."""
    answer = await door.request(method, PATH)
    assert (answer.status, answer.headers["Allow"]) == (405, "POST")


async def test_errors_are_problems(door: Door) -> None:
    """An error is a problem document that machines can read, on every route."""
    for path, status in ((PATH, 405), ("/nowhere", 404)):
        answer = await door.request("GET", path)
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert answer.content()["status"] == answer.status == status
        assert answer.content()["title"]


async def test_a_body_over_the_limit_is_413(door: Door, redis: ArqRedis) -> None:
    """One byte too many is refused, whether its length is declared or not."""
    body = b"x" * (LIMIT + 1)

    async def pieces() -> AsyncIterator[bytes]:
        yield body

    assert (await door.post(body)).status == 413
    assert (await door.post(pieces(), signature=_sign(body))).status == 413
    assert await redis.dbsize() == 0


def _bomb() -> bytes:
    stream = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    opening = stream.compress(bytes(LIMIT)) + stream.flush(zlib.Z_FULL_FLUSH)
    return opening * (LIMIT // len(opening) - 1) + stream.flush()


@pytest.mark.parametrize(
    ("coding", "sent"),
    [
        pytest.param("gzip", gzip.compress(bytes(LIMIT + 1)), id="gzip"),
        pytest.param("gzip", gzip.compress(bytes(LIMIT)) + gzip.compress(b"1"), id="in two members"),
        pytest.param("deflate", zlib.compress(bytes(LIMIT + 1)), id="zlib"),
        pytest.param("deflate", _bomb(), id="almost a gigabyte"),
    ],
)
async def test_a_body_that_decompresses_over_the_limit_is_413(door: Door, coding: str, sent: bytes) -> None:
    """Decompression stops at the limit; that it stays small meanwhile, the tests of reading show."""
    answer = await door.post(sent, headers={"Content-Encoding": coding})
    assert answer.status == 413


@pytest.mark.parametrize(
    ("coding", "sent"),
    [
        pytest.param("gzip", BODY, id="not compressed"),
        pytest.param("gzip", b"", id="nothing"),
        pytest.param("gzip", gzip.compress(BODY)[:-1], id="cut off"),
        pytest.param("gzip", gzip.compress(BODY)[:-8] + bytes(8), id="wrong checksum"),
        pytest.param("gzip", gzip.compress(BODY) + b"more", id="something behind it"),
        pytest.param("gzip", gzip.compress(b"") * 1000, id="very many members"),
        pytest.param("deflate", zlib.compress(BODY)[:-1], id="zlib cut off"),
        pytest.param("deflate", zlib.compress(BODY) + b"more", id="something behind zlib"),
        pytest.param("br", BODY, id="unknown"),
        pytest.param("gzip, gzip", gzip.compress(gzip.compress(BODY)), id="twice"),
    ],
)
async def test_broken_compression_is_400(door: Door, redis: ArqRedis, coding: str, sent: bytes) -> None:
    """What cannot be decompressed cannot be verified."""
    answer = await door.post(sent, headers={"Content-Encoding": coding}, signature=_sign(BODY))
    assert answer.status == 400
    assert await redis.dbsize() == 0


@pytest.mark.parametrize(
    "request_bytes",
    [
        pytest.param(_head("Transfer-Encoding: chunked") + b"zz\r\nhello\r\n", id="no chunk size"),
        pytest.param(_head("Transfer-Encoding: chunked") + b"5\r\nhelloworld\r\n0\r\n\r\n", id="wrong chunk size"),
        pytest.param(_head("Transfer-Encoding: chunked", LENGTH) + BODY, id="two framings"),
        pytest.param(_head("Content-Length: -5") + BODY, id="negative length"),
        pytest.param(_head("Content-Length: five") + BODY, id="no length"),
        pytest.param(_head(LENGTH, "Content-Length: 7") + BODY, id="two lengths"),
        pytest.param(_head(LENGTH, f"X-Long: {'x' * 20_000}") + BODY, id="huge header"),
        pytest.param(_head(LENGTH, *(f"X-{n}: 1" for n in range(500))) + BODY, id="many headers"),
        pytest.param(_head(LENGTH, method="BREW") + BODY, id="unknown method"),
        pytest.param(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 Anna", id="TLS"),
        pytest.param(b"POST " + b"/Anna" * 5000 + b" HTTP/1.1\r\n\r\n", id="huge path"),
        pytest.param(_head(LENGTH).replace(b"HTTP/1.1", b"HTTP/9.9") + BODY, id="unknown version"),
    ],
)
async def test_a_request_that_is_no_http_is_400(door: Door, redis: ArqRedis, request_bytes: bytes) -> None:
    """Broken framing is refused, and the answer repeats nothing of it."""
    answer = await door.raw(request_bytes)
    assert answer.startswith((b"HTTP/1.1 400 ", b"HTTP/1.0 400 "))
    assert b"application/problem+json" in answer
    assert b"Anna" not in answer
    assert await redis.dbsize() == 0
    assert (await door.post()).status == 202


@pytest.mark.parametrize(
    "pieces",
    [
        pytest.param((_head(f"Content-Length: {len(BODY) + 10}"), BODY), id="less than declared"),
        pytest.param((_head("Transfer-Encoding: chunked"), b"5\r\nhel"), id="in a chunk"),
        pytest.param((_head("Transfer-Encoding: chunked"), b"5\r\nhello\r\n"), id="between chunks"),
        pytest.param((_head(LENGTH)[:40],), id="in the head"),
    ],
)
async def test_a_sender_that_goes_away_disturbs_nothing(
    door: Door,
    redis: ArqRedis,
    pieces: tuple[bytes, ...],
) -> None:
    """A body that breaks off is 400 or answered by nothing; it is not stored, and the next webhook is."""
    answer = await door.raw(*pieces, end=True)
    assert answer == b"" or answer.startswith(b"HTTP/1.1 400 ")
    assert await redis.dbsize() == 0
    assert (await door.post()).status == 202


async def test_more_than_declared_is_cut_and_refused(door: Door, redis: ArqRedis) -> None:
    """Of a body longer than declared only the declared part counts, not signed; the rest is no request."""
    answer = await door.raw(_head(f"Content-Length: {len(BODY) - 5}"), BODY)
    assert answer.split()[1] in {b"400", b"401"}
    assert await redis.dbsize() == 0


async def test_no_request_reaches_the_log(server: EmbeddedServer, redis: ArqRedis) -> None:
    """Whatever is wrong with a request, the log names the kind of fault and nothing that was sent."""
    stream = io.StringIO()
    root = logging.getLogger()
    before = list(root.handlers)
    logs.configure("json", stream=stream)
    try:
        async with opened(server.url) as door:
            await door.raw(b"POST /Anna HTTP/1.1\r\nAnna\x00: Anna\r\n\r\n", end=True)
            await door.raw(_head("Transfer-Encoding: chunked", "X: Anna") + b"Anna\r\n", end=True)
            await door.raw(_head("Content-Length: 50"), b"Anna", end=True)
            await door.post(b"Anna", headers={"Content-Encoding": "Anna", "User-Agent": "Anna"})
            await door.post(b"Anna", signature="Anna")
            await door.post(b"Anna", headers={"X-Request-Id": "Anna"})
            await door.request("GET", "/Anna?name=Anna")
    finally:
        root.handlers[:] = before
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert {"webhook_refused", "request_refused", "webhook_acknowledged"} <= {line["event"] for line in lines}
    assert "Anna" not in stream.getvalue()
    assert await redis.dbsize() > 0


async def test_unsigned_webhooks_are_taken_only_when_allowed(server: EmbeddedServer, redis: ArqRedis) -> None:
    """Without a secret and with the explicit permission anything is taken in; with neither the door stays shut."""
    async with opened(server.url, VOUCHERIFY_WEBHOOK_SECRETS="", VOUCHERIFY_ALLOW_UNSIGNED="1") as door:
        assert (await door.request("POST", PATH, data=BODY)).status == 202
    async with opened(server.url, VOUCHERIFY_ALLOW_UNSIGNED="1") as door:
        assert (await door.request("POST", PATH, data=BODY)).status == 401
    with pytest.raises(settings.SettingsError, match=r"VOUCHERIFY_WEBHOOK_SECRETS.*VOUCHERIFY_ALLOW_UNSIGNED"):
        async with opened(server.url, VOUCHERIFY_WEBHOOK_SECRETS=""):
            pass
    assert await redis.dbsize() > 0


# --- probes ---


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


# --- faults ---


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


@pytest.fixture
async def own_redis(own_server: EmbeddedServer) -> AsyncIterator[ArqRedis]:
    """A client of the test's own server."""
    client = ArqRedis.from_url(own_server.url)
    yield client
    await client.aclose()


async def test_a_frozen_server_is_503_in_time(own_server: EmbeddedServer) -> None:
    """While Redis hangs no webhook is acknowledged nor kept waiting; afterwards the same door goes on."""
    async with opened(own_server.url) as door:
        assert (await door.post(b"before", signature=_sign(b"before"))).status == 202
        own_server.freeze()
        before = time.monotonic()
        answers = await asyncio.gather(*(door.post(body, signature=_sign(body)) for body in [b"1", b"2", b"3"]))
        assert {answer.status for answer in answers} == {503}
        assert all(int(answer.headers["Retry-After"]) > 0 for answer in answers)
        assert time.monotonic() - before < 3
        await _not_ready(door, "out of reach")
        own_server.thaw()
        await _ready_again(door)


async def test_a_killed_server_comes_back(own_server: EmbeddedServer, own_redis: ArqRedis, keys: Keys) -> None:
    """A dead Redis is 503; started again on its data it has what was acknowledged, and the door goes on."""
    async with opened(own_server.url) as door:
        assert (await door.post(b"before", signature=_sign(b"before"))).status == 202
        own_server.kill()
        assert (await door.post()).status == 503
        await _not_ready(door, "out of reach")
        own_server.start()
        await _ready_again(door)
    assert set(await _stored(own_redis, keys)) == {keys.delivery_job(delivery_id(body)) for body in (b"before", BODY)}


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
