"""The sweep on a real server: what lost its job gets it back, and nothing else is disturbed."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from arq.connections import ArqRedis

from cli.embedded_server import EmbeddedServer
from rewardpost import transitions
from rewardpost.changes import WORKER
from rewardpost.fulfilment import Fulfilment, Hold, Opening, Personal
from rewardpost.keys import Keys
from rewardpost.missing_jobs import MissingJobs
from rewardpost.queue import AGAIN_MS
from rewardpost.reference import for_redemption
from rewardpost.settings import Settings
from rewardpost.states import State
from tests.auditing import House, working
from tests.builders import RECEIVED_AT
from tests.fakes import FakeProvider
from tests.house import until
from tests.seeding import ADDRESS, held
from worker import composition
from worker.reconcilers.protocol import Report, Scope
from worker.reconcilers.sweep import Sweep

BOUNDED = timedelta(seconds=30)
FOUND = Personal(name=ADDRESS.name, address=ADDRESS)


@pytest.fixture
def house(redis: ArqRedis, keys: Keys) -> House:
    """An installation without processes."""
    return House(redis, keys)


def sweep_of(house: House, *, reports_status: bool = True) -> Sweep:
    """Return the sweep of an installation whose provider may report what becomes of orders."""
    provider = FakeProvider()
    provider.reports_status = reports_status
    return Sweep(MissingJobs(house.redis, house.keys), house.audits, provider, poll=timedelta(minutes=15))


async def sweep(house: House, *, dry_run: bool = False, reports_status: bool = True) -> Report:
    """Sweep once."""
    return await sweep_of(house, reports_status=reports_status).run(Scope(dry_run=dry_run, longest=BOUNDED))


async def opened(house: House, name: str, *ways: str) -> str:
    """Open a reward, take it along some ways, and return its reference."""
    opening = Opening(
        reference=for_redemption(name),
        redemption=name,
        customer="cust_1",
        kind="material",
        article="mug",
        article_name="A mug",
        redeemed_at=RECEIVED_AT,
        received_at=RECEIVED_AT,
        personal=Personal(),
        state=State.RECEIVED,
        why="a product",
    )
    now = datetime.now(UTC)
    record = await house.ledger.apply(transitions.receive(opening, now=now), before=None)
    for way in ways:
        match way:
            case "ready":
                change = transitions.address_found(record, FOUND, by=WORKER, now=now)
            case "held":
                change = transitions.put_on_hold(record, Hold(source="reward", why="wait"), by=WORKER, now=now)
            case "dispatching":
                change = transitions.begin_dispatch(record, "fake", deadline=now, now=now)
            case "unknown":
                change = transitions.outcome_unknown(record, "the answer was lost", now=now)
            case "submitted":
                change = transitions.submitted(record, "o1", now=now, look_again=now + timedelta(minutes=15))
            case _:
                raise AssertionError(way)
        record = await house.ledger.apply(change, before=record)
    return record.reference


async def lose_job(house: House, reference: str) -> None:
    """Take a reward's job away, as a server that was put back from a backup may."""
    job_id = house.keys.reward_job(reference)
    await house.redis.zrem(house.keys.queue, job_id)
    await house.redis.delete(*house.keys.job_parts(job_id)[1:])


async def score(house: House, reference: str) -> float | None:
    """Return where a reward's job lies on the queue."""
    found: float | None = await house.redis.zscore(house.keys.queue, house.keys.reward_job(reference))
    return found


@pytest.mark.parametrize(
    "ways",
    [
        (),
        ("ready",),
        ("ready", "dispatching"),
        ("ready", "dispatching", "unknown"),
        ("ready", "dispatching", "submitted"),
    ],
    ids=lambda ways: ways[-1] if ways else "received",
)
async def test_a_lost_job_comes_back(house: House, ways: tuple[str, ...]) -> None:
    """Once, behind what is new, with the payload that it had; a second sweep finds nothing to do."""
    reference = await opened(house, "r_1", *ways)
    job = house.keys.job(house.keys.reward_job(reference))
    payload = await house.redis.get(job)
    await lose_job(house, reference)
    assert (await sweep(house)).done == 1
    found = await score(house, reference)
    assert found is not None
    assert found >= AGAIN_MS
    if payload is not None:  # the way to "dispatching" keeps the job that nobody holds here
        assert await house.redis.get(job) == payload
    assert (await sweep(house)).done == 0


async def test_an_order_that_can_be_followed_is_asked_about_later(house: House) -> None:
    """Not all at once, when all jobs are lost; and not at all where the provider cannot say."""
    reference = await opened(house, "r_1", "ready", "dispatching", "submitted")
    await lose_job(house, reference)
    assert (await sweep(house, reports_status=False)).done == 0
    before = datetime.now(UTC)
    await sweep(house)
    found = await score(house, reference)
    assert found is not None
    due = datetime.fromtimestamp((found - AGAIN_MS) / 1000, UTC)
    assert due >= before + timedelta(minutes=14)


async def test_what_needs_no_job_gets_none(house: House) -> None:
    """What is held, and what waits for a person."""
    held_ = await opened(house, "r_held", "ready", "held")
    waiting = await opened(house, "r_waiting")
    record = await house.record(waiting)
    change = transitions.address_wanted(record, "address missing", now=datetime.now(UTC))
    await house.ledger.apply(change, before=record)
    assert (await sweep(house)).done == 0
    assert [await score(house, held_), await score(house, waiting)] == [None, None]


async def test_waiting_and_running_jobs_are_left_alone(house: House) -> None:
    """Neither their place nor their lease changes, nor their payload."""
    waiting, deferred, running = [
        await opened(house, name, "ready") for name in ("r_waiting", "r_deferred", "r_running")
    ]
    due = datetime.now(UTC) + timedelta(hours=1)
    await house.ledger.defer_job(await house.record(deferred), due, "")
    job = await held(house.redis, house.keys, house.keys.reward_job(running))
    await house.redis.zadd(house.keys.queue, {job.id: 5 - AGAIN_MS})
    before = await house.redis.zrange(house.keys.queue, 0, -1, withscores=True)
    assert (await sweep(house)).done == 0
    assert await house.redis.zrange(house.keys.queue, 0, -1, withscores=True) == before
    assert await score(house, waiting) is not None
    assert await house.redis.get(house.keys.in_progress(job.id)) == job.lease.token.encode()


async def test_a_job_that_is_claimed_or_ended_meanwhile_is_not_restored(house: House) -> None:
    """What the sweep has read may be old by the time it writes: then it writes nothing."""
    jobs = MissingJobs(house.redis, house.keys)
    due = datetime.now(UTC)
    changed, claimed, enqueued = [await opened(house, f"r_{number}", "ready") for number in range(3)]
    for reference in (changed, claimed, enqueued):
        await lose_job(house, reference)
    read = (await jobs.page(State.READY, 0)).jobless
    assert {record.reference for record in read} == {changed, claimed, enqueued}

    await house.operations.cancel(changed, "changed his mind")
    await held(house.redis, house.keys, house.keys.reward_job(claimed))
    await house.ledger.defer_job(await house.record(enqueued), due + timedelta(hours=1), "")
    place = await score(house, enqueued)
    assert await jobs.restore([(record, due) for record in read]) == 0
    assert [await score(house, each) for each in (changed, claimed, enqueued)] == [None, None, place]


async def test_a_release_whose_jobs_got_lost_is_made_good(house: House) -> None:
    """Whatever enqueued nothing: the record alone says that something is to be done."""
    reference = await opened(house, "r_1", "ready", "held")
    await house.operations.release(reference, "go")
    await lose_job(house, reference)
    assert (await sweep(house)).done == 1


async def test_a_dry_run_only_counts(house: House) -> None:
    """Nothing is enqueued."""
    reference = await opened(house, "r_1")
    await lose_job(house, reference)
    assert (await sweep(house, dry_run=True)).done == 1
    assert await score(house, reference) is None


async def seed(house: House, state: State, count: int) -> None:
    """Write many records in a state, without jobs, faster than by their changes."""
    async with house.redis.pipeline(transaction=False) as pipe:
        for number in range(count):
            reference = f"vfy-r_{number:06}"
            record = Fulfilment(reference=reference, state=state, revision=1)
            mapping = {"revision": "1", "record": msgspec.msgpack.encode(record)}
            pipe.hset(house.keys.fulfilment(reference), mapping=mapping)
            pipe.zadd(house.keys.state(state), {reference: number})
        await pipe.execute()


async def test_a_run_that_takes_too_long_is_gone_on_with(house: House) -> None:
    """Each run comes a page further, and all of them together see every reward."""
    count = 3000
    await seed(house, State.RECEIVED, count)
    runs = 0
    restored = 0
    while True:
        report = await sweep_of(house).run(Scope(longest=timedelta(0)))
        runs += 1
        restored += report.done
        if not report.unfinished:
            break
    assert runs > 3
    assert restored == count
    assert await house.redis.zcard(house.keys.queue) == count
    # From here on it begins anew.
    await lose_job(house, "vfy-r_000000")
    while (report := await sweep_of(house).run(Scope(longest=timedelta(0)))).unfinished:
        restored += report.done
    assert restored + report.done == count + 1


async def test_many_pages_in_one_run(house: House) -> None:
    """Without a bound, all of them are seen in one go, wherever another run has stopped."""
    await seed(house, State.UNKNOWN, 2500)
    await sweep_of(house).run(Scope(longest=timedelta(0)))
    report = await sweep_of(house).run(Scope())
    assert (report.unfinished, report.checked >= 2500) == ("", True)
    assert await house.redis.zcard(house.keys.queue) == 2500


async def test_one_of_two_workers_runs_each_tick(
    server: EmbeddedServer, house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whole workers, sweeping each second: a lost job comes back and its reward goes on, and no tick runs twice."""
    monkeypatch.setattr(composition, "_TICKS", {"sweep": {"second": set(range(60))}})
    addresses = tmp_path / "addresses.csv"
    addresses.write_text(
        "customer_id,name,line_1,city,postal_code,country\n"
        f"cust_1,{ADDRESS.name},{ADDRESS.line_1},{ADDRESS.city},{ADDRESS.postal_code},DE\n",
        encoding="utf-8",
    )
    settings = Settings(
        redis_url=server.url,
        worker_port=None,
        ship_since=datetime(2020, 1, 1, tzinfo=UTC),
        address_file=addresses,
    )
    reference = await opened(house, "r_1")
    await lose_job(house, reference)

    async def marks() -> list[bytes]:
        return [key async for key in house.redis.scan_iter(match="arq:in-progress:*:sweep:*")]

    async def is_done() -> bool:
        return (await house.record(reference)).state is State.SUBMITTED and len(await marks()) >= 3

    async with working(settings) as first, working(settings) as second:
        await until(is_done, patience=30)
    ticks = len(await marks())  # each leaves a mark for a minute
    assert await score(house, reference) is None
    # One more job is that of the reward, on whichever of the two.
    assert first.jobs_complete + second.jobs_complete == ticks + 1
