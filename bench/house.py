"""Our own worker as an operator runs it, with deliveries waiting and a receiver beside it."""

import asyncio
import base64
import contextlib
import itertools
import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import redis

from bench.deliveries import bodies
from bench.environment import CACHE
from bench.processes import HOST, Broken, free_port, running, until_open
from rewardpost.connection import connect
from rewardpost.delivery import Delivery, delivery_id
from rewardpost.keys import DEFAULT_PREFIX, Keys
from rewardpost.queue import Queue
from rewardpost.states import State

KEYS = Keys(DEFAULT_PREFIX)
_SECRET = "whsec_" + base64.b64encode(b"a secret of the receiver").decode()
_AT_ONCE = 500


def store(url: str, count: int, *, first: int = 0) -> None:
    """Put so many deliveries on the queue, as the door does."""
    asyncio.run(_store(url, count, first))


async def _store(url: str, count: int, first: int) -> None:
    client = connect(url, call_timeout=timedelta(seconds=30))
    queue = Queue(client, KEYS)
    waiting = bodies(count, first=first)
    while some := list(itertools.islice(waiting, _AT_ONCE)):
        await asyncio.gather(*(queue.store(sealed(body)) for body in some))
    await client.aclose()


def sealed(body: bytes) -> Delivery:
    """Return a delivery with the headers that Voucherify's have."""
    return Delivery(
        id=delivery_id(body),
        source="voucherify",
        received_at=datetime.now(UTC),
        body=body,
        headers={"content-type": "application/json", "user-agent": "axios/1.7.4"},
    )


@contextlib.contextmanager
def worker(url: str, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run `python -m worker`; its log goes to a file."""
    with running([sys.executable, "-m", "worker"], worker_environment(url, **environment)) as process:
        yield process


def worker_environment(url: str, **environment: str) -> dict[str, str]:
    """Return the environment of a worker that ships everything."""
    return {"REDIS_URL": url, "WORKER_PORT": "", "SHIP_SINCE": "2020-01-01T00:00:00Z", **environment}


def provider_environment(port: int) -> dict[str, str]:
    """Return the settings of the `webhook` provider for a receiver."""
    return {
        "PROVIDER": "webhook",
        "WEBHOOK_OUT_URL": f"http://{HOST}:{port}/orders",
        "WEBHOOK_OUT_SECRET": _SECRET,
    }


@contextlib.contextmanager
def receiver(**limits: float) -> Iterator[int]:
    """Run a receiver and yield its port."""
    port = free_port()
    options = [f"--{name.replace('_', '-')}={value}" for name, value in limits.items()]
    with running([sys.executable, "-m", "bench.receiver", f"--port={port}", *options], {}) as process:
        until_open(port, process)
        yield port


def counts(port: int) -> Mapping[str, Mapping[str, Any]]:
    """Return what a receiver has counted."""
    with urllib.request.urlopen(f"http://{HOST}:{port}/counts", timeout=5) as answer:
        told: Mapping[str, Mapping[str, Any]] = json.load(answer)
        return told


def submitted(client: redis.Redis) -> int:
    """Return how many rewards the provider has."""
    return int(client.zcard(KEYS.state(State.SUBMITTED)))  # type: ignore[arg-type] # redis-py types both its clients with one signature


def wait_for(condition: Any, process: subprocess.Popen[bytes], *, seconds: float, every: float) -> float:  # noqa: ANN401 - any function without arguments
    """Wait until a condition holds and return when it did.

    Raises:
        Broken: the process ended, or it did not hold in time.
    """
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return time.monotonic()
        if process.poll() is not None:
            raise Broken(f"expected a worker that runs, it ended with {process.returncode}; see its log")
        time.sleep(every)
    raise Broken(f"expected the worker to be done within {seconds:g} s")


def scratch(name: str) -> Path:
    """Return the path of a file that may be written over."""
    CACHE.mkdir(parents=True, exist_ok=True)
    return CACHE / name
