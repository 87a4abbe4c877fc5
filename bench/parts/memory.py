"""What Redis needs in memory: for a webhook that waits, and for a reward that is long finished."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import redis

from bench import house
from bench.context import Context
from bench.deliveries import redemption
from bench.figures import Part, Row
from bench.peers.door_settings import BODY_BYTES
from bench.processes import fresh_server
from rewardpost import transitions
from rewardpost.addresses import PostalAddress
from rewardpost.changes import WORKER
from rewardpost.connection import connect
from rewardpost.fulfilment import Opening, Personal
from rewardpost.ledger import Ledger
from rewardpost.operations import Operations
from rewardpost.reference import for_redemption
from rewardpost.states import State

_MANY = 5_000
_AT_ONCE = 100
_ADDRESS = PostalAddress(
    name="Tess Testperson", line_1="Probestrasse 7", city="Musterstadt", postal_code="10117", country="DE"
)
_SETTINGS = (
    f"growth of used_memory over {_MANY:,}, a search key by MEMORY USAGE; finished: received, ready, submitted, "
    "shipped with a tracking number, each of another customer, with its personal data and the marker of its delivery "
    "gone as after their time"
)


def measure(context: Context) -> Part:
    """Measure both; there is no noise in it, so once is enough."""
    context.say("memory of waiting webhooks")
    waiting = _waiting()
    context.say("memory of finished rewards")
    finished = _finished()
    rows = [
        Row(
            what="Redis memory for a waiting 4 kB webhook: against its body",
            measured=waiting["growth"] / BODY_BYTES,
            unit="times",
            demanded=1.25,
            at_most=True,
            note=f"{waiting['growth']:.0f} B; its payload {waiting['payload']:.0f} B",
        ),
        Row(
            what="Redis memory for a finished fulfilment, without search keys",
            measured=finished["without search keys"],
            unit="B",
            demanded=1200,
            at_most=True,
            note=f"record {finished['record']:.0f}, journal {finished['journal']:.0f} B; the rest are keys and indexes",
        ),
        Row(
            what="Redis memory for a search key of a finished fulfilment",
            measured=finished["a search key"],
            unit="B",
            demanded=130,
            at_most=True,
            note=f"{finished['search keys']:g} a fulfilment: its customer",
        ),
    ]
    return Part(rows=rows, raw={"waiting": waiting, "finished": finished}, settings=_SETTINGS)


def _waiting() -> dict[str, float]:
    with fresh_server(durable=True) as server, redis.Redis.from_url(server.url) as client:
        house.store(server.tcp_url, 1)  # the scripts are there from now on
        before = _used(client)
        house.store(server.tcp_url, _MANY, first=1)
        growth = (_used(client) - before) / _MANY
        return {"growth": growth, "payload": _mean_usage(client, "arq:job:*")}


def _finished() -> dict[str, float]:
    with fresh_server(durable=True) as server, redis.Redis.from_url(server.url) as client:
        asyncio.run(_finish(server.tcp_url, range(1)))
        _forget(client, "personal:*")
        before = _used(client)
        keys_before = len(client.keys("*"))
        asyncio.run(_finish(server.tcp_url, range(1, _MANY + 1)))
        _forget(client, "personal:*")
        client.delete(house.KEYS.queue, house.KEYS.wake_up)
        found = {
            "whole": (_used(client) - before) / _MANY,
            "keys": (len(client.keys("*")) - keys_before) / _MANY,
            "record": _mean_usage(client, f"{house.KEYS.prefix}fulfilment:*"),
            "journal": _mean_usage(client, f"{house.KEYS.prefix}journal:*"),
        }
        # By MEMORY USAGE: how much used_memory falls when keys go depends on when the server shrinks its tables.
        search_keys: Any = client.keys(f"{house.KEYS.prefix}of:*")
        found["search keys"] = (len(search_keys) - 1) / _MANY
        found["a search key"] = _mean_usage(client, f"{house.KEYS.prefix}of:*")
        found["without search keys"] = found["whole"] - found["a search key"] * found["search keys"]
        return found


async def _finish(url: str, numbers: range) -> None:
    client = connect(url, call_timeout=timedelta(seconds=30))
    retention = timedelta(days=30)
    ledger = Ledger(client, house.KEYS, retention=retention)
    operations = Operations(client, house.KEYS, retention=retention, by="operator:bench")
    for first in range(numbers.start, numbers.stop, _AT_ONCE):
        await asyncio.gather(
            *(_finish_one(ledger, operations, n) for n in range(first, min(first + _AT_ONCE, numbers.stop)))
        )
    await client.aclose()


async def _finish_one(ledger: Ledger, operations: Operations, number: int) -> None:
    now = datetime.now(UTC)
    opening = Opening(
        reference=for_redemption(redemption(number)),
        redemption=redemption(number),
        customer=f"cust_bench{number:017d}",  # as long as Voucherify's
        kind="material",
        article="mug-blue",
        article_name="Blue mug",
        redeemed_at=now,
        received_at=now,
        personal=Personal(name=_ADDRESS.name, source_id=f"bench/{number}"),
        state=State.RECEIVED,
        why="a product",
    )
    record = await ledger.apply(transitions.receive(opening, now=now), before=None)
    found = Personal(name=_ADDRESS.name, source_id=f"bench/{number}", address=_ADDRESS)
    record = await ledger.apply(transitions.address_found(record, found, by=WORKER, now=now), before=record)
    record = await ledger.apply(transitions.submit_at_once(record, "manual", record.reference, now=now), before=record)
    await operations.shipped(record.reference, f"0034043416109{number:07d}")


def _used(client: redis.Redis) -> int:
    info: Any = client.info("memory")
    return int(info["used_memory"]) - int(info["mem_clients_normal"])


def _mean_usage(client: redis.Redis, pattern: str) -> float:
    some: Any = client.scan(match=pattern, count=_MANY)
    usage: list[Any] = [client.memory_usage(key) for key in some[1][:100]]
    return float(sum(usage) / len(usage))


def _forget(client: redis.Redis, names: str) -> int:
    found: Any = client.keys(f"{house.KEYS.prefix}{names}")
    for first in range(0, len(found), 1000):
        client.delete(*found[first : first + 1000])
    return len(found)
