"""Whether a long queue makes claiming slower: a million jobs waiting against a thousand."""

import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import redis

from bench.context import Context
from bench.figures import Part, Row, median, shown
from bench.jobs import QUEUE, fill
from bench.processes import CountingWorker, fresh_server

LONG, SHORT = 1_000_000, 1_000
_BATCHES = 20
_SETTINGS = (
    f"no-op jobs through one worker of 100 slots: the first {_BATCHES * SHORT:,} of the long queue, and {_BATCHES} "
    "short queues one after another; the median over each thousand, from its first end to its last; Valkey without"
    " persistence"
)


def measure(context: Context) -> Part:
    """Measure both lengths."""
    found: dict[str, list[float]] = defaultdict(list)
    for number in range(context.rounds):
        for name, waiting in (("long", LONG), ("short", SHORT)):
            context.say(f"claiming, round {number + 1} of {context.rounds}: {name} queue")
            found[name].append(_rate(waiting))
    long, short = median(found["long"]), median(found["short"])
    row = Row(
        what="claim rate, 1,000,000 jobs waiting: against 1,000",
        measured=long / short if long and short else None,
        unit="times",
        demanded=0.9,
        note=f"{shown(long)} against {shown(short)} jobs a second",
    )
    return Part(rows=[row], raw={"jobs a second": found}, settings=_SETTINGS)


def _rate(waiting: int) -> float:
    jobs = _BATCHES * SHORT
    with fresh_server(durable=False) as server, redis.Redis.from_url(server.url) as client:
        fill(server.tcp_url, waiting, ours=True)
        with CountingWorker("worker_ours", Path(sys.executable), server.tcp_url, jobs=jobs, slots=100) as worker:
            worker.first()
            for batch in range(1, jobs // waiting):
                while client.zcard(QUEUE):
                    time.sleep(0.005)
                fill(server.tcp_url, SHORT, ours=True, first=batch * SHORT)
            return _of_batches(worker.counted().ends)


def _of_batches(ends: Sequence[float]) -> float:
    batches = [ends[first : first + SHORT] for first in range(0, len(ends), SHORT)]
    return statistics.median((len(batch) - 1) / (batch[-1] - batch[0]) for batch in batches)
