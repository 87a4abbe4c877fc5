"""Posting webhooks as Voucherify does: signed, many at a time, and counting what is answered."""

import asyncio
import hashlib
import hmac
import json
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta

import aiohttp

TIME_OUT = timedelta(seconds=10)
"""As long as Voucherify waits for an answer."""

STORED = "stored"
DUPLICATE = "duplicate"
ACKNOWLEDGED = "acknowledged"
"""A 2xx in another form than the door's: whoever answered, Voucherify would be content."""
OUT_OF_REACH = "out_of_reach"

_CONTENT = frozenset({STORED, DUPLICATE, ACKNOWLEDGED})
_NAMES = {400: "bad_request", 401: "unauthorized", 413: "too_large", 503: "unavailable"}


@dataclass
class Tally:
    """What was answered, counted."""

    answers: Counter[str] = field(default_factory=Counter)
    details: dict[str, str] = field(default_factory=dict)
    """For each answer that is no acknowledgement, what the first one said."""
    delivery: str = ""
    """The first delivery's id, as the door gave it."""
    seconds: float = 0.0

    @property
    def acknowledged(self) -> bool:
        """Whether every single one was."""
        return set(self.answers) <= _CONTENT

    @property
    def out_of_reach(self) -> bool:
        """Whether nobody listened, for all of them."""
        return set(self.answers) == {OUT_OF_REACH}


def sign(body: bytes, secret: str) -> str:
    """Return the signature of a body: HMAC-SHA256 over the bytes, in lower-case hexadecimal."""
    return hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


async def post_all(
    bodies: Iterable[bytes], *, url: str, secret: str, concurrency: int, step: Callable[[], None] = lambda: None
) -> Tally:
    """Post every body once, so many at a time, and return what was answered; `secret` empty: unsigned."""
    tally = Tally()
    started = time.monotonic()
    waiting = iter(bodies)
    connector = aiohttp.TCPConnector(limit=concurrency)
    time_out = aiohttp.ClientTimeout(total=TIME_OUT.total_seconds())
    async with (
        aiohttp.ClientSession(connector=connector, timeout=time_out) as session,
        asyncio.TaskGroup() as senders,
    ):
        for _ in range(concurrency):
            senders.create_task(_send(session, waiting, tally, url=url, secret=secret, step=step))
    tally.seconds = time.monotonic() - started
    return tally


async def _send(
    session: aiohttp.ClientSession,
    bodies: Iterator[bytes],
    tally: Tally,
    *,
    url: str,
    secret: str,
    step: Callable[[], None],
) -> None:
    for body in bodies:
        answer, detail = await _post(session, body, url=url, secret=secret)
        tally.answers[answer] += 1
        if answer in _CONTENT:
            tally.delivery = tally.delivery or detail
        else:
            tally.details.setdefault(answer, detail)
        step()


async def _post(session: aiohttp.ClientSession, body: bytes, *, url: str, secret: str) -> tuple[str, str]:
    headers = {"Content-Type": "application/json"}
    if secret:
        headers["X-Voucherify-Signature"] = sign(body, secret)
    try:
        async with session.post(url, data=body, headers=headers, allow_redirects=False) as response:
            return _meaning(response.status, await response.read())
    except aiohttp.ClientConnectorError as exc:
        return OUT_OF_REACH, type(exc).__name__
    except TimeoutError:
        return "timed_out", f"no answer within {TIME_OUT.total_seconds():g} s"
    except (aiohttp.ClientError, OSError) as exc:
        return "broken_off", type(exc).__name__


def _meaning(status: int, body: bytes) -> tuple[str, str]:
    """Return an answer's name, with the delivery's id or what else it says."""
    try:
        said = json.loads(body)
    except ValueError:
        said = None
    said = said if isinstance(said, dict) else {}
    if status // 100 == 2:  # noqa: PLR2004 - any success counts, as it does for Voucherify
        word = str(said.get("status"))
        return (word if word in _CONTENT else ACKNOWLEDGED), str(said.get("delivery", ""))
    return _NAMES.get(status, str(status)), str(said.get("detail") or said.get("title") or "")
