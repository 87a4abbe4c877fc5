"""What the door refuses, over real HTTP: nothing of it is stored, logged or repeated."""

import gzip
import io
import json
import logging
import zlib
from collections.abc import AsyncIterator

import pytest
from arq.connections import ArqRedis

from cli.embedded_server import EmbeddedServer
from rewardpost import logs, settings
from tests.door_client import BODY, LENGTH, LIMIT, PATH, Door, head, opened, sign


@pytest.mark.parametrize(
    "head",
    [
        pytest.param(head(LENGTH, signature=None), id="missing"),
        pytest.param(head(LENGTH, signature=""), id="empty"),
        pytest.param(head(LENGTH, f"x-voucherify-signature: {sign(BODY)}"), id="doubled"),
        pytest.param(head(LENGTH, signature=sign(BODY).upper()), id="upper case"),
        pytest.param(head(LENGTH, signature=sign(b"another")), id="of another body"),
        pytest.param(head(LENGTH, signature="\udcff" * 64), id="not text"),
        pytest.param(head(LENGTH, signature="0" * 8000), id="very long"),
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
    assert (await door.post(pieces(), signature=sign(body))).status == 413
    assert await redis.dbsize() == 0


async def test_a_small_limit_holds_for_a_body_that_comes_with_its_head(server: EmbeddedServer, redis: ArqRedis) -> None:
    """A body of undeclared length that is there at once is measured like one that is read piece by piece."""
    body = b"x" * 1025
    chunked = (
        head("Transfer-Encoding: chunked", "Connection: close", signature=sign(body)) + b"401\r\n%b\r\n0\r\n\r\n" % body
    )
    async with opened(server.url, INGEST_MAX_BODY_BYTES="1024") as door:
        assert (await door.raw(chunked)).startswith(b"HTTP/1.1 413 ")
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
    answer = await door.post(sent, headers={"Content-Encoding": coding}, signature=sign(BODY))
    assert answer.status == 400
    assert await redis.dbsize() == 0


@pytest.mark.parametrize(
    "request_bytes",
    [
        pytest.param(head("Transfer-Encoding: chunked") + b"zz\r\nhello\r\n", id="no chunk size"),
        pytest.param(head("Transfer-Encoding: chunked") + b"5\r\nhelloworld\r\n0\r\n\r\n", id="wrong chunk size"),
        pytest.param(head("Transfer-Encoding: chunked", LENGTH) + BODY, id="two framings"),
        pytest.param(head("Content-Length: -5") + BODY, id="negative length"),
        pytest.param(head("Content-Length: five") + BODY, id="no length"),
        pytest.param(head(LENGTH, "Content-Length: 7") + BODY, id="two lengths"),
        pytest.param(head(LENGTH, f"X-Long: {'x' * 20_000}") + BODY, id="huge header"),
        pytest.param(head(LENGTH, *(f"X-{n}: 1" for n in range(500))) + BODY, id="many headers"),
        pytest.param(head(LENGTH, method="BREW") + BODY, id="unknown method"),
        pytest.param(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 Anna", id="TLS"),
        pytest.param(b"POST " + b"/Anna" * 5000 + b" HTTP/1.1\r\n\r\n", id="huge path"),
        pytest.param(head(LENGTH).replace(b"HTTP/1.1", b"HTTP/9.9") + BODY, id="unknown version"),
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
        pytest.param((head(f"Content-Length: {len(BODY) + 10}"), BODY), id="less than declared"),
        pytest.param((head("Transfer-Encoding: chunked"), b"5\r\nhel"), id="in a chunk"),
        pytest.param((head("Transfer-Encoding: chunked"), b"5\r\nhello\r\n"), id="between chunks"),
        pytest.param((head(LENGTH)[:40],), id="in the head"),
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
    answer = await door.raw(head(f"Content-Length: {len(BODY) - 5}"), BODY)
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
            await door.raw(head("Transfer-Encoding: chunked", "X: Anna") + b"Anna\r\n", end=True)
            await door.raw(head("Content-Length: 50"), b"Anna", end=True)
            await door.post(b"Anna", headers={"Content-Encoding": "Anna", "User-Agent": "Anna"})
            await door.post(b"Anna", signature="Anna")
            for _ in range(2):
                await door.post(b"Anna", headers={"X-Request-Id": "Anna"})
            await door.request("GET", "/Anna?name=Anna")
    finally:
        root.handlers[:] = before
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert {"webhook_refused", "request_refused", "webhook_repeated"} <= {line["event"] for line in lines}
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
