"""A deployment under load: workers that do not know a new task are replaced one after the other by some that do."""

import asyncio
import itertools
from pathlib import Path

from arq.connections import ArqRedis

from cli.embedded_server import EmbeddedServer
from tests.engine_workers import Crew, client, counted, crew, enqueue, is_drained, notes
from tests.house import until

OLD_TASKS = ("works",)
NEW_TASKS = ("works", "works_anew")
WORKERS = 3
EACH_SECONDS = 2.0
JOB_SECONDS = 0.2
AT_ONCE = 5
EVERY_SECONDS = 0.1


async def test_jobs_of_old_and_new_tasks_all_run_and_no_try_is_spent(
    own_server: EmbeddedServer, tmp_path: Path
) -> None:
    """Old workers leave the new task to new ones, and who ends gives back what it has in hand: none lost or dropped."""
    jobs: set[str] = set()
    with crew(own_server.tcp_url, tmp_path / "crew.log", lease_seconds=30, slots=20) as workers:
        async with client(own_server.url) as redis:
            old = [workers.start(tasks=OLD_TASKS) for _ in range(WORKERS)]
            enqueueing = asyncio.create_task(_enqueue_steadily(redis, jobs))
            for name in old:
                await asyncio.sleep(EACH_SECONDS)
                await _replace(workers, name)
            await asyncio.sleep(EACH_SECONDS)
            enqueueing.cancel()
            await asyncio.gather(enqueueing, return_exceptions=True)
            # Less than the lease: what a worker had in hand was given back, and did not run out.
            await until(lambda: is_drained(redis), patience=15)
            noted = await notes(redis)

            assert {note.job for note in noted if note.what == "end"} == jobs
            assert {note.attempt for note in noted} == {1}
            assert await redis.keys("arq:retry:*") == []
            broken_off = sum(note.what == "begin" for note in noted) - len(jobs)
            assert broken_off > 0
            assert sum([await counted(redis, name, "rewardpost_unknown_tasks_total") for name in old]) > 0


async def _replace(workers: Crew, name: str) -> None:
    workers.start(tasks=NEW_TASKS)
    assert await asyncio.to_thread(workers.dismiss, name) == 0


async def _enqueue_steadily(redis: ArqRedis, jobs: set[str]) -> None:
    for number in itertools.count():
        for task in NEW_TASKS:
            names = [f"{task}-{number}-{each}" for each in range(AT_ONCE)]
            jobs.update(names)
            await enqueue(redis, task, names, JOB_SECONDS)
        await asyncio.sleep(EVERY_SECONDS)
