"""A burst of rewards against limits of both other sides, all of it twenty times faster than in life.

In life: 5,000 rewards in four minutes, 100 look-ups a minute at Voucherify, 150 parcels a minute at the provider. A
quick run takes a quarter of the rewards in a quarter of the time, at the same limits.
"""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import redis

from bench import house
from bench.context import Context
from bench.deliveries import bodies
from bench.environment import ROOT
from bench.figures import Part, Row, shown
from bench.processes import HOST, Broken, fresh_server
from bench.receiver import CLOSE_LOOK, LOOK_UPS
from rewardpost.connection import connect
from rewardpost.queue import Queue

_FASTER = 20
_REWARDS, _ARRIVAL_SECONDS = 5_000, 240 / _FASTER
_LOOK_UPS_A_MINUTE = 100 * _FASTER
_ORDERS_A_SECOND = 150 * _FASTER / 60
_ASK_EVERY_SECONDS = 3.0
_SETTINGS = (
    "one worker; the receiver answers at once, and 429 beyond the limit in any window of a minute (look-ups) or a "
    "second (parcels); Valkey with appendfsync always"
)


@dataclass
class _Burst:
    """What was seen of one burst."""

    began: float = 0.0
    ended: float = 0.0
    arrived: float = 0.0
    announced: list[tuple[float, float]] = field(default_factory=list)
    """When `stats` was asked, and in how many seconds it said that all would be through."""
    counts: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def measure(context: Context) -> Part:
    """Send one burst."""
    part = 1 if context.full else 4
    rewards, arrival = _REWARDS // part, _ARRIVAL_SECONDS / part
    context.say(f"a burst of {rewards} rewards")
    burst = _send(rewards, arrival, context.say)
    raw: dict[str, Any] = {
        "arrived": burst.arrived - burst.began,
        "ended": burst.ended - burst.began,
        "announced": [(at - burst.began, seconds) for at, seconds in burst.announced],
        "counts": burst.counts,
    }
    return Part(rows=_rows(burst, rewards), raw=raw, settings=_SETTINGS)


def _rows(burst: _Burst, rewards: int) -> list[Row]:
    look_ups = burst.counts[LOOK_UPS]
    took = look_ups["last"] - look_ups["first"]
    used = (rewards - 1) / took / (_LOOK_UPS_A_MINUTE / 60)
    refused = sum(int(kind["refused"]) for kind in burst.counts.values())
    what = f"a burst of {rewards:,} rewards, {_FASTER} times faster"
    return [
        Row(
            what=f"{what}: share of the tighter limit used",
            measured=used,
            demanded=0.9,
            note=f"{rewards} look-ups in {took:.1f} s, {_LOOK_UPS_A_MINUTE} a minute allowed",
        ),
        Row(
            what=f"{what}: answers 429",
            measured=refused,
            demanded=0,
            at_most=True,
            note=(
                f"at most {look_ups['most']} look-ups in any {CLOSE_LOOK:g} s, "
                f"{_LOOK_UPS_A_MINUTE * CLOSE_LOOK / 60:g} would be even"
                + ("" if rewards > _LOOK_UPS_A_MINUTE else "; a quick run never fills the limit's minute")
            ),
        ),
        _announcement(burst, what),
    ]


def _announcement(burst: _Burst, what: str) -> Row:
    """Return how wrong the announced end was, at its worst, once all rewards were there."""
    after = [(at, seconds) for at, seconds in burst.announced if at >= burst.arrived]
    what = f"{what}: the announced end, off by at most"
    if not after:
        return Row(what=what, measured=None, demanded=20, at_most=True, note="`stats` announces no end")
    # Close to the end a second is a large part of what is left, so the first half of the wait is what counts.
    middle = (burst.arrived + burst.ended) / 2
    wrong = [abs(at + seconds - burst.ended) / (burst.ended - at) * 100 for at, seconds in after if at <= middle]
    first = after[0]
    took = shown(burst.ended - first[0])
    note = f"over the first half of the wait; the first one said {shown(first[1])} s, it took {took} s"
    return Row(what=what, measured=max(wrong, default=None), unit="%", demanded=20, at_most=True, note=note)


def _send(rewards: int, arrival: float, say: Callable[[str], None]) -> _Burst:
    burst = _Burst()
    limits = {"look_ups": _LOOK_UPS_A_MINUTE, "orders": int(_ORDERS_A_SECOND)}
    with (
        fresh_server(durable=True) as server,
        house.receiver(**limits) as port,
        redis.Redis.from_url(server.url) as client,
    ):
        environment = {
            **house.provider_environment(port),
            "VOUCHERIFY_API_URL": f"http://{HOST}:{port}",
            "VOUCHERIFY_APP_ID": "bench",
            "VOUCHERIFY_APP_TOKEN": "bench",
            "VOUCHERIFY_CALLS_PER_MINUTE": str(_LOOK_UPS_A_MINUTE),
            "PROVIDER_CALLS_PER_SECOND": f"{_ORDERS_A_SECOND:g}",
        }
        with house.worker(server.tcp_url, **environment) as process:
            burst.began = time.monotonic()
            asyncio.run(_arrive(server.tcp_url, rewards, arrival))
            burst.arrived = time.monotonic()
            patience = burst.arrived + 2 * rewards / (_LOOK_UPS_A_MINUTE / 60)
            while (done := house.submitted(client)) < rewards:
                if process.poll() is not None or time.monotonic() > patience:
                    raise Broken(f"expected all {rewards} rewards to be shipped, {done} were")
                _ask(burst, house.worker_environment(server.tcp_url, **environment))
                say(f"{done} of {rewards} shipped")
                _wait(client, rewards, _ASK_EVERY_SECONDS)
            burst.ended = time.monotonic()
            burst.counts = house.counts(port)
    return burst


def _wait(client: redis.Redis, rewards: int, seconds: float) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until and house.submitted(client) < rewards:
        time.sleep(0.05)


async def _arrive(url: str, rewards: int, seconds: float) -> None:
    client = connect(url, call_timeout=timedelta(seconds=30))
    queue = Queue(client, house.KEYS)
    began = time.monotonic()
    writes = []
    for number, body in enumerate(bodies(rewards)):
        await asyncio.sleep(max(began + number * seconds / rewards - time.monotonic(), 0))
        writes.append(queue.store(house.sealed(body)))
    await asyncio.gather(*writes)
    await client.aclose()


def _ask(burst: _Burst, environment: Mapping[str, str]) -> None:
    at = time.monotonic()
    seconds = _stats(environment).get("through_seconds")
    if seconds is not None:
        burst.announced.append((at, float(seconds)))


def _stats(environment: Mapping[str, str]) -> Mapping[str, Any]:
    run = subprocess.run(
        [sys.executable, "-m", "cli", "stats", "--json"],
        cwd=ROOT,
        env=dict(environment),
        capture_output=True,
        check=False,
    )
    if run.returncode:
        raise Broken(f"expected `rewardpost stats` to answer, it ended with {run.returncode}")
    told: Mapping[str, Any] = json.loads(run.stdout)
    return told
