"""How soon an idle worker starts a job, and how many commands it sends while it has nothing to do."""

import asyncio
import random
import sys
import time
from collections import Counter
from datetime import timedelta
from pathlib import Path

import redis

from bench.context import Context
from bench.figures import Part, Row, percentile
from bench.processes import CountingWorker, fresh_server, running
from rewardpost.client import SharingRedis
from rewardpost.connection import connect

_GAP_SECONDS = (0.005, 0.025)
_SETTINGS = (
    "one worker of 100 slots that has nothing else to do; jobs enqueued one at a time by our client, with pauses of 5 "
    "to 25 ms; Valkey without persistence, over TCP; the idle worker is `python -m worker`, seen by MONITOR"
)


def measure(context: Context) -> Part:
    """Measure both."""
    jobs = 1000 if context.full else 300
    waits: list[list[float]] = []
    for number in range(context.rounds):
        context.say(f"pickup, round {number + 1} of {context.rounds}")
        waits.append(_waits(jobs))
    seconds = 20.0 if context.full else 6.0
    context.say("an idle worker")
    sent = _idle_commands(seconds)
    of_all = sorted(wait * 1000 for round_ in waits for wait in round_)
    rows = [
        Row(
            what=f"pickup by an idle worker, {name}",
            measured=percentile(of_all, share),
            unit="ms",
            demanded=most,
            at_most=True,
        )
        for name, share, most in (("p50", 0.5, 2), ("p99", 0.99, 4))
    ]
    rows.append(
        Row(
            what="Redis commands that an idle worker sends, a second",
            measured=sum(sent.values()) / seconds,
            demanded=5,
            at_most=True,
            note=", ".join(f"{name} {count}" for name, count in sent.most_common()) + f" in {seconds:g} s",
        )
    )
    raw = {"pickup in ms": [[wait * 1000 for wait in round_] for round_ in waits], "idle commands": sent}
    return Part(rows=rows, raw=raw, settings=_SETTINGS)


def _waits(jobs: int) -> list[float]:
    with (
        fresh_server(durable=False) as server,
        CountingWorker("worker_ours", Path(sys.executable), server.tcp_url, slots=100) as worker,
    ):
        asyncio.run(_enqueue(server.tcp_url, 1))
        worker.first()
        asyncio.run(_enqueue(server.tcp_url, jobs))
        return list(worker.counted(at_once=True).waits[1:])


async def _enqueue(url: str, jobs: int) -> None:
    client = SharingRedis(connect(url, call_timeout=timedelta(seconds=10)))
    chance = random.Random(jobs)  # noqa: S311 - repeatable, no secret
    for _ in range(jobs):
        await asyncio.sleep(chance.uniform(*_GAP_SECONDS))
        await client.enqueue_job("job", time.monotonic())
    await asyncio.sleep(_GAP_SECONDS[1])
    await client.aclose()


def _idle_commands(seconds: float) -> Counter[str]:
    with fresh_server(durable=True) as server, redis.Redis.from_url(server.url, socket_timeout=seconds) as client:
        environment = {"REDIS_URL": server.tcp_url, "WORKER_PORT": ""}
        with running([sys.executable, "-m", "worker"], environment):
            while not client.zcard("{rewardpost}:workers"):
                time.sleep(0.05)
            time.sleep(1)
            return _sent(client, seconds)


def _sent(client: redis.Redis, seconds: float) -> Counter[str]:
    """Count what clients send; what scripts call is not sent."""
    names: Counter[str] = Counter()
    until = time.monotonic() + seconds
    with client.monitor() as monitor:  # type: ignore[no-untyped-call] # redis-py leaves it untyped
        while time.monotonic() < until:
            try:
                command = monitor.next_command()
            except redis.TimeoutError:
                break
            if command["client_type"] != "lua":
                names[command["command"].split()[0].upper()] += 1
    return names
