"""Rewards without a job: found page by page over the index of a state, and given one back in a single step."""

from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec
from redis.asyncio import Redis

from rewardpost.fulfilment import Fulfilment
from rewardpost.keys import Keys
from rewardpost.queue import SHIP_REWARD, job_payload
from rewardpost.scripts import Script
from rewardpost.states import State

PAGE = 500
"""About so many rewards are looked at in one go."""

_RESTORE = Script("restore_jobs")
_RECORD = msgspec.msgpack.Decoder(Fulfilment)
_EPOCH = datetime.fromtimestamp(0, UTC)


class JoblessPage(msgspec.Struct, frozen=True, kw_only=True):
    """One page of an index."""

    next: int
    """Where the next page begins; 0 after the last one."""
    looked_at: int
    jobless: tuple[Fulfilment, ...]
    """Those that have no entry on the queue."""


class MissingJobs:
    """Finds rewards whose job is missing."""

    def __init__(self, redis: Redis, keys: Keys) -> None:
        self._redis = redis
        self._keys = keys

    async def page(self, state: State, cursor: int) -> JoblessPage:
        """Look at some rewards in a state, beginning at the cursor, 0 for the first; all are seen by the last page."""
        following, members = await self._redis.zscan(self._keys.state(state), cursor, count=PAGE)
        references = [reference.decode() for reference, _ in members]
        return JoblessPage(
            next=int(following), looked_at=len(references), jobless=tuple(await self._jobless(references, state))
        )

    async def restore(self, jobs: Sequence[tuple[Fulfilment, datetime]]) -> int:
        """Enqueue the job of each of these rewards at its time, where it still lacks one; return how many did."""
        if not jobs:
            return 0
        keys = [self._keys.queue, self._keys.wake_up]
        args: list[str | bytes | int] = []
        for record, due in jobs:
            job_id = self._keys.reward_job(record.reference)
            keys += [self._keys.fulfilment(record.reference), *self._keys.job_parts(job_id)[1:]]
            payload = job_payload(SHIP_REWARD, record.reference, at=record.changed_at or _EPOCH)
            args += job_id, record.revision, payload, int(due.timestamp() * 1000)
        return int(await _RESTORE.run(self._redis, keys=keys, args=args))

    async def _jobless(self, references: Sequence[str], state: State) -> list[Fulfilment]:
        if not references:
            return []
        scores = await self._redis.zmscore(self._keys.queue, [self._keys.reward_job(each) for each in references])
        missing = [each for each, score in zip(references, scores, strict=True) if score is None]
        async with self._redis.pipeline(transaction=False) as pipe:
            for reference in missing:
                pipe.hget(self._keys.fulfilment(reference), "record")
            records = [_RECORD.decode(raw) for raw in await pipe.execute() if raw]
        return [record for record in records if record.state is state]
