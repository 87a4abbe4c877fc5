"""Puts rewards and dead letters into a server, in the states that a test of an operator's action needs."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from arq.connections import ArqRedis

from rewardpost import reference, transitions
from rewardpost.addresses import PostalAddress
from rewardpost.changes import WORKER, Change
from rewardpost.connection import connect
from rewardpost.dead_letters import DeadLetters
from rewardpost.delivery import Delivery, delivery_id
from rewardpost.fulfilment import Fulfilment, Hold, Opening, Personal
from rewardpost.keys import DEFAULT_PREFIX, Keys
from rewardpost.lease import Lease
from rewardpost.ledger import Ledger
from rewardpost.queue import Queue
from rewardpost.states import State
from worker.edge import Job

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
ADDRESS = PostalAddress(
    name="Tess Testperson", line_1="Probestrasse 7", city="Musterstadt", postal_code="10117", country="DE"
)

TOKEN = "token-of-the-test"

T = TypeVar("T")


def reward(
    url: str, name: str, state: State = State.SUBMITTED, *, hold: Hold | None = None, article: str = "mug"
) -> str:
    """Open a reward, bring it to a state and return its reference; `name` is the redemption's id."""
    return at(url, lambda redis: _reward(redis, name, state, hold=hold, article=article))


def dead_letter(url: str, body: bytes, *, code: str = "not_json") -> str:
    """Set a delivery with this body aside and return its id."""
    return at(url, lambda redis: _dead_letter(redis, body, code))


def at(url: str, work: Callable[[ArqRedis], Awaitable[T]]) -> T:
    """Do something at a server, outside any loop."""

    async def connected() -> T:
        redis = connect(url, call_timeout=timedelta(seconds=10))
        try:
            return await work(redis)
        finally:
            await redis.aclose()

    return asyncio.run(connected())


async def held(redis: ArqRedis, keys: Keys, job_id: str, attempt: int = 1) -> Job:
    """Hold a job as if a worker had claimed it, whether or not it is on the queue."""
    lease = Lease(job_id, TOKEN)
    await redis.set(keys.in_progress(job_id), lease.token)
    return Job(lease=lease, attempt=attempt)


async def _reward(redis: ArqRedis, name: str, state: State, *, hold: Hold | None, article: str) -> str:
    ledger = Ledger(redis, Keys(DEFAULT_PREFIX), retention=timedelta(days=30))
    opening = Opening(
        reference=reference.for_redemption(name),
        redemption=name,
        customer="cust_1",
        kind="material",
        article=article,
        article_name="A mug",
        redeemed_at=NOW,
        received_at=NOW,
        personal=Personal(name=ADDRESS.name, source_id="shop-1"),
        state=State.RECEIVED,
        why="a product",
    )
    record = await ledger.apply(transitions.receive(opening, now=NOW), before=None)
    for step in _way(state):
        record = await ledger.apply(step(record), before=record)
    if hold is not None:
        record = await ledger.apply(transitions.put_on_hold(record, hold, by=WORKER, now=NOW), before=record)
    return record.reference


def _way(state: State) -> list[Callable[[Fulfilment], Change]]:
    """Return the steps from RECEIVED to a state."""
    found = Personal(name=ADDRESS.name, source_id="shop-1", address=ADDRESS)

    def ready(record: Fulfilment) -> Change:
        return transitions.address_found(record, found, by=WORKER, now=NOW)

    def submitted(record: Fulfilment) -> Change:
        return transitions.submit_at_once(record, "manual", record.reference, now=NOW)

    ways: dict[State, list[Callable[[Fulfilment], Change]]] = {
        State.RECEIVED: [],
        State.NEEDS_ADDRESS: [lambda record: transitions.address_wanted(record, "address missing", now=NOW)],
        State.NEEDS_ATTENTION: [ready, lambda record: transitions.wants_attention(record, "look at it", now=NOW)],
        State.READY: [ready],
        State.SUBMITTED: [ready, submitted],
    }
    return ways[state]


async def _dead_letter(redis: ArqRedis, body: bytes, code: str) -> str:
    keys = Keys(DEFAULT_PREFIX)
    delivery = Delivery(id=delivery_id(body), source="voucherify", received_at=NOW, body=body)
    await Queue(redis, keys).store(delivery)
    job = await held(redis, keys, keys.delivery_job(delivery.id))
    await DeadLetters(redis, keys).add(job.lease, delivery.id, code=code, why="expected JSON")
    return delivery.id
