"""Losing a ledger, and putting an old one back, under running processes."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from arq.connections import ArqRedis

from rewardpost.keys import Keys
from rewardpost.states import State
from tests.builders import body, changed, rewarded
from tests.house import until
from tests.voucherify_api import VoucherifyServer

_PERSISTENT = 0


class Value(NamedTuple):
    """A key's content as the server dumps it, and how long it lives in ms; 0 for ever."""

    content: bytes
    life: int


def redeemed(voucherify: VoucherifyServer, names: Iterable[str]) -> list[bytes]:
    """Redeem a product under each of these ids ten minutes ago, and return the bodies of the webhooks."""
    at = datetime.now(UTC) - timedelta(minutes=10)
    bodies = []
    for name in names:
        entry = voucherify.redeem(name, at)
        tree = changed(rewarded(), "data.redemption.id", name)
        bodies.append(body(changed(tree, "data.redemption.date", entry["date"])))
    return bodies


async def emptied(redis: ArqRedis, keys: Keys, states: Sequence[State]) -> set[str]:
    """Empty the server, and return which rewards were in these states at that very moment."""
    async with redis.pipeline(transaction=True) as pipe:
        for state in states:
            pipe.zrange(keys.state(state), 0, -1)
        pipe.flushall()
        *found, _ = await pipe.execute()
    return {reference.decode() for members in found for reference in members}


async def back_up(redis: ArqRedis) -> Mapping[bytes, Value]:
    """Return all that is on the server."""
    names = [name async for name in redis.scan_iter(count=1000)]
    async with redis.pipeline(transaction=False) as pipe:
        for name in names:
            pipe.dump(name)
            pipe.pttl(name)
        found = await pipe.execute()
    pairs = zip(names, found[::2], found[1::2], strict=True)
    return {name: Value(content, max(life, _PERSISTENT)) for name, content, life in pairs if content}


async def put_back(redis: ArqRedis, keys: Keys, backup: Mapping[bytes, Value], *, age: timedelta) -> None:
    """Have nothing but a backup on the server, as if it were so old; return when a worker has noticed the gap."""
    seconds, _ = await redis.time()
    async with redis.pipeline(transaction=True) as pipe:
        pipe.flushall()
        for name, value in backup.items():
            pipe.restore(name, value.life, value.content)
        # The last sign of life in a backup is as old as the backup.
        pipe.hset(keys.watch, "seen", str(int(seconds - age.total_seconds())))
        pipe.hset(keys.watch, "since", str(int(seconds - 2 * age.total_seconds())))
        await pipe.execute()

    async def noticed() -> bool:
        return int(await redis.hget(keys.watch, "since") or 0) >= int(seconds)  # type: ignore[misc] # redis-py types both its clients with one signature

    await until(noticed)
