"""Reading a body within bounds: of size while it is read, of size after decompression, and of time."""

import asyncio
import zlib
from datetime import timedelta

from aiohttp import web

PATIENCE = timedelta(seconds=10)
"""How long a body may take to arrive; the sender gives the whole request up after as long."""

_GZIP = 16 + zlib.MAX_WBITS
_MOST_MEMBERS = 64  # each costs a copy of what follows it, and an empty one is only 20 bytes long
_IDENTITY = frozenset({"", "identity"})


class BodyTooLarge(Exception):  # noqa: N818 - named after what it is, as the answer is
    """The body is over the limit, as it came or decompressed."""


class BodyUnreadable(Exception):  # noqa: N818 - named after what it is, as the answer is
    """The body did not arrive whole or cannot be decompressed; the message says what was expected."""


async def read_body(request: web.Request, *, limit: int, patience: timedelta = PATIENCE) -> bytes:
    """Read the body and undo its content coding; `limit` in bytes holds before and after that.

    An empty body is a body like any other: whether it is wanted, its signature says.

    Raises:
        BodyTooLarge: it is over the limit; reading stopped there.
        BodyUnreadable: it broke off, its framing or compression is broken, or it took too long.
    """
    if (request.content_length or 0) > limit:
        raise BodyTooLarge
    try:
        if request.content.is_eof():  # it came together with its head
            raw = request.content.read_nowait()
        else:
            async with asyncio.timeout(patience.total_seconds()):
                raw = await _read_raw(request, limit)
    except TimeoutError:
        raise BodyUnreadable(f"expected the whole body within {patience.total_seconds():g} s") from None
    except (web.RequestPayloadError, ConnectionError) as exc:
        raise BodyUnreadable("expected a complete body, its transfer is broken") from exc
    if len(raw) > limit:
        raise BodyTooLarge
    return decompress(",".join(request.headers.getall("Content-Encoding", ())), raw, limit=limit)


def decompress(coding: str, data: bytes, *, limit: int) -> bytes:
    """Undo a content coding: gzip of one or several members, deflate with or without its zlib wrapper, or none.

    Raises:
        BodyTooLarge: more than `limit` bytes would come out; no more than that are ever made.
        BodyUnreadable: the coding is another one, or the data is cut off, damaged or followed by something else.
    """
    match coding.strip().lower():
        case word if word in _IDENTITY:
            return data
        case "gzip" | "x-gzip":
            return _gunzip(data, limit)
        case "deflate":
            return _inflate(data, limit)
        case _:
            raise BodyUnreadable("expected Content-Encoding gzip, deflate or none")


async def _read_raw(request: web.Request, limit: int) -> bytes:
    raw = bytearray()
    async for chunk in request.content.iter_any():
        raw += chunk
        if len(raw) > limit:
            raise BodyTooLarge
    return bytes(raw)


def _gunzip(data: bytes, limit: int) -> bytes:
    members: list[bytes] = []
    size = 0
    while data or not members:
        if len(members) == _MOST_MEMBERS:
            raise BodyUnreadable(f"expected at most {_MOST_MEMBERS} members of gzip")
        member, data = _one_stream(data, _GZIP, limit - size)
        members.append(member)
        size += len(member)
    return b"".join(members)


def _inflate(data: bytes, limit: int) -> bytes:
    try:
        body, rest = _one_stream(data, zlib.MAX_WBITS, limit)
    except BodyUnreadable:  # some senders leave the wrapper out that RFC 9110 demands
        body, rest = _one_stream(data, -zlib.MAX_WBITS, limit)
    if rest:
        raise BodyUnreadable("expected nothing behind the end of deflate")
    return body


def _one_stream(data: bytes, window_bits: int, room: int) -> tuple[bytes, bytes]:
    stream = zlib.decompressobj(window_bits)
    try:
        body = stream.decompress(data, room + 1)
    except zlib.error:
        raise BodyUnreadable("expected data as its Content-Encoding says") from None
    if len(body) > room:
        raise BodyTooLarge
    if not stream.eof:
        raise BodyUnreadable("expected compressed data up to its end, it is cut off")
    return body, stream.unused_data
