"""The load generator, run as a process of its own: raw keep-alive connections that each send one webhook after another.

A closed loop: a connection sends its next webhook when the last one is answered. All requests are made and signed
before the time is taken. Prints one JSON object: answers by status, seconds, and latencies in milliseconds.
"""

import asyncio
import json
import re
import sys
import time
from argparse import ArgumentParser
from collections import Counter
from collections.abc import Iterator
from typing import Any

import uvloop

from bench.deliveries import bodies, signature
from bench.figures import percentile
from bench.peers.door_settings import PATH
from bench.processes import HOST

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
ACKNOWLEDGED = 202

_HEAD_END = b"\r\n\r\n"


def request(body: bytes) -> bytes:
    """Return a whole signed request."""
    lines = (
        f"POST {PATH} HTTP/1.1",
        "Host: door",
        "Content-Type: application/json",
        f"X-Voucherify-Signature: {signature(body).decode()}",
        f"Content-Length: {len(body)}",
    )
    return "\r\n".join(lines).encode() + _HEAD_END + body


class Sender(asyncio.Protocol):
    """One connection: sends, waits for the whole answer, notes how long it took, sends the next."""

    def __init__(self, load: "Load") -> None:
        self._load = load
        self._buffer = b""
        self._sent = 0.0
        self._transport: Any = None
        self.ended = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the first request."""
        self._transport = transport
        self._send()

    def data_received(self, data: bytes) -> None:
        """Take a piece of the answer; the last one lets the next request go."""
        self._buffer += data
        head = self._buffer.find(_HEAD_END)
        if head < 0:
            return
        found = _LENGTH.search(self._buffer, 0, head)
        if found is None:
            raise RuntimeError("expected an answer with its Content-Length")
        if len(self._buffer) >= head + len(_HEAD_END) + int(found[1]):
            self._load.note(int(self._buffer[9:12]), time.perf_counter() - self._sent)
            self._buffer = b""
            self._send()

    def connection_lost(self, exc: Exception | None) -> None:
        """Note an answer that never comes."""
        if not self.ended.done():
            self.ended.set_exception(exc or ConnectionError("expected a connection that lasts, the door closed it"))

    def _send(self) -> None:
        following = None if self._load.over else next(self._load.requests, None)
        if following is None:
            if not self.ended.done():
                self.ended.set_result(None)
            self._transport.close()
            return
        self._sent = time.perf_counter()
        self._transport.write(following)


class Load:
    """What all connections share; the first `warm_up` seconds do not count."""

    def __init__(self, requests: Iterator[bytes], *, warm_up: float, seconds: float) -> None:
        self.requests = requests
        self.answers: Counter[int] = Counter()
        self.acknowledged = 0
        """All of them, those of the warm-up too."""
        self.latencies: list[float] = []
        self._begin = time.perf_counter() + warm_up
        self._end = self._begin + seconds
        self._last = self._begin

    @property
    def over(self) -> bool:
        """Whether no further request is to be sent."""
        return time.perf_counter() >= self._end

    def note(self, status: int, latency: float) -> None:
        """Take an answer into account."""
        now = time.perf_counter()
        self.acknowledged += status == ACKNOWLEDGED
        if self._begin <= now:
            self.answers[status] += 1
            self.latencies.append(latency)
            self._last = now

    def summary(self) -> dict[str, Any]:
        """Return the figures."""
        seconds = self._last - self._begin
        acknowledged = self.answers[ACKNOWLEDGED]
        milliseconds = [latency * 1000 for latency in self.latencies] or [0.0]
        return {
            "answers": self.answers,
            "acknowledged_in_all": self.acknowledged,
            "seconds": seconds,
            "a_second": acknowledged / seconds if seconds else 0.0,
            "p50_ms": percentile(milliseconds, 0.5),
            "p99_ms": percentile(milliseconds, 0.99),
            "longest_ms": max(milliseconds),
        }


async def send(port: int, connections: int, load: Load) -> None:
    """Send over so many connections until the time is over."""
    loop = asyncio.get_running_loop()
    made = await asyncio.gather(*(loop.create_connection(lambda: Sender(load), HOST, port) for _ in range(connections)))
    await asyncio.gather(*(sender.ended for _, sender in made))


def main() -> None:
    """Prepare, send, and print what was found."""
    parser = ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--connections", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--warm-up", type=float, default=0.3)
    parser.add_argument("--requests", type=int, required=True)
    parser.add_argument("--first", type=int, default=0, help="number of the first body")
    told = parser.parse_args()
    requests = [request(body) for body in bodies(told.requests, first=told.first)]
    load = Load(iter(requests), warm_up=told.warm_up, seconds=told.seconds)
    uvloop.run(send(told.port, told.connections, load))
    json.dump(load.summary(), sys.stdout)


if __name__ == "__main__":
    main()
