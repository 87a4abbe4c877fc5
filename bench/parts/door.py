"""The door: webhooks acknowledged and synced to disk, against other doors and against one that stores nothing."""

import contextlib
import json
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import redis

from bench.context import Context
from bench.environment import ROOT, Environments
from bench.figures import Line, Part, Plot, Row, against
from bench.peers.door_settings import PATH, SECRET
from bench.processes import HOST, Broken, free_port, fresh_server, running, until_open

CONNECTIONS = 32
_LOADS = (1, 8, 32, 128)
_PLOTTED = ("ours", "stock arq", "BullMQ")
_MOST_A_SECOND = {
    "no queue": 26_000,
    "ours without a queue": 20_000,
    "BullMQ": 18_000,
}  # requests are prepared for so many
_MOST_OF_OTHERS = 14_000
_QUEUES = {"ours": "arq:queue", "stock arq": "arq:queue", "Celery": "celery", "BullMQ": "bull:deliveries:wait"}
_SETTINGS = (
    "one process each; Valkey with appendfsync always, over TCP; 4 kB bodies, all different and signed; "
    "a closed loop of keep-alive connections"
)

Figures = dict[str, Any]


@dataclass(frozen=True)
class Door:
    """A door to measure: its command for a port and a server's URL."""

    command: Sequence[str | Path]
    environment: Mapping[str, str]
    cwd: Path = ROOT


def measure(context: Context) -> Part:
    """Measure all doors."""
    many: dict[str, list[Figures]] = defaultdict(list)
    one: dict[str, list[Figures]] = defaultdict(list)
    curves: dict[str, list[Figures]] = {}
    for number in range(context.rounds):
        for name in _names(context.peers):
            context.say(f"door, round {number + 1} of {context.rounds}: {name}")
            with _open(name, context.peers) as (port, taken):
                most = _MOST_A_SECOND.get(name, _MOST_OF_OTHERS)
                many[name].append(_load(port, CONNECTIONS, 5.0 if context.full else 2.0, most))
                if name in _PLOTTED:
                    one[name].append(_load(port, 1, 2.0 if context.full else 1.0, most // 3))
                if number == 0 and name in _PLOTTED:
                    curves[name] = [_load(port, load, 0.8, most) | {"connections": load} for load in _LOADS]
                taken.extend([*many[name][-1:], *(one[name][-1:] if name in _PLOTTED else [])])
                taken.extend(curves[name] if number == 0 and name in _PLOTTED else [])
    raw = {f"{CONNECTIONS} connections": many, "one connection": one, "by connections": curves}
    return Part(rows=_rows(many, one), raw=raw, settings=_SETTINGS, plots=_plots(curves))


def _names(peers: Environments) -> list[str]:
    names = ["ours", "no queue", "ours without a queue", "stock arq"]
    return [*names, *(["Celery"] if peers.python else []), *(["BullMQ"] if peers.node else [])]


def _rows(many: Mapping[str, Sequence[Figures]], one: Mapping[str, Sequence[Figures]]) -> list[Row]:
    rate = {name: [found["a_second"] for found in rounds] for name, rounds in many.items()}
    p99 = {name: [found["p99_ms"] for found in rounds] for name, rounds in many.items()}
    alone = {name: [found["p50_ms"] for found in rounds] for name, rounds in one.items()}
    what = f"webhooks acknowledged and synced, {CONNECTIONS} connections, a second"
    return [
        against(rate, "stock arq", what=f"{what}: against aiohttp with stock enqueue_job", demanded=2.2, aim=3),
        against(rate, "BullMQ", what=f"{what}: against Fastify with BullMQ", demanded=1.1, aim=1.4),
        against(p99, "BullMQ", what="the same, p99 in ms: against Fastify with BullMQ", demanded=1, at_most=True),
        against(
            rate,
            "ours without a queue",
            what=f"{what}: against the same handler without a queue",
            demanded=0.5,
            aim=0.7,
        ),
        against(rate, "no queue", what=f"{what}: against a bare handler: no queue, log or metrics"),
        against(rate, "Celery", what=f"{what}: against FastAPI with Celery"),
        against(
            alone, "stock arq", what="one connection, p50 in ms: against stock", demanded=0.75, aim=0.6, at_most=True
        ),
    ]


def _plots(curves: Mapping[str, Sequence[Figures]]) -> list[Plot]:
    lines = [
        Line(
            name=f"{name}, {part[:3]}",
            points=[(found["connections"], found[part]) for found in curve],
            dashed=part == "p99_ms",
        )
        for part in ("p50_ms", "p99_ms")
        for name, curve in curves.items()
    ]
    return [
        Plot(
            file="door-latency.svg",
            title="Acknowledged and synced: latency against load",
            x="connections that send without a pause",
            y="milliseconds",
            lines=lines,
            log_x=True,
            log_y=True,
        ),
        Plot(
            file="door-throughput.svg",
            title="Acknowledged and synced: throughput against load",
            x="connections that send without a pause",
            y="webhooks a second",
            lines=[
                Line(name=name, points=[(found["connections"], found["a_second"]) for found in curve])
                for name, curve in curves.items()
            ],
            log_x=True,
        ),
    ]


@contextlib.contextmanager
def _open(name: str, peers: Environments) -> Iterator[tuple[int, list[Figures]]]:
    """Run a door on a server of its own; what it acknowledged, put in the list, has to be there at the end."""
    port, taken = free_port(), list[Figures]()
    with fresh_server(durable=True) as server:
        door = _door(name, port, server.tcp_url, peers)
        with running(door.command, door.environment, cwd=door.cwd) as process:
            until_open(port, process)
            yield port, taken
            if name in _QUEUES:
                _expect_stored(server.tcp_url, _QUEUES[name], sum(found["acknowledged_in_all"] for found in taken))


def _expect_stored(url: str, queue: str, acknowledged: int) -> None:
    with redis.Redis.from_url(url) as client:
        stored: Any = client.llen(queue) if client.type(queue) == b"list" else client.zcard(queue)
    if stored != acknowledged:
        raise Broken(f"expected {acknowledged} jobs, as many as were acknowledged, got {stored} in {queue}")


def _door(name: str, port: int, url: str, peers: Environments) -> Door:
    options = [f"--port={port}", f"--url={'none' if name == 'no queue' else url}"]
    match name:
        case "ours":
            environment = {
                "REDIS_URL": url,
                "INGEST_HOST": HOST,
                "INGEST_PORT": str(port),
                "VOUCHERIFY_WEBHOOK_SECRETS": SECRET,
            }
            return Door([sys.executable, "-m", "ingest"], environment)
        case "ours without a queue":
            return Door([sys.executable, "-m", "bench.peers.door_unstored", *options], {})
        case "no queue" | "stock arq":
            return Door([sys.executable, "-m", "bench.peers.door_aiohttp", *options], {})
        case "Celery" if peers.python:
            return Door([peers.python, "-m", "bench.peers.door_fastapi", *options], {})
        case "BullMQ" if peers.node:
            return Door(["node", "door.mjs", str(port), url, PATH, SECRET], {"NODE_ENV": "production"}, peers.node)
    raise Broken(f"expected a door, got {name}")


_bodies_used = iter(range(0, 10**9, 10**6))


def _load(port: int, connections: int, seconds: float, most: int) -> Figures:
    told = {
        "port": port,
        "connections": connections,
        "seconds": seconds,
        "requests": int((seconds + 0.3) * most),
        "first": next(_bodies_used),
    }
    run = subprocess.run(  # noqa: S603 - our own module, no shell
        [sys.executable, "-m", "bench.load", *(f"--{name}={value}" for name, value in told.items())],
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    if run.returncode:
        raise Broken(f"expected figures of the load, got: {run.stderr.decode().strip().splitlines()[-1:]}")
    found: Figures = json.loads(run.stdout)
    if set(found["answers"]) != {"202"}:
        raise Broken(f"expected nothing but acknowledgements, got answers {found['answers']}")
    return found
