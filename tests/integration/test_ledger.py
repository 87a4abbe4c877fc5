"""The ledger on a real server: all or nothing, refused when stale, and nothing left behind unasked."""

import asyncio
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from arq.connections import ArqRedis
from redis.exceptions import RedisError

from cli.embedded_server import EmbeddedServer
from rewardpost import interventions, metrics, transitions
from rewardpost.addresses import PostalAddress
from rewardpost.changes import Change, Due, End
from rewardpost.connection import connect
from rewardpost.delivery import Delivery, delivery_id
from rewardpost.fulfilment import Fulfilment, Hold, Opening, Personal
from rewardpost.keys import Keys
from rewardpost.lease import LeaseLost
from rewardpost.ledger import Ledger, SettledDelivery, Stale
from rewardpost.queue import Queue, Receipt
from rewardpost.states import State
from tests.seeding import TOKEN, held

RETENTION = timedelta(days=30)
REFERENCE = "vfy-r_1"
NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
ADDRESS = PostalAddress(name="Tess", line_1="Probestrasse 7", city="Musterstadt", country="DE")
OPENING = Opening(
    reference=REFERENCE,
    redemption="r_1",
    customer="cust_1",
    kind="material",
    article="mug",
    article_name="Mug",
    redeemed_at=NOW,
    received_at=NOW,
    personal=Personal(name="Tess"),
    state=State.RECEIVED,
    why="a mug",
)
DELIVERY = Delivery(id=delivery_id(b"{}"), source="test", received_at=NOW, body=b"{}")


@pytest.fixture
def ledger(redis: ArqRedis, keys: Keys) -> Ledger:
    """A ledger on the empty server."""
    return Ledger(redis, keys, retention=RETENTION)


async def opened(ledger: Ledger) -> Fulfilment:
    """Open the reward."""
    return await ledger.apply(transitions.receive(OPENING, now=NOW), before=None)


async def submitted(ledger: Ledger) -> Fulfilment:
    """Bring the reward to the packing list."""
    record = await opened(ledger)
    found = transitions.address_found(record, Personal(address=ADDRESS), by="worker", now=NOW)
    ready = await ledger.apply(found, before=record)
    return await ledger.apply(transitions.submit_at_once(ready, "manual", "o1", now=NOW), before=ready)


async def test_opening_settles_the_delivery_and_enqueues_the_task_in_one_write(
    ledger: Ledger, redis: ArqRedis, keys: Keys
) -> None:
    """After the one call the delivery's job is gone and remembered, the record stands, the reward's job waits."""
    queue = Queue(redis, keys)
    await queue.store(DELIVERY)
    await held(redis, keys, keys.delivery_job(DELIVERY.id))
    settled = SettledDelivery(id=DELIVERY.id, token=TOKEN, event="customer.rewarded")
    await ledger.apply(transitions.receive(OPENING, now=NOW), before=None, delivery=settled)
    assert await redis.zrange(keys.queue, 0, -1) == [keys.reward_job(REFERENCE).encode()]
    assert await redis.exists(keys.job(keys.reward_job(REFERENCE))) == 1
    assert await redis.exists(keys.job(keys.delivery_job(DELIVERY.id))) == 0
    assert await queue.store(DELIVERY) is Receipt.DUPLICATE
    counted = await redis.hget(keys.events, "customer.rewarded")  # type: ignore[misc] # redis-py types both its clients with one signature
    assert counted == b"1"


async def test_a_refused_opening_leaves_the_delivery_where_it_is(ledger: Ledger, redis: ArqRedis, keys: Keys) -> None:
    """All or nothing: what lost the race has settled nothing either."""
    await opened(ledger)
    await Queue(redis, keys).store(DELIVERY)
    settled = SettledDelivery(id=DELIVERY.id, token=TOKEN, event="customer.rewarded")
    with pytest.raises(Stale):
        await ledger.apply(transitions.receive(OPENING, now=NOW), before=None, delivery=settled)
    assert await redis.exists(keys.job(keys.delivery_job(DELIVERY.id))) == 1
    assert await redis.exists(keys.delivery(DELIVERY.id)) == 0


async def test_of_many_that_decide_at_once_exactly_one_is_heard(ledger: Ledger) -> None:
    """Twenty changes decided on one record: one is written, and the journal has one line for it."""
    record = await opened(ledger)
    change = transitions.address_wanted(record, "address missing", now=NOW)
    results = await asyncio.gather(*(ledger.apply(change, before=record) for _ in range(20)), return_exceptions=True)
    assert sum(isinstance(result, Fulfilment) for result in results) == 1
    assert sum(isinstance(result, Stale) for result in results) == 19
    assert len(await ledger.journal(REFERENCE)) == 2


async def test_a_stale_worker_can_neither_end_nor_defer_the_job(ledger: Ledger, redis: ArqRedis, keys: Keys) -> None:
    """A change by somebody else meanwhile means that there may be something to do after all."""
    record = await opened(ledger)
    await ledger.apply(interventions.hold(record, "x", by="tess", now=NOW), before=record)
    with pytest.raises(Stale):
        await ledger.end_job(record, TOKEN)
    with pytest.raises(Stale):
        await ledger.defer_job(record, NOW, TOKEN)
    assert await redis.zcard(keys.queue) == 1


async def test_the_done_marker_outlives_the_record(ledger: Ledger, redis: ArqRedis, keys: Keys) -> None:
    """When the record has expired, a late repeat of the reward still opens nothing."""
    record = await submitted(ledger)
    await ledger.apply(interventions.shipped(record, "T1", by="tess", now=NOW), before=record)
    await redis.delete(keys.fulfilment(REFERENCE))
    view = await ledger.load(REFERENCE)
    assert (view.record, view.done) == (None, State.SHIPPED)
    with pytest.raises(Stale):
        await opened(ledger)


async def test_personal_data_expires_after_the_end_and_not_before(ledger: Ledger, redis: ArqRedis, keys: Keys) -> None:
    """It has no time to live while the parcel is under way, and the configured one from the end on."""
    record = await submitted(ledger)
    assert await redis.ttl(keys.personal(REFERENCE)) == -1
    await ledger.apply(interventions.shipped(record, "T1", by="tess", now=NOW), before=record)
    remaining = timedelta(seconds=await redis.ttl(keys.personal(REFERENCE)))
    assert RETENTION - timedelta(minutes=1) < remaining <= RETENTION


async def test_what_goes_back_to_a_person_stops_expiring(ledger: Ledger, redis: ArqRedis, keys: Keys) -> None:
    """A shipped reward that needs attention again is kept whole."""
    record = await submitted(ledger)
    shipped = await ledger.apply(interventions.shipped(record, "T1", by="tess", now=NOW), before=record)
    await ledger.apply(transitions.wants_attention(shipped, "returned?", now=NOW), before=shipped)
    for key in (keys.fulfilment(REFERENCE), keys.journal(REFERENCE), keys.personal(REFERENCE)):
        assert await redis.ttl(key) == -1


async def test_the_indexes_follow_the_state(ledger: Ledger, redis: ArqRedis, keys: Keys) -> None:
    """A reward stands in the index of its state only, and under its customer."""
    await submitted(ledger)
    standing = [state for state in State if await redis.zscore(keys.state(state), REFERENCE) is not None]
    assert standing == [State.SUBMITTED]
    assert await redis.smembers(keys.customer("cust_1")) == {REFERENCE.encode()}  # type: ignore[misc] # redis-py types both its clients with one signature


async def test_a_spent_task_moves_its_reward_to_a_person_in_the_step_that_ends_the_job(
    ledger: Ledger, redis: ArqRedis, keys: Keys
) -> None:
    """There is no moment in which the job is gone and nobody has been asked."""
    record = await opened(ledger)
    await held(redis, keys, keys.reward_job(REFERENCE))
    wanted = transitions.wants_attention(record, "12 attempts failed", now=NOW)
    await ledger.apply(wanted, before=record, token=TOKEN)
    view = await ledger.load(REFERENCE)
    assert view.record is not None
    assert view.record.state is State.NEEDS_ATTENTION
    assert await redis.zcard(keys.queue) == 0
    assert await redis.exists(*keys.job_parts(keys.reward_job(REFERENCE))[1:]) == 0


async def test_scripts_that_the_server_forgot_are_sent_again(ledger: Ledger, redis: ArqRedis) -> None:
    """SCRIPT FLUSH and a restart cost nothing."""
    record = await opened(ledger)
    await redis.script_flush()
    await ledger.apply(transitions.address_wanted(record, "address missing", now=NOW), before=record)
    assert (await ledger.load(REFERENCE)).record is not None


async def test_every_key_that_stays_has_a_reason(ledger: Ledger, redis: ArqRedis, keys: Keys) -> None:
    """After a reward's whole life every key has a time to live, but for those that are to stay for ever."""
    await ledger.installed()
    await Queue(redis, keys).store(DELIVERY)
    await held(redis, keys, keys.delivery_job(DELIVERY.id))
    settled = SettledDelivery(id=DELIVERY.id, token=TOKEN, event="customer.rewarded")
    record = await ledger.apply(transitions.receive(OPENING, now=NOW), before=None, delivery=settled)
    await held(redis, keys, keys.reward_job(REFERENCE))
    record = await ledger.apply(transitions.address_wanted(record, "x", now=NOW), before=record, token=TOKEN)
    record = await ledger.apply(interventions.cancel(record, "x", by="tess", now=NOW), before=record)
    kept = {key.decode() for key in await redis.keys() if await redis.ttl(key) == -1}
    for_ever = {keys.installed_at, keys.events, keys.done(REFERENCE)}
    assert kept == for_ever | {keys.state(State.CANCELLED), keys.wake_up}


async def test_a_full_server_takes_no_new_webhook_and_lets_workers_finish(
    own_server: EmbeddedServer, keys: Keys
) -> None:
    """The door is refused, the ledger is not: so a full server drains."""
    redis = connect(own_server.url, call_timeout=timedelta(seconds=5))
    ledger = Ledger(redis, keys, retention=RETENTION)
    record = await opened(ledger)
    await redis.config_set("maxmemory", 1)
    with pytest.raises(RedisError):
        await Queue(redis, keys).store(DELIVERY)
    change: Change = transitions.wants_attention(record, "x", now=NOW)
    assert (await ledger.apply(change, before=record)).state is State.NEEDS_ATTENTION
    await redis.aclose()


async def test_a_job_that_waits_is_run_now_and_one_that_runs_stays_marked(
    ledger: Ledger, redis: ArqRedis, keys: Keys
) -> None:
    """An operator's change wakes the job; the mark of a worker that has it is left alone."""
    record = await opened(ledger)
    job = keys.reward_job(REFERENCE)
    await held(redis, keys, job)
    await ledger.defer_job(record, datetime(2100, 1, 1, tzinfo=UTC), TOKEN)
    await redis.set(keys.in_progress(job), "1")
    change = interventions.retry(record, has_address=False, by="tess", now=NOW)
    assert change.job == Due()
    await ledger.apply(change, before=record)
    score = await redis.zscore(keys.queue, job)
    assert score is not None
    assert score <= datetime.now(UTC).timestamp() * 1000 + 1
    assert await redis.exists(keys.in_progress(job)) == 1


async def test_a_hold_that_comes_first_stops_the_dispatch_that_was_decided_before_it(
    ledger: Ledger, redis: ArqRedis, keys: Keys
) -> None:
    """There is no moment between a hold and the last dispatch: "about to call" is refused, and decided anew."""
    record = await opened(ledger)
    found = transitions.address_found(record, Personal(address=ADDRESS), by="worker", now=NOW)
    ready = await ledger.apply(found, before=record)
    for scope in transitions.scopes(ready, "webhook"):
        await redis.hset(keys.holds, scope, "x")  # type: ignore[misc] # redis-py types both its clients with one signature
        with pytest.raises(Stale):
            await ledger.apply(transitions.begin_dispatch(ready, "webhook", deadline=NOW, now=NOW), before=ready)
        await redis.hdel(keys.holds, scope)  # type: ignore[misc] # the same
    begun = transitions.begin_dispatch(ready, "webhook", deadline=NOW, now=NOW)
    assert (await ledger.apply(begun, before=ready)).state is State.DISPATCHING


async def test_a_hold_that_was_lifted_meanwhile_holds_nothing(ledger: Ledger) -> None:
    """A worker that had read the hold before it was released cannot leave a reward behind in it."""
    record = await opened(ledger)
    hold = Hold(source="everything", why="stock-taking")
    with pytest.raises(Stale):
        await ledger.apply(transitions.put_on_hold(record, hold, by="worker", now=NOW, at_large=True), before=record)
    assert (await ledger.load(REFERENCE)).record == record


async def test_what_goes_on_from_a_lost_lease_is_refused(ledger: Ledger, redis: ArqRedis, keys: Keys) -> None:
    """A worker whose job another one has by now cannot begin a call: nothing is written."""
    record = await opened(ledger)
    found = transitions.address_found(record, Personal(address=ADDRESS), by="worker", now=NOW)
    await redis.set(keys.in_progress(keys.reward_job(REFERENCE)), "another token")
    with pytest.raises(LeaseLost):
        await ledger.apply(found, before=record, token=TOKEN)
    for step in (ledger.end_job(record, TOKEN), ledger.defer_job(record, NOW, TOKEN)):
        with pytest.raises(LeaseLost):
            await step
    assert (await ledger.load(REFERENCE)).record == record
    assert (len(await ledger.journal(REFERENCE)), await redis.zcard(keys.queue)) == (1, 1)


@pytest.mark.parametrize("step", [End(), Due(), Due(datetime(2100, 1, 1, tzinfo=UTC))])
@pytest.mark.parametrize("mark", ["another token", None], ids=["taken by another", "run out"])
async def test_what_only_a_late_worker_knows_is_written_counted_and_its_job_left_alone(
    ledger: Ledger, redis: ArqRedis, keys: Keys, step: End | Due, mark: str | None
) -> None:
    """The outcome of its call stands in the record; the job stays as it is, with whoever holds it."""
    record = await opened(ledger)
    job = keys.reward_job(REFERENCE)
    if mark is not None:
        await redis.set(keys.in_progress(job), mark)
    await redis.set(keys.retry(job), 3)
    before = await of_job(redis, keys, job)
    written = metrics.LATE_WRITES.labels("written")._value.get()  # noqa: SLF001 - the client offers no other way
    wanted = msgspec.structs.replace(transitions.wants_attention(record, "refused", now=NOW), job=step)
    assert (await ledger.apply(wanted, before=record, token=TOKEN)).state is State.NEEDS_ATTENTION
    view = await ledger.load(REFERENCE)
    assert view.record is not None
    assert (view.record.state, len(await ledger.journal(REFERENCE))) == (State.NEEDS_ATTENTION, 2)
    assert await of_job(redis, keys, job) == before
    assert metrics.LATE_WRITES.labels("written")._value.get() == written + 1  # noqa: SLF001 - the same


async def of_job(redis: ArqRedis, keys: Keys, job: str) -> list[object]:
    """Return all that is stored of a job."""
    return [await redis.zscore(keys.queue, job), *await redis.mget(keys.job_parts(job)[1:])]


async def test_a_delivery_is_opened_only_by_who_holds_it(ledger: Ledger, redis: ArqRedis, keys: Keys) -> None:
    """A late worker opens nothing and settles nothing."""
    await Queue(redis, keys).store(DELIVERY)
    await redis.set(keys.in_progress(keys.delivery_job(DELIVERY.id)), "another token")
    settled = SettledDelivery(id=DELIVERY.id, token=TOKEN, event="customer.rewarded")
    with pytest.raises(LeaseLost):
        await ledger.apply(transitions.receive(OPENING, now=NOW), before=None, delivery=settled)
    assert (await ledger.load(REFERENCE)).record is None
    assert await redis.exists(keys.job(keys.delivery_job(DELIVERY.id))) == 1
    assert await redis.exists(keys.delivery(DELIVERY.id), keys.events, keys.journal(REFERENCE)) == 0
    assert await redis.zrange(keys.queue, 0, -1) == [keys.delivery_job(DELIVERY.id).encode()]
