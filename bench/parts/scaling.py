"""Jobs of 50 ms on more and more worker processes: what share of the possible is reached."""

import contextlib
import sys
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench.context import Context
from bench.figures import Line, Part, Plot, Row, median, shown
from bench.jobs import fill
from bench.processes import CountingWorker, fresh_server

WORKERS = (1, 2, 4, 8)
_SLOTS = 25
_JOB_SECONDS = 0.05
_POSSIBLE = _SLOTS / _JOB_SECONDS
_DEMANDED = {1: 0.85, 2: 0.85, 4: 0.85, 8: 0.75}
_AIM = 0.9
_SETTLE_SECONDS = 0.5
_PEERS = {"ours": ("worker_ours", 0.5), "stock arq, poll 0.5": ("worker_arq", 0.5), "poll 0.01": ("worker_arq", 0.01)}
_SETTINGS = (
    f"{_SLOTS} slots a worker, jobs that sleep {_JOB_SECONDS * 1000:g} ms, more of them on the queue than can be done; "
    "counted in a window that begins when all workers are at work; Valkey without persistence, over TCP"
)

Found = Mapping[str, Mapping[int, Sequence[float]]]


def measure(context: Context) -> Part:
    """Measure ours in every round, arq's own worker in the first one, or in every round of a full run."""
    found: dict[str, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    seconds = 5.0 if context.full else 2.5
    for number in range(context.rounds):
        for workers in WORKERS:
            for name, (module, poll) in _PEERS.items():
                if name != "ours" and number and not context.full:
                    continue
                context.say(f"scaling, round {number + 1} of {context.rounds}: {name}, {workers} workers")
                found[name][workers].append(_rate(module, poll, workers, seconds))
    return Part(rows=_rows(found), raw={"jobs a second": found}, settings=_SETTINGS, plots=[_plot(found)])


def _rate(module: str, poll: float, workers: int, seconds: float) -> float:
    jobs = int(_POSSIBLE * workers * (seconds + 4))  # they start one after another, on two cores
    with fresh_server(durable=False) as server, contextlib.ExitStack() as stack:
        fill(server.tcp_url, jobs, ours=module == "worker_ours")
        crew = [
            stack.enter_context(
                CountingWorker(
                    module, Path(sys.executable), server.tcp_url, slots=_SLOTS, seconds=_JOB_SECONDS, poll=poll
                )
            )
            for _ in range(workers)
        ]
        begin = max(worker.first() for worker in crew) + _SETTLE_SECONDS
        time.sleep(max(begin + seconds - time.monotonic(), 0))
        counts = [worker.counted(at_once=True) for worker in crew]
    ends = [end for count in counts for end in count.ends]
    return sum(begin <= end < begin + seconds for end in ends) / seconds


def _rows(found: Found) -> list[Row]:
    rows = []
    for workers in WORKERS:
        rate = median(found["ours"][workers]) or 0.0
        stock = ", ".join(f"{name}: {shown(median(found[name][workers]))}" for name in _PEERS if name != "ours")
        rows.append(
            Row(
                what=f"50 ms jobs, {_SLOTS} slots a worker, {workers} workers: of the possible",
                measured=rate / (_POSSIBLE * workers),
                demanded=_DEMANDED[workers],
                aim=_AIM,
                note=f"{shown(rate)} of {shown(_POSSIBLE * workers)} a second; {stock}",
            )
        )
    return rows


def _plot(found: Found) -> Plot:
    ideal = Line(name="possible", points=[(workers, _POSSIBLE * workers) for workers in WORKERS], dashed=True)
    lines = [
        Line(name=name, points=[(workers, median(rates) or 0.0) for workers, rates in sorted(by_workers.items())])
        for name, by_workers in found.items()
    ]
    return Plot(
        file="workers-throughput.svg",
        title="50 ms jobs, 25 slots a worker: throughput against workers",
        x="worker processes",
        y="jobs a second",
        lines=[*lines, ideal],
    )
