"""Workers are killed again and again while they run thousands of jobs: none is lost, and none waits for long."""

import asyncio
import os
import random
from pathlib import Path

import pytest

from cli.embedded_server import EmbeddedServer
from tests.engine_workers import Crew, Note, client, crew, enqueue, is_drained, notes
from tests.house import until

JOBS = 6000
JOB_SECONDS = 0.05
WORKERS = 3
KILL_EVERY_SECONDS = 0.7
LEASE_SECONDS = 2.0
GRACE_SECONDS = 1.0
REPEATS = int(os.environ.get("CHAOS_REPEATS", "2"))


@pytest.mark.parametrize("seed", range(REPEATS))
async def test_no_job_is_lost_and_those_in_flight_at_a_kill_run_again_in_time(
    own_server: EmbeddedServer, tmp_path: Path, seed: int
) -> None:
    """Three workers, one killed every 0.7 s and replaced: all jobs run, a dead worker's within the lease and 1 s."""
    jobs = [f"job-{number:04d}" for number in range(JOBS)]
    with crew(own_server.tcp_url, tmp_path / "crew.log", lease_seconds=LEASE_SECONDS) as workers:
        async with client(own_server.url) as redis:
            for _ in range(WORKERS):
                workers.start()
            await enqueue(redis, "works", jobs, JOB_SECONDS)
            killing = asyncio.create_task(_kill(workers, random.Random(seed)))  # noqa: S311 - repeatable, no secret
            await until(lambda: is_drained(redis), patience=90)
            killing.cancel()
            noted = await notes(redis)
            left = await redis.keys("arq:[jir][obne]*")

    assert {note.job for note in noted if note.what == "end"} == set(jobs)
    assert [key for key in left if not key.startswith(b"arq:result:")] == []
    delays = _delays(noted, workers.killed)
    assert len(workers.killed) >= 10
    assert len(delays) >= len(workers.killed)
    assert max(delays) <= LEASE_SECONDS + GRACE_SECONDS


async def _kill(workers: Crew, chance: random.Random) -> None:
    while True:
        await asyncio.sleep(KILL_EVERY_SECONDS)
        workers.kill(chance.choice(workers.names))
        workers.start()


def _delays(noted: list[Note], killed: dict[str, float]) -> list[float]:
    """Return how long each job that a kill broke off waited for its next run."""
    ended = {(note.job, note.worker) for note in noted if note.what == "end"}
    begun: dict[str, list[Note]] = {}
    for note in noted:
        if note.what == "begin":
            begun.setdefault(note.job, []).append(note)
    return [
        after.at - killed[before.worker]
        for runs in begun.values()
        for before, after in zip(runs, [*runs[1:], None], strict=True)
        if before.worker in killed and (before.job, before.worker) not in ended
        if after is not None
    ]
