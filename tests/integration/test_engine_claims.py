"""Claims on a real server: in order, with a share for what comes again, each job in one hand."""

import asyncio
import random
from collections.abc import AsyncIterator, Iterable, Mapping
from datetime import timedelta

import pytest
from arq.connections import ArqRedis

from cli.embedded_server import EmbeddedServer
from rewardpost.client import SharingRedis
from rewardpost.connection import connect
from rewardpost.dead_letters import DeadLetters
from rewardpost.delivery import Delivery, delivery_id
from rewardpost.keys import TRIES_LIFE, Keys
from rewardpost.lease import Lease
from rewardpost.queue import AGAIN_MS, Queue
from tests.builders import RECEIVED_AT
from tests.seeding import held
from worker.claims import AGAIN_SHARE, Claim, Claims, Ending, again, give_back, later

LEASE = timedelta(seconds=20)
LEASE_MS = LEASE // timedelta(milliseconds=1)
LONG_DUE_MS = 1_000_000
STORM = 2000


def worker_on(redis: ArqRedis, keys: Keys, name: str = "here") -> Claims:
    """Return what a worker of this name claims with."""
    return Claims(redis, keys.queue, lease=LEASE, worker=name)


@pytest.fixture
def claims(redis: ArqRedis, keys: Keys) -> Claims:
    """A worker's claims on the empty queue."""
    return worker_on(redis, keys)


@pytest.fixture
async def full(own_server: EmbeddedServer) -> AsyncIterator[ArqRedis]:
    """A client of a server that the test may fill."""
    client = connect(own_server.url, call_timeout=timedelta(seconds=10))
    yield client
    await client.aclose()


async def put(redis: ArqRedis, keys: Keys, dues: Mapping[str, float]) -> None:
    """Put jobs on the queue, due at these times in ms."""
    await redis.mset({keys.job(job_id): b"payload" for job_id in dues})
    await redis.zadd(keys.queue, dues)


async def put_retries(redis: ArqRedis, keys: Keys, job_ids: Iterable[str]) -> None:
    """Put jobs on the queue of which each has failed once and is due again."""
    await put(redis, keys, dict.fromkeys(job_ids, 1))
    failing = worker_on(redis, keys, "failing")
    failed = await failing.claim(STORM)
    assert all(await failing.end([(claim, again(timedelta(0))) for claim in failed.jobs]))


def ids(jobs: Iterable[Claim]) -> list[str]:
    """Return the ids of claimed jobs."""
    return [claim.lease.job_id for claim in jobs]


async def now_ms(redis: ArqRedis) -> int:
    """Return Redis's clock."""
    seconds, microseconds = await redis.time()
    return int(seconds * 1000 + microseconds // 1000)


async def test_first_come_first_served(claims: Claims, redis: ArqRedis, keys: Keys) -> None:
    """Jobs are claimed in the order in which they are due, as many as there are free slots."""
    dues = {f"job-{number}": LONG_DUE_MS + number for number in random.sample(range(10_000), 60)}
    await put(redis, keys, dues)
    claimed = [await claims.claim(25) for _ in range(3)]
    assert [len(answer.jobs) for answer in claimed] == [25, 25, 10]
    jobs = [claim for answer in claimed for claim in answer.jobs]
    assert ids(jobs) == sorted(dues, key=lambda job_id: dues[job_id])
    assert [claim.due_ms for claim in jobs] == sorted(dues.values())
    assert {(claim.payload, claim.tries) for claim in jobs} == {(b"payload", 1)}


async def test_what_is_not_due_stays_and_when_it_will_be_is_told(claims: Claims, redis: ArqRedis, keys: Keys) -> None:
    """Whichever lane it waits in."""
    now = await now_ms(redis)
    await put(redis, keys, {"new": now + 90_000, "again": AGAIN_MS + now + 60_000})
    claimed = await claims.claim(10)
    assert (claimed.jobs, claimed.more, claimed.paused) == ([], False, False)
    assert claimed.next_due == pytest.approx(60, abs=2)
    assert await redis.exists(keys.retry("new"), keys.in_progress("new")) == 0


@pytest.mark.parametrize("slots", [1, 3, 10])
async def test_a_storm_of_retries_holds_up_nothing_new_and_still_gets_its_share(
    claims: Claims, redis: ArqRedis, keys: Keys, slots: int
) -> None:
    """Behind 2,000 retries that have been due for longer, new jobs go on at three quarters of the pace."""
    await put_retries(redis, keys, (f"again-{number}" for number in range(STORM)))
    new = {f"new-{number:02d}": await now_ms(redis) for number in range(60)}
    await put(redis, keys, new)
    taken: list[str] = []
    while len([job_id for job_id in taken if job_id in new]) < len(new):
        claimed = await claims.claim(slots)
        assert len(claimed.jobs) == slots
        taken += ids(claimed.jobs)
    of_again = len(taken) - len(new)
    assert of_again == pytest.approx(AGAIN_SHARE * len(taken), abs=slots)
    assert [job_id for job_id in taken if job_id in new] == sorted(new)


async def test_slots_that_one_lane_leaves_free_go_to_the_other(claims: Claims, redis: ArqRedis, keys: Keys) -> None:
    """The share is for the moment in which both want all."""
    await put_retries(redis, keys, (f"again-{number}" for number in range(30)))
    assert len((await claims.claim(20)).jobs) == 20
    await put(redis, keys, {"new-1": 1, "new-2": 2})
    claimed = ids((await claims.claim(10)).jobs)
    assert (len(claimed), claimed[:2]) == (10, ["new-1", "new-2"])
    await put(redis, keys, {f"newer-{number}": LONG_DUE_MS for number in range(10)})
    assert len((await claims.claim(12)).jobs) == 12


async def test_a_replay_of_dead_letters_waits_behind_what_is_new(claims: Claims, redis: ArqRedis, keys: Keys) -> None:
    """Though it was put back earlier; then it gets what is free."""
    queue, letters = Queue(redis, keys), DeadLetters(redis, keys)
    bodies = [b"old-1", b"old-2", b"old-3", b"new"]
    *old, new = (Delivery(id=delivery_id(body), source="test", received_at=RECEIVED_AT, body=body) for body in bodies)
    for delivery in old:
        await queue.store(delivery)
        lease = (await held(redis, keys, keys.delivery_job(delivery.id))).lease
        await letters.add(lease, delivery.id, code="x", why="x")
        letter = await letters.get(delivery.id)
        assert letter is not None
        assert await letters.replay(letter)
    await queue.store(new)
    first, others = await claims.claim(1), await claims.claim(10)
    assert ids(first.jobs) == [keys.delivery_job(new.id)]
    assert set(ids(others.jobs)) == {keys.delivery_job(delivery.id) for delivery in old}


@pytest.mark.parametrize("life_ms", [5000, None])
async def test_a_live_mark_refuses_the_claim_and_moves_the_job_behind_it(
    claims: Claims, redis: ArqRedis, keys: Keys, life_ms: int | None
) -> None:
    """A running job that `Job.abort()` moves to the front is not run twice, nor looked at again before its time."""
    await put(redis, keys, {"j": 1, "other": 2})
    await redis.set(keys.in_progress("j"), "another worker", px=life_ms)
    now = await now_ms(redis)
    claimed = await claims.claim(10)
    assert ids(claimed.jobs) == ["other"]
    score = await redis.zscore(keys.queue, "j")
    assert score is not None
    assert score + AGAIN_MS - now == pytest.approx(life_ms or LEASE_MS, abs=1000)
    assert await redis.get(keys.in_progress("j")) == b"another worker"
    assert await redis.exists(keys.retry("j")) == 0


async def test_a_name_without_a_payload_is_taken_off(claims: Claims, redis: ArqRedis, keys: Keys) -> None:
    """It is told how many there were, and nothing of them stays."""
    await put(redis, keys, {"there": 3})
    await redis.zadd(keys.queue, {"gone-1": 1, "gone-2": AGAIN_MS + 2})
    claimed = await claims.claim(10)
    assert (ids(claimed.jobs), claimed.gone) == (["there"], 2)
    assert await redis.zrange(keys.queue, 0, -1) == [b"there"]
    assert await redis.keys("*gone*") == []


async def test_workers_never_share_a_job(redis: ArqRedis, keys: Keys) -> None:
    """Five that claim at the same moment get all of 500 jobs, each job once."""
    await put(redis, keys, {f"job-{number}": number for number in range(500)})

    async def work(name: str) -> list[str]:
        claims, taken = worker_on(redis, keys, name), list[str]()
        while (claimed := await claims.claim(7)).jobs:
            taken += ids(claimed.jobs)
        return taken

    shares = await asyncio.gather(*(work(f"worker-{number}") for number in range(5)))
    taken = [job_id for share in shares for job_id in share]
    assert len(taken) == len(set(taken)) == 500
    assert all(shares)


async def test_who_leaves_jobs_wakes_the_next_worker(claims: Claims, redis: ArqRedis, keys: Keys) -> None:
    """One element wakes one worker at a time, as long as there are jobs, and none when there are not."""
    sender = SharingRedis(redis)
    for number in range(3):
        await sender.enqueue_job("works", _job_id=f"job-{number}")
    await put(redis, keys, {"again": AGAIN_MS + 1})
    assert await redis.llen(keys.wake_up) == 1  # type: ignore[misc] # redis-py types both its clients with one signature
    answers = []
    while await redis.lpop(keys.wake_up):  # type: ignore[misc] # the same
        answers.append(await claims.claim(1))
    assert [answer.more for answer in answers] == [True, True, True, False]
    assert len({job_id for answer in answers for job_id in ids(answer.jobs)}) == 4


async def test_a_paused_queue_gives_none(claims: Claims, redis: ArqRedis, keys: Keys) -> None:
    """It is left as it is, and after it is resumed it gives all; what is in hand can end meanwhile."""
    queue = Queue(redis, keys)
    await put(redis, keys, {"in hand": 0, "new": 1, "again": AGAIN_MS + 1})
    in_hand = await claims.claim(1)
    await queue.pause("stock-taking")
    claimed = await claims.claim(10)
    assert (claimed.jobs, claimed.more, claimed.next_due, claimed.paused) == ([], False, None, True)
    assert await redis.exists(keys.retry("new"), keys.in_progress("new")) == 0
    assert await claims.end([(in_hand.jobs[0], Ending("end"))]) == [True]
    assert await queue.resume()
    assert await redis.llen(keys.wake_up) >= 1  # type: ignore[misc] # redis-py types both its clients with one signature
    assert set(ids((await claims.claim(10)).jobs)) == {"new", "again"}


async def test_a_full_server_gives_takes_back_and_prolongs(full: ArqRedis, keys: Keys) -> None:
    """What a worker does to jobs makes room in the end, so memory does not stop it."""
    claims = worker_on(full, keys)
    await put(full, keys, {"ends": 1, "fails": 2})
    await full.config_set("maxmemory", 1)
    ends, fails = (await claims.claim(10)).jobs
    assert await claims.renew(full, [ends.lease, fails.lease]) == []
    with_result = Ending("end", result=b"x", result_ms=60_000)
    assert await claims.end([(ends, with_result), (fails, again(timedelta(0)))]) == [True, True]
    assert ids((await claims.claim(10)).jobs) == ["fails"]
    assert await full.exists(keys.result("ends")) == 1


async def test_scripts_that_the_server_forgets_are_sent_again(claims: Claims, redis: ArqRedis, keys: Keys) -> None:
    """SCRIPT FLUSH before any call changes nothing."""
    await put(redis, keys, {"j": 1})
    await redis.script_flush()
    (claim,) = (await claims.claim(1)).jobs
    await redis.script_flush()
    assert await claims.renew(redis, [claim.lease]) == []
    await redis.script_flush()
    assert await claims.end([(claim, Ending("end"))]) == [True]
    assert await redis.exists(keys.queue, *keys.job_parts("j")[1:]) == 0


async def test_each_claim_has_a_token_of_its_own(claims: Claims, redis: ArqRedis, keys: Keys) -> None:
    """So a run that has lost its lease is told from the next one, by the same worker too."""
    await put(redis, keys, {"j": 1})
    (first,) = (await claims.claim(1)).jobs
    assert await redis.get(keys.in_progress("j")) == first.lease.token.encode()
    assert await claims.end([(first, give_back(first))]) == [True]
    (second,) = (await claims.claim(1)).jobs
    assert second.lease.token != first.lease.token
    assert await claims.end([(first, Ending("end", result=b"late"))]) == [False]
    assert await claims.renew(redis, [first.lease, second.lease]) == [first.lease]
    assert await redis.get(keys.in_progress("j")) == second.lease.token.encode()
    assert (await redis.exists(keys.job("j")), await redis.exists(keys.result("j"))) == (1, 0)


@pytest.mark.parametrize("ending", [Ending("end"), again(timedelta(0)), later(timedelta(0)), Ending("back", 1)])
async def test_who_has_lost_the_lease_can_do_nothing_to_the_job(
    claims: Claims, redis: ArqRedis, keys: Keys, ending: Ending
) -> None:
    """Neither end it, nor have it come again, nor give it back; those that end with it are not touched by that."""
    await put(redis, keys, {"lost": 1, "held": 2})
    lost, mine = (await claims.claim(2)).jobs
    await redis.set(keys.in_progress("lost"), "another token")
    before = await redis.zscore(keys.queue, "lost"), await redis.get(keys.retry("lost"))
    assert await claims.end([(lost, ending), (mine, Ending("end"))]) == [False, True]
    assert await redis.get(keys.in_progress("lost")) == b"another token"
    assert (await redis.zscore(keys.queue, "lost"), await redis.get(keys.retry("lost"))) == before
    assert await redis.exists(keys.job("lost"), keys.job("held")) == 1


async def test_tries_are_counted_by_the_claim_and_only_a_failure_keeps_them(
    claims: Claims, redis: ArqRedis, keys: Keys
) -> None:
    """What was given back or not tried costs none; the count itself does not stay for ever."""
    await put(redis, keys, {"j": 1})
    tries = []
    for ending in (again(timedelta(0)), later(timedelta(0)), Ending("back", 1), again(timedelta(0)), Ending("end")):
        (claim,) = (await claims.claim(1)).jobs
        tries.append(claim.tries)
        assert 0 < await redis.ttl(keys.retry("j")) <= TRIES_LIFE.total_seconds()
        assert await claims.end([(claim, ending)]) == [True]
    assert tries == [1, 2, 2, 2, 3]


async def test_a_lease_moves_the_job_to_its_end_and_a_heartbeat_on(claims: Claims, redis: ArqRedis, keys: Keys) -> None:
    """Nobody looks at a running job before its lease can have ended."""
    await put(redis, keys, {"j": 1})
    (claim,) = (await claims.claim(1)).jobs
    first = await redis.zscore(keys.queue, "j")
    assert first is not None
    assert first + AGAIN_MS - await now_ms(redis) == pytest.approx(LEASE_MS, abs=1000)
    assert await redis.pttl(keys.in_progress("j")) == pytest.approx(LEASE_MS, abs=1000)
    await redis.zadd(keys.queue, {"j": first - 10_000})
    await redis.pexpire(keys.in_progress("j"), 10_000)
    assert await claims.renew(redis, [Lease("never held", "x"), claim.lease]) == [Lease("never held", "x")]
    renewed = await redis.zscore(keys.queue, "j")
    assert renewed is not None
    assert renewed >= first
    assert await redis.pttl(keys.in_progress("j")) == pytest.approx(LEASE_MS, abs=1000)
    assert await redis.zscore(keys.queue, "never held") is None
