"""Stands in for Voucherify's API and for the operator's own system, as a process of its own that answers at once.

`GET /v1/customers/…` is answered with an address, `POST /orders` with 204, `GET /counts` with what has come so far.
More than the limit in any window is answered 429: the window slides, which is stricter than one that starts by the
clock.
"""

import asyncio
import bisect
import json
import re
import sys
import time
from argparse import ArgumentParser
from collections import deque
from typing import Any

import uvloop

from bench.processes import HOST

LOOK_UPS, ORDERS = "look_ups", "orders"

CLOSE_LOOK = 3.0
"""Seconds; the most calls in any time as long are told too."""

_HEAD_END = b"\r\n\r\n"
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_CUSTOMER = json.dumps(
    {
        "id": "cust_bench",
        "name": "Tess Testperson",
        "address": {"line_1": "Probestrasse 7", "city": "Musterstadt", "postal_code": "10117", "country": "DE"},
    }
).encode()


class Limit:
    """Counts calls, and says which come too soon."""

    def __init__(self, most: int, window: float) -> None:
        self.times: list[float] = []
        self.refused = 0
        self._most = most
        self._window = window
        self._recent: deque[float] = deque()

    def takes(self) -> bool:
        """Count a call and say whether it is within the limit."""
        now = time.monotonic()
        while self._recent and self._recent[0] <= now - self._window:
            self._recent.popleft()
        if self._most and len(self._recent) >= self._most:
            self.refused += 1
            return False
        self._recent.append(now)
        self.times.append(now)
        return True

    def counts(self) -> dict[str, float | None]:
        """Return what has come."""
        first, last = (self.times[0], self.times[-1]) if self.times else (None, None)
        most = max(
            (number + 1 - bisect.bisect(self.times, at - CLOSE_LOOK) for number, at in enumerate(self.times)), default=0
        )
        return {"taken": len(self.times), "refused": self.refused, "first": first, "last": last, "most": most}


class Answering(asyncio.Protocol):
    """One connection."""

    def __init__(self, limits: dict[str, Limit]) -> None:
        self._limits = limits
        self._buffer = b""
        self._transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer every request that is whole."""
        self._buffer += data
        while (head := self._buffer.find(_HEAD_END)) >= 0:
            length = _LENGTH.search(self._buffer, 0, head)
            end = head + len(_HEAD_END) + (int(length[1]) if length else 0)
            if len(self._buffer) < end:
                return
            line, self._buffer = self._buffer[: self._buffer.find(b"\r\n")], self._buffer[end:]
            self._transport.write(self._answer(line))

    def _answer(self, line: bytes) -> bytes:
        if line.startswith(b"GET /counts"):
            return _response(b"200 OK", json.dumps({name: lim.counts() for name, lim in self._limits.items()}).encode())
        kind = ORDERS if line.startswith(b"POST") else LOOK_UPS
        if not self._limits[kind].takes():
            return _response(b"429 Too Many Requests", b"{}", b"Retry-After: 1\r\n")
        return _response(b"204 No Content", b"") if kind == ORDERS else _response(b"200 OK", _CUSTOMER)


def _response(status: bytes, body: bytes, more: bytes = b"") -> bytes:
    length = b"" if status.startswith(b"204") else b"Content-Length: %d\r\n" % len(body)
    return b"HTTP/1.1 %s\r\nContent-Type: application/json\r\n%s%s\r\n%s" % (status, more, length, body)


async def serve(port: int, limits: dict[str, Limit]) -> None:
    """Serve until ended."""
    server = await asyncio.get_running_loop().create_server(lambda: Answering(limits), HOST, port)
    await server.serve_forever()


def main() -> int:
    """Serve until ended."""
    parser = ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--look-ups", type=int, default=0, help="the limit in a window; 0: none")
    parser.add_argument("--look-ups-window", type=float, default=60)
    parser.add_argument("--orders", type=int, default=0, help="the same")
    parser.add_argument("--orders-window", type=float, default=1)
    told = parser.parse_args()
    limits = {
        LOOK_UPS: Limit(told.look_ups, told.look_ups_window),
        ORDERS: Limit(told.orders, told.orders_window),
    }
    uvloop.run(serve(told.port, limits))
    return 0


if __name__ == "__main__":
    sys.exit(main())
