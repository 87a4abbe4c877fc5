"""One write over HTTP, for the providers that make one: what keeps it from landing late, and how it can end.

| an exception of | says |
| --- | --- |
| `NOT_SENT` | the request was never written: certainly not applied |
| `FAILURES`, with `DeadlineBody.withheld` | the request's head was written, its body was not: certainly not applied |
| `FAILURES` otherwise | nobody knows what became of it |

`failure` decides so. A write goes over a connection of its own (`CLOSE`): one that was kept open may be closed by the
other side just as we write, and that cannot be told from a request that was taken. aiohttp repeats a request by
itself only on methods that it calls idempotent, and POST is none of them.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime

import aiohttp
from aiohttp.abc import AbstractStreamWriter

from worker.providers.protocol import NotApplied, Unknown

CLOSE: Mapping[str, str] = {"Connection": "close"}
"""The header by which a call leaves no connection behind; every call to the host of a write needs it, reads too: a
write would take over the connection that a read has left open."""
LONGEST_REQUEST_ID = 128
"""Characters of a provider's own id of a request; a longer one is not taken over."""
REQUEST_ID = "X-Request-Id"
"""The header in which most servers send it."""

FAILURES = (aiohttp.ClientError, OSError, TimeoutError)
"""What a call may raise; the body of an answer too."""
# Raised by aiohttp (client.py, `_connect_and_send_request`) only before the request is written.
NOT_SENT = (
    aiohttp.ClientConnectorError,  # also DNS, TLS and certificates
    aiohttp.ConnectionTimeoutError,
    aiohttp.InvalidURL,
    aiohttp.NonHttpUrlClientError,
)
"""Those after which it is certain that nothing was sent."""


class DeadlinePassedError(Exception):
    """The deadline passed while the connection was made."""


class DeadlineBody(aiohttp.BytesPayload):
    """A body that is not sent once the deadline has passed, however long the connection took to make."""

    def __init__(
        self,
        body: bytes,
        content_type: str,
        deadline: datetime,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        super().__init__(body, content_type=content_type)
        self.withheld = False
        self._deadline = deadline
        self._now = now

    async def write_with_length(self, writer: AbstractStreamWriter, content_length: int | None) -> None:
        """Write the body, or raise `DeadlinePassedError` before its first byte."""
        if self._now() >= self._deadline:
            self.withheld = True
            raise DeadlinePassedError
        await super().write_with_length(writer, content_length)


def time_out(left: float) -> aiohttp.ClientTimeout:
    """Return the bounds of a call with so many seconds left.

    Half of them are for the connection, so that one that cannot be made is certain to end as "not sent". aiohttp
    rounds waits above `ceil_threshold` up to a whole second, which would be after the deadline.
    """
    return aiohttp.ClientTimeout(total=left, connect=left / 2, ceil_threshold=left + 1)


def failure(exc: BaseException, body: DeadlineBody) -> NotApplied | Unknown:
    """Return what one of `FAILURES` says of the write of this body."""
    if isinstance(exc, NOT_SENT):
        return NotApplied(f"could not connect ({type(exc).__name__})")
    if body.withheld:
        return NotApplied("the deadline passed before the body was sent")
    return Unknown(f"no answer ({type(exc).__name__})")


def request_id(response: aiohttp.ClientResponse) -> str:
    """Return the provider's own id of the request, empty where the answer has none that may stand in a log."""
    return printable(response.headers.get(REQUEST_ID, ""), LONGEST_REQUEST_ID)


def printable(text: str, longest: int) -> str:
    """Return an id that may stand in a log, or nothing."""
    return text if len(text) <= longest and text.isascii() and text.isprintable() else ""
