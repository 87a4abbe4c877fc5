"""Whether Redis keeps what it confirms: the watch that readiness and every acknowledgement depend on.

A confirmed write must be on disk, so: append-only file, `appendfsync always`, and no eviction. Managed servers
hide their configuration; there only the operator can say that it is so (`REDIS_DURABILITY=trust`).
"""

import asyncio
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import ResponseError

DEMANDED: Mapping[str, str] = {
    "appendonly": "yes",
    "appendfsync": "always",
    "maxmemory-policy": "noeviction",
}
"""Server settings without which a confirmed webhook can be lost."""

HIDDEN = "the server hides its configuration; check it by hand, then set REDIS_DURABILITY=trust"
_AWAY = "Redis is out of reach"
_INTERVAL = timedelta(seconds=1)
_PATIENCE = timedelta(seconds=1)
"""With the interval it bounds how long a server that hangs still counts as well: 2 s."""


def faults(found: Mapping[str, str]) -> list[str]:
    """Return one sentence for each setting that is not as demanded."""
    return [
        f"{name} is {found.get(name, 'unknown')}, expected {wanted}"
        for name, wanted in DEMANDED.items()
        if found.get(name) != wanted
    ]


def obstacles(info: Mapping[str, Any], *, room: bool) -> list[str]:
    """Return one sentence for each reason why the server would refuse a write, from its `INFO`.

    `room` says whether being full is one: the server itself compares the memory that counts for eviction
    with `maxmemory` (https://redis.io/docs/latest/commands/info/).
    """
    found = []
    if info.get("role", "master") != "master":
        found.append(f"the server is a {info['role']}, expected a master")
    if info.get("aof_last_write_status", "ok") != "ok":
        found.append("the server cannot write its append-only file")
    counted = info.get("used_memory", 0) - info.get("mem_not_counted_for_evict", 0)
    if room and 0 < info.get("maxmemory", 0) < counted:
        found.append("the server is full (maxmemory)")
    return found


class DurabilityWatch:
    """Looks at the server again and again; `problem` is None while it takes writes and keeps them.

    `trust` takes the settings as right where they cannot be seen. `room` counts a full server as a problem, as
    the door must; a worker goes on there, so that the server drains.
    """

    def __init__(self, redis: Redis, *, trust: bool, room: bool = False) -> None:
        self.problem: str | None = "Redis has not been looked at yet"
        self._redis = redis
        self._trust = trust
        self._room = room

    async def look(self) -> str | None:
        """Look once, remember what was found, and return it; takes a second at the most."""
        try:
            async with asyncio.timeout(_PATIENCE.total_seconds()):
                self.problem = await self._find_problem()
        except Exception as exc:  # noqa: BLE001 - whatever hinders the look, the server is not known to be durable
            self.problem = f"{_AWAY} ({type(exc).__name__})"
        return self.problem

    async def run(self) -> None:
        """Look once a second until cancelled."""
        task = asyncio.current_task()
        while True:
            await self.look()
            # redis-py sends through asyncio.wait_for, which loses a cancellation in Python 3.11
            # (https://github.com/python/cpython/issues/86296).
            if task is not None and task.cancelling():
                raise asyncio.CancelledError
            await asyncio.sleep(_INTERVAL.total_seconds())

    async def _find_problem(self) -> str | None:
        try:
            found = [] if self._trust else faults(await self._settings())
            info = await self._redis.info("replication", "persistence", "memory")  # type: ignore[arg-type] # redis-py types each further section as a list of them
        except ResponseError:
            if not self._trust:
                return HIDDEN
            await self._redis.ping()
            return None
        return "; ".join(found + obstacles(info, room=self._room)) or None

    async def _settings(self) -> dict[str, str]:
        found = await self._redis.config_get(*DEMANDED)  # type: ignore[arg-type] # redis-py types each further pattern as a list of them
        return {_text(name): _text(value) for name, value in found.items()}


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value
