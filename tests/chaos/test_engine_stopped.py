"""A worker is stopped past its lease and goes on: what another one has decided meanwhile stands."""

import asyncio
import json
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from arq.connections import ArqRedis
from arq.jobs import Job

from cli.embedded_server import EmbeddedServer
from rewardpost import codec
from rewardpost.keys import DEFAULT_PREFIX, Keys
from rewardpost.queue import AGAIN_MS
from tests.engine_workers import DEFERRED, client, counted, crew, enqueue, has_begun, is_drained, let_go_on
from tests.house import until

LEASE_SECONDS = 1.0
STOPPED_IN_SECONDS = 2.0
FIRST_PARTS = ("finish", "defer", "fail")  # it would finish the job, retry it, or bury it: it has one try

KEYS = Keys(DEFAULT_PREFIX)


@pytest.mark.parametrize("second_part", ["hold", "defer", "finish"])
async def test_what_the_second_worker_decides_about_a_job_stands(
    own_server: EmbeddedServer, tmp_path: Path, second_part: str
) -> None:
    """The stopped worker can neither finish, retry nor bury a job that another one runs, has deferred or finished."""
    log = tmp_path / "crew.log"
    with crew(own_server.tcp_url, log, lease_seconds=LEASE_SECONDS, tasks=("plays",)) as workers:
        async with client(own_server.url) as redis:
            first = workers.start(max_tries=1)
            for part in FIRST_PARTS:
                await enqueue(redis, "plays", [part], STOPPED_IN_SECONDS, part, second_part)
            await until(lambda: has_begun(redis, first, len(FIRST_PARTS)))
            workers.stop(first)
            second = workers.start()
            await until(lambda: _has_decided(redis, second, second_part))
            before = [await _state(redis, job) for job in FIRST_PARTS]
            workers.go_on(first)
            await until(lambda: _says(log, "late_ending_refused", FIRST_PARTS))

            assert [await _state(redis, job) for job in FIRST_PARTS] == before
            await let_go_on(redis)
            if second_part != "defer":
                await until(lambda: is_drained(redis))
                assert [await _result(redis, job) for job in FIRST_PARTS] == [second] * len(FIRST_PARTS)
            assert [await asyncio.to_thread(workers.dismiss, name) for name in (first, second)] == [0, 0]
            late = "rewardpost_late_writes_total"
            assert await counted(redis, first, late, outcome="refused") == len(FIRST_PARTS)
            assert await counted(redis, second, late) == 0


async def test_what_it_had_in_hand_is_lost_and_what_it_takes_next_is_its_own(
    own_server: EmbeddedServer, tmp_path: Path
) -> None:
    """A worker that goes on counts the leases that it has lost while its jobs still run, and works on as before."""
    log = tmp_path / "crew.log"
    with crew(own_server.tcp_url, log, lease_seconds=LEASE_SECONDS, tasks=("plays",)) as workers:
        async with client(own_server.url) as redis:
            first = workers.start()
            await enqueue(redis, "plays", ["lost"], 4 * STOPPED_IN_SECONDS, "finish", "finish")
            await until(lambda: has_begun(redis, first))
            workers.stop(first)
            second = workers.start()
            await until(lambda: is_drained(redis))
            await asyncio.to_thread(workers.dismiss, second)
            workers.go_on(first)
            await until(lambda: _says(log, "lease_lost", ("lost",)))
            await enqueue(redis, "plays", ["next"], 0.0, "finish")
            await until(lambda: is_drained(redis))
            await until(lambda: _says(log, "late_ending_refused", ("lost",)))

            assert [await _result(redis, job) for job in ("lost", "next")] == [second, first]
            assert await asyncio.to_thread(workers.dismiss, first) == 0
            assert await counted(redis, first, "rewardpost_leases_lost_total", task="plays") == 1


async def _has_decided(redis: ArqRedis, second: str, part: str) -> bool:
    if part == "hold":
        return await has_begun(redis, second, len(FIRST_PARTS))
    if part == "finish":
        return await is_drained(redis)
    later = (time.time() + DEFERRED / timedelta(seconds=2)) * 1000
    return int(await redis.zcount(KEYS.queue, AGAIN_MS + later, "+inf")) == len(FIRST_PARTS)


async def _state(redis: ArqRedis, job: str) -> list[Any]:
    """Return all that is stored about a job, but for the score of a running one, which its heartbeat moves on."""
    mark, *others = await redis.mget(KEYS.in_progress(job), KEYS.job(job), KEYS.retry(job), KEYS.result(job))
    return [mark, *others, await redis.zscore(KEYS.queue, job) if mark is None else None]


async def _result(redis: ArqRedis, job: str) -> object:
    info = await Job(job, redis, _deserializer=codec.decode).result_info()
    assert info is not None
    return info.result


async def _says(log: Path, event: str, jobs: tuple[str, ...]) -> bool:
    text = await asyncio.to_thread(log.read_text, encoding="utf-8")
    lines = [json.loads(line) for line in text.splitlines()]
    return {line["job"] for line in lines if line["event"] == event} == set(jobs)
