"""A door that tests open over real HTTP, and what they send to it."""

import asyncio
import hashlib
import hmac
import io
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
from arq.connections import ArqRedis

from ingest.serving import open_door
from rewardpost import settings
from rewardpost.keys import Keys

SECRET = "the secret of the tests"
PATH = "/webhooks/voucherify"
BODY = json.dumps({"event": {"type": "customer.rewarded"}, "note": "x y"}, separators=(",", ":")).encode()
LIMIT = 1_048_576
LENGTH = f"Content-Length: {len(BODY)}"


def sign(body: bytes) -> str:
    """Sign as Voucherify does."""
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
            signature = sign(body if isinstance(body, bytes) else BODY)
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
        while not await condition():
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


async def stored(redis: ArqRedis, keys: Keys) -> list[str]:
    """Return the ids of the jobs on the queue."""
    return [job.decode() for job in await redis.zrange(keys.queue, 0, -1)]


def head(*headers: str, signature: str | None = sign(BODY), method: str = "POST") -> bytes:
    """Return the head of a raw request, as a sender would write it."""
    lines = [f"{method} {PATH} HTTP/1.1", "Host: door", *headers]
    if signature is not None:
        lines.append(f"X-Voucherify-Signature: {signature}")
    return "\r\n".join([*lines, "", ""]).encode("utf-8", "surrogateescape")
