"""The task `ship_reward` on a real ledger, with providers that lose requests and answers and workers that die."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from arq.connections import ArqRedis

from rewardpost import interventions, transitions
from rewardpost.fulfilment import Fulfilment, Opening, Personal
from rewardpost.keys import Keys
from rewardpost.lease import LeaseLost
from rewardpost.ledger import Ledger
from rewardpost.operations import Operations
from rewardpost.settings import Settings
from rewardpost.states import State
from tests.fakes import FakeProvider, FakeSource
from tests.seeding import held
from worker.address_sources.protocol import Answer, NotFound, TryLater
from worker.edge import Job
from worker.provider_calls import ProviderCalls
from worker.providers.protocol import Guarantee, Outcome, Parcel
from worker.ship_reward import ShipReward

REFERENCE = "vfy-r_1"
OPENING = Opening(
    reference=REFERENCE,
    redemption="r_1",
    customer="cust_1",
    kind="material",
    article="mug",
    article_name="Mug",
    redeemed_at=datetime(2026, 3, 1, tzinfo=UTC),
    received_at=datetime(2026, 3, 1, tzinfo=UTC),
    personal=Personal(),
    state=State.RECEIVED,
    why="a mug",
)
SETTINGS = Settings(ship_since=datetime(2020, 1, 1, tzinfo=UTC), worker_max_attempts=3, provider_quiet=timedelta(0))


class Bench:
    """One reward, one provider, and as many workers as a test likes."""

    def __init__(self, redis: ArqRedis, keys: Keys, provider: FakeProvider, *answers: Answer) -> None:
        self.ledger = Ledger(redis, keys, retention=timedelta(days=30))
        self.operations = Operations(redis, keys, retention=timedelta(days=30), by="tess")
        self.provider = provider
        self._redis = redis
        self._keys = keys
        self._source = FakeSource(*answers)

    async def open(self) -> None:
        """Open the reward."""
        await self.ledger.apply(transitions.receive(OPENING, now=datetime.now(UTC)), before=None)

    def worker(self, settings: Settings = SETTINGS) -> ShipReward:
        """Return a worker's task, which trusts a look-up at once."""
        return ShipReward(self.ledger, ProviderCalls(self.provider), [self._source], settings)

    async def work(self, settings: Settings = SETTINGS) -> str:
        """Run the job once."""
        return await self.worker(settings).run(await self.job(), REFERENCE)

    async def job(self, attempt: int = 1) -> Job:
        """Claim the reward's job."""
        return await held(self._redis, self._keys, self._keys.reward_job(REFERENCE), attempt)

    async def work_until(self, *states: State) -> Fulfilment:
        """Run the job whenever it is due until the reward is in one of the states."""
        async with asyncio.timeout(20):
            while True:
                await self.work()
                record = await self.record()
                if record.state in states:
                    return record
                await asyncio.sleep(0.01)

    async def record(self) -> Fulfilment:
        """Return the record as it is."""
        record = (await self.ledger.load(REFERENCE)).record
        assert record is not None
        return record

    async def queued(self) -> bool:
        """Say whether the reward's job is on the queue."""
        return await self._redis.zscore(self._keys.queue, self._keys.reward_job(REFERENCE)) is not None


def bench(redis: ArqRedis, keys: Keys, *steps: str, guarantee: Guarantee = Guarantee.UNIQUE_KEY) -> Bench:
    """Return a bench with a provider that does these steps and then what it is asked."""
    provider = FakeProvider(guarantee, steps)
    provider.call_timeout = timedelta(milliseconds=200)
    return Bench(redis, keys, provider)


@pytest.mark.parametrize(
    "steps",
    [
        [],
        ["lost answer"],
        ["lost request"],
        ["busy"],
        ["raise"],
        ["lost request", "lost answer"],
        ["busy", "raise"],
    ],
)
async def test_one_live_order_whatever_the_provider_does(redis: ArqRedis, keys: Keys, steps: Sequence[str]) -> None:
    """Lost requests, lost answers, refusals to work and unforeseen exceptions end with exactly one order."""
    here = bench(redis, keys, *steps)
    await here.open()
    record = await here.work_until(State.SUBMITTED)
    assert here.provider.live == [REFERENCE]
    assert record.provider_order == here.provider.orders[0].id
    assert not await here.queued()


@pytest.mark.parametrize("step", ["lost request", "lost answer", "raise"])
async def test_a_provider_that_cannot_be_asked_is_called_once(redis: ArqRedis, keys: Keys, step: str) -> None:
    """Without a unique key an unknown outcome goes to a person, who sees that it is one."""
    here = bench(redis, keys, step, guarantee=Guarantee.NONE)
    await here.open()
    record = await here.work_until(State.NEEDS_ATTENTION)
    assert record.uncertain
    assert here.provider.calls == 1
    assert not await here.queued()


async def test_spent_attempts_end_with_a_person(redis: ArqRedis, keys: Keys) -> None:
    """After the last attempt the reward is set aside and its job is gone."""
    here = bench(redis, keys, "busy", "busy", "busy", "busy")
    await here.open()
    record = await here.work_until(State.NEEDS_ATTENTION)
    assert here.provider.calls == 3
    assert "3 attempts are spent" in record.why
    assert not await here.queued()


class Dies(FakeProvider):
    """A provider during whose call the worker dies; the order may have been taken by then."""

    async def submit(self, parcel: Parcel, deadline: datetime) -> Outcome:
        """Act, and never come back."""
        await super().submit(parcel, deadline)
        raise asyncio.CancelledError


@pytest.mark.parametrize("step", ["ok", "lost request"])
async def test_a_worker_that_dies_during_the_call_leaves_no_second_order(
    redis: ArqRedis, keys: Keys, step: str
) -> None:
    """The next worker finds "about to call", waits for the deadline, looks, and only then sends if it must."""
    provider = Dies(Guarantee.UNIQUE_KEY, [step])
    provider.call_timeout = timedelta(milliseconds=200)
    here = Bench(redis, keys, provider)
    await here.open()
    with pytest.raises(asyncio.CancelledError):
        await here.work()
    assert (await here.record()).state is State.DISPATCHING
    assert await here.work() == "deferred"
    assert provider.calls == 1
    survivor = FakeProvider()
    survivor.orders, survivor.call_timeout = provider.orders, provider.call_timeout
    here.provider = survivor
    await here.work_until(State.SUBMITTED)
    assert survivor.live == [REFERENCE]


class Interrupted(FakeProvider):
    """A provider during whose call something else happens to the reward."""

    def __init__(self, steps: Sequence[str] = ()) -> None:
        super().__init__(steps=steps)
        self.meanwhile = asyncio.Event()
        self.go_on = asyncio.Event()

    async def submit(self, parcel: Parcel, deadline: datetime) -> Outcome:
        """Say that the call is under way, and wait."""
        self.meanwhile.set()
        await self.go_on.wait()
        return await super().submit(parcel, deadline)


async def test_a_cancelling_during_the_call_cancels_the_order(redis: ArqRedis, keys: Keys) -> None:
    """The outcome is written down first, so that the order's id is known, and then the order is cancelled."""
    provider = Interrupted()
    here = Bench(redis, keys, provider)
    await here.open()
    working = asyncio.create_task(here.work())
    await provider.meanwhile.wait()
    assert (await here.operations.cancel(REFERENCE, "changed mind")).state is State.DISPATCHING
    provider.go_on.set()
    await working
    await here.work_until(State.CANCELLED)
    assert (provider.live, len(provider.orders)) == ([], 1)


async def test_the_late_outcome_of_a_worker_that_was_given_up_is_refused(redis: ArqRedis, keys: Keys) -> None:
    """Its reward has been settled by another worker; its own late word changes nothing."""
    provider = Interrupted(["busy"])
    provider.call_timeout = timedelta(milliseconds=50)
    here = Bench(redis, keys, provider)
    await here.open()
    late = asyncio.create_task(here.work())
    await provider.meanwhile.wait()
    other = FakeProvider()
    here.provider = other
    record = await here.work_until(State.SUBMITTED)
    provider.go_on.set()
    with pytest.raises(LeaseLost):  # the job has ended, so there is nothing to go on with either
        await late
    assert await here.record() == record
    assert other.live == [REFERENCE]


async def test_a_rollback_before_dispatch_sends_nothing(redis: ArqRedis, keys: Keys) -> None:
    """What is cancelled before the first call never reaches the provider."""
    here = bench(redis, keys)
    await here.open()
    await here.operations.cancel(REFERENCE, "changed mind")
    await here.work()
    assert (await here.record()).state is State.CANCELLED
    assert here.provider.calls == 0


async def test_a_missing_address_is_waited_for(redis: ArqRedis, keys: Keys) -> None:
    """No source knows one: the reward rests until a person gives it, and then goes on."""
    here = Bench(redis, keys, FakeProvider(), NotFound())
    await here.open()
    await here.work()
    assert (await here.record()).state is State.NEEDS_ADDRESS
    assert not await here.queued()


async def test_a_source_that_is_busy_is_asked_later_without_spending_an_attempt(redis: ArqRedis, keys: Keys) -> None:
    """429 and 5xx are nobody's fault: the job comes back, and nothing else has changed."""
    here = Bench(redis, keys, FakeProvider(), TryLater("busy", timedelta(hours=1)))
    await here.open()
    assert await here.work() == "deferred"
    record = await here.record()
    assert (record.state, record.attempts, record.spent) == (State.RECEIVED, 0, 0)
    assert await here.queued()


async def test_a_hold_stops_the_dispatch_until_it_is_released(redis: ArqRedis, keys: Keys) -> None:
    """Held at large: ready, with its reason, not sent; released: sent once."""
    here = bench(redis, keys)
    await here.operations.hold_at_large("article:mug", "recall")
    await here.open()
    await here.work()
    held = await here.record()
    assert held.state is State.READY
    assert held.flags["hold"].startswith("recall")
    released = [record.reference async for record in here.operations.release_at_large("article:mug", "fine again")]
    assert released == [REFERENCE]
    await here.work_until(State.SUBMITTED)
    assert here.provider.live == [REFERENCE]


async def test_without_ship_since_the_installation_counts(redis: ArqRedis, keys: Keys) -> None:
    """What was redeemed before is held, even when the ledger has just been lost and begun anew."""
    here = bench(redis, keys)
    await here.open()
    await here.work(Settings())
    record = await here.record()
    assert record.hold is not None
    assert (record.state, record.hold.source) == (State.READY, "ship_since")
    assert here.provider.calls == 0


async def test_work_that_fails_again_and_again_is_set_aside(redis: ArqRedis, keys: Keys) -> None:
    """The record goes to a person in the step that ends the job, and a call that was under way counts as unknown."""
    here = bench(redis, keys)
    await here.open()
    await here.worker().set_aside(await here.job(12), "12 attempts failed", REFERENCE)
    record = await here.record()
    assert (record.state, record.why) == (State.NEEDS_ATTENTION, "12 attempts failed")
    assert not await here.queued()
    retried = interventions.retry(record, has_address=False, by="tess", now=datetime.now(UTC))
    assert retried.record.state is State.NEEDS_ADDRESS


async def test_the_job_of_a_reward_whose_record_has_expired_ends(redis: ArqRedis, keys: Keys) -> None:
    """Only the done-marker is left: there is nothing to do, and nothing is tried again and again."""
    here = bench(redis, keys)
    await here.open()
    await here.work_until(State.SUBMITTED)
    await here.operations.shipped(REFERENCE, "T1")
    await redis.delete(keys.fulfilment(REFERENCE))
    await redis.zadd(keys.queue, {keys.reward_job(REFERENCE): 1})
    assert await here.work() == "gone"
    assert not await here.queued()
    assert await here.worker().set_aside(await here.job(12), "12 attempts failed", REFERENCE) == "gone"
    assert here.provider.calls == 1


async def test_what_has_been_shipped_is_not_set_aside(redis: ArqRedis, keys: Keys) -> None:
    """A job that was woken and failed has no say over a parcel that has left."""
    here = bench(redis, keys)
    await here.open()
    await here.work_until(State.SUBMITTED)
    await here.operations.shipped(REFERENCE, "T1")
    await here.worker().set_aside(await here.job(12), "12 attempts failed", REFERENCE)
    assert (await here.record()).state is State.SHIPPED
    assert not await here.queued()
