"""No-op jobs through one worker process of a hundred slots: ours against other queues."""

import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.context import Context
from bench.figures import Part, against
from bench.jobs import fill, fill_peer
from bench.processes import CountingWorker, fresh_server

SLOTS = 100
_SETTINGS = (
    f"one process each, {SLOTS} slots, jobs that do nothing and whose results are not kept, on the queue before the "
    "worker starts; Valkey without persistence, over TCP; uvloop everywhere; taskiq on its Redis stream"
)


@dataclass(frozen=True)
class _Worker:
    name: str
    module: str
    python: Path
    jobs: int
    poll: float = 0.5


def measure(context: Context) -> Part:
    """Measure all workers."""
    found: dict[str, list[float]] = defaultdict(list)
    for number in range(context.rounds):
        for worker in _workers(context):
            context.say(f"no-op jobs, round {number + 1} of {context.rounds}: {worker.name}")
            found[worker.name].append(_rate(worker))
    demands = [("stock arq, poll 0.01", 8, 12), ("SAQ", 8, 12), ("streaq", 8, 12), ("taskiq", 8, 12)]
    rows = [
        against(found, name, what=f"no-op jobs a second: against {name}", demanded=least, aim=aim)
        for name, least, aim in demands
    ]
    rows.append(against(found, "stock arq, poll 0.5", what="no-op jobs a second: against stock arq, poll 0.5"))
    return Part(rows=rows, raw={"jobs a second": found}, settings=_SETTINGS)


def _workers(context: Context) -> Sequence[_Worker]:
    own = Path(sys.executable)
    much = 4 if context.full else 1
    workers = [
        _Worker("ours", "worker_ours", own, 50_000 * much),
        _Worker("stock arq, poll 0.5", "worker_arq", own, 2_000 * much),
        _Worker("stock arq, poll 0.01", "worker_arq", own, 6_000 * much, poll=0.01),
    ]
    if context.peers.python is None:
        return workers
    modules = {"SAQ": ("worker_saq", 6_000), "streaq": ("worker_streaq", 6_000), "taskiq": ("worker_taskiq", 10_000)}
    return [
        *workers,
        *(_Worker(name, module, context.peers.python, jobs * much) for name, (module, jobs) in modules.items()),
    ]


def _rate(worker: _Worker) -> float:
    with fresh_server(durable=False) as server:
        if worker.module in {"worker_ours", "worker_arq"}:
            fill(server.tcp_url, worker.jobs, ours=worker.module == "worker_ours")
        else:
            fill_peer(worker.module, worker.python, server.tcp_url, worker.jobs)
        with CountingWorker(
            worker.module, worker.python, server.tcp_url, jobs=worker.jobs, slots=SLOTS, poll=worker.poll
        ) as process:
            process.first()
            return process.counted().rate
