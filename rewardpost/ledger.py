"""The ledger: one record for each reward, read and changed in single steps.

What a change is stands in `transitions`; here it is only written, all at once, and refused when the record has
changed since it was read. So two workers, or a worker and an operator, can decide at the same time and exactly
one of them is heard; the other one reads again and decides anew.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

import msgspec
from redis.asyncio import Redis

from rewardpost import logs, metrics
from rewardpost.changes import Change, Due, End, JobStep, Keep
from rewardpost.findings import Known
from rewardpost.fulfilment import Entry, Fulfilment, Personal
from rewardpost.keys import DELIVERY_MEMORY, RECORD_LIFE, Keys
from rewardpost.lease import LeaseLost
from rewardpost.queue import SHIP_REWARD, job_payload
from rewardpost.scripts import Script
from rewardpost.states import SETTLED, State

_LOAD = Script("load_fulfilment")
_CHANGE = Script("change_fulfilment")
_INSTALL = Script("note_installation")

_RECORD = msgspec.msgpack.Decoder(Fulfilment)
_PERSONAL = msgspec.msgpack.Decoder(Personal)
_ENTRY = msgspec.msgpack.Decoder(Entry)

_EPOCH = datetime.fromtimestamp(0, UTC)

log = logs.get(__name__)


class Stale(Exception):  # noqa: N818 - an everyday answer, not a fault
    """The record has changed since it was read; read it again and decide anew."""


class View(msgspec.Struct, frozen=True, kw_only=True):
    """What the ledger says of one reward at one moment."""

    now: datetime
    """Redis's clock."""
    record: Fulfilment | None
    done: State | None
    """How it ended, where only the marker is left."""
    holds: Mapping[str, str]
    """What is held at large, with the reasons."""
    installed_at: datetime | None
    watched_since: datetime | None = None
    """Since when some worker has shown a sign of life without a gap."""
    personal: Personal = Personal()
    """Empty once it has been erased."""


class SettledDelivery(msgspec.Struct, frozen=True, kw_only=True):
    """The delivery that a change settles in the same write."""

    id: str
    token: str
    """Under which the caller holds the delivery's job."""
    event: str
    """Event type, for the count."""


class Ledger:
    """Reads and writes fulfilments."""

    def __init__(self, redis: Redis, keys: Keys, *, retention: timedelta) -> None:
        self.keys = keys
        self._redis = redis
        self._retention = retention

    async def load(self, reference: str) -> View:
        """Return what is known of a reward; the parts are of one moment."""
        keys = self.keys
        now, record, done, holds, installed_at, personal, watched_since = await _LOAD.run(
            self._redis,
            keys=[
                keys.fulfilment(reference),
                keys.done(reference),
                keys.holds,
                keys.installed_at,
                keys.personal(reference),
                keys.watch,
            ],
            args=[reference],
        )
        return View(
            now=datetime.fromtimestamp(now / 1_000_000, UTC),
            record=_RECORD.decode(record) if record else None,
            done=State(done.decode()) if done else None,
            holds={holds[i].decode(): holds[i + 1].decode() for i in range(0, len(holds), 2)},
            installed_at=datetime.fromisoformat(installed_at.decode()) if installed_at else None,
            personal=_PERSONAL.decode(personal) if personal else Personal(),
            watched_since=datetime.fromtimestamp(int(watched_since), UTC) if watched_since else None,
        )

    async def apply(
        self,
        change: Change,
        *,
        before: Fulfilment | None,
        delivery: SettledDelivery | None = None,
        token: str = "",
    ) -> Fulfilment:
        """Write a change that was decided on `before`, and return the record as it now is.

        `token` says that the caller is the reward's own job, held under it. Once the lease is lost, what the caller
        found out is still written, but its job is left to whoever has it by now.

        Raises:
            Stale: the record is no longer `before`; nothing was written.
            LeaseLost: the delivery's job, or that of a reward which is to go on, is no longer the caller's; nothing
                was written.
        """
        after = msgspec.structs.replace(change.record, revision=change.record.revision + 1)
        arguments: dict[str, object] = {
            "customer": after.customer is not None,
            "done": after.state.value if after.state in SETTLED else None,
            "life_ms": RECORD_LIFE // timedelta(milliseconds=1),
            "forget_ms": self._retention // timedelta(milliseconds=1),
            "delivery": self._delivery(delivery),
            "while_held": change.while_held,
            "unless_held": change.unless_held,
        }
        blobs = [
            msgspec.msgpack.encode(after),
            msgspec.msgpack.encode(change.personal) if change.personal is not None else b"",
            job_payload(SHIP_REWARD, after.reference, at=after.changed_at or _EPOCH),
            *(msgspec.msgpack.encode(entry) for entry in change.entries),
        ]
        arguments["job"] = self._job(after, change.job, token)
        await self._write(arguments, blobs, after, before=before, delivery=delivery)
        return after

    async def end_job(self, record: Fulfilment, token: str) -> None:
        """End the reward's job, held under `token`, since there is nothing to do for this very record.

        Raises:
            Stale: the record has changed, so there may be something to do after all.
            LeaseLost: the job is no longer the caller's.
        """
        await self._step(record, End(), token)

    async def defer_job(self, record: Fulfilment, due: datetime, token: str) -> None:
        """Have the reward's job, held under `token`, run again at a time.

        Raises:
            Stale: the record has changed, so there may be something to do now.
            LeaseLost: the job is no longer the caller's.
        """
        await self._step(record, Due(due), token)

    async def known(self, references: Sequence[str]) -> dict[str, Known]:
        """Return what is known of each of many rewards, without what only one decision about one needs."""
        async with self._redis.pipeline(transaction=False) as pipe:
            for reference in references:
                pipe.hget(self.keys.fulfilment(reference), "record")
                pipe.hget(self.keys.done(reference), reference)
            found = await pipe.execute()
        return {
            reference: Known(
                record=_RECORD.decode(record) if record else None, done=State(done.decode()) if done else None
            )
            for reference, record, done in zip(references, found[::2], found[1::2], strict=True)
        }

    async def personal(self, reference: str) -> Personal:
        """Return what is personal about a reward; empty once it has been erased."""
        raw = await self._redis.get(self.keys.personal(reference))
        return _PERSONAL.decode(raw) if raw else Personal()

    async def journal(self, reference: str) -> list[Entry]:
        """Return all changes of a reward, oldest first."""
        lines = await self._redis.lrange(self.keys.journal(reference), 0, -1)  # type: ignore[misc] # redis-py types both its clients with one signature
        return [_ENTRY.decode(line) for line in lines]

    async def installed(self) -> datetime:
        """Return the moment of installation, which is now when this is the first start."""
        seconds, microseconds = await self._redis.time()
        now = datetime.fromtimestamp(seconds + microseconds / 1_000_000, UTC)
        raw = await _INSTALL.run(self._redis, keys=[self.keys.installed_at], args=[now.isoformat()])
        return datetime.fromisoformat(raw.decode())

    async def _step(self, record: Fulfilment, step: JobStep, token: str) -> None:
        payload = job_payload(SHIP_REWARD, record.reference, at=record.changed_at or _EPOCH)
        arguments: dict[str, object] = {"job": self._job(record, step, token)}
        await self._write(arguments, [b"", b"", payload], record, before=record, delivery=None)

    async def _write(
        self,
        arguments: dict[str, object],
        blobs: list[bytes],
        after: Fulfilment,
        *,
        before: Fulfilment | None,
        delivery: SettledDelivery | None,
    ) -> None:
        arguments |= {"reference": after.reference, "revision": before.revision if before is not None else 0}
        keys = self.keys
        job_id = keys.reward_job(after.reference)
        delivery_id = delivery.id if delivery is not None else ""
        delivery_job = keys.delivery_job(delivery_id)
        answer = await _CHANGE.run(
            self._redis,
            keys=[
                keys.fulfilment(after.reference),
                keys.journal(after.reference),
                keys.personal(after.reference),
                keys.done(after.reference),
                keys.state(before.state if before is not None else after.state),
                keys.state(after.state),
                keys.customer(after.customer or ""),
                *keys.job_parts(job_id),
                *keys.job_parts(delivery_job),
                keys.delivery(delivery_id),
                keys.events,
                keys.holds,
                keys.wake_up,
            ],
            args=[msgspec.msgpack.encode(arguments), *blobs],
        )
        if answer[0] == b"stale" or answer[0] == b"done":
            raise Stale(after.reference)
        if answer[-1] == b"lost":
            if answer[0] == b"lost":
                raise LeaseLost(job_id if delivery is None else delivery_job)
            metrics.LATE_WRITES.labels("written").inc()
            log.warning("late_change_written", reference=after.reference)

    def _job(self, record: Fulfilment, step: JobStep, token: str) -> dict[str, object]:
        job: dict[str, object] = {"id": self.keys.reward_job(record.reference), "token": token or None}
        match step:
            case End():
                job["step"] = "end"
            case Keep():
                job["step"] = "keep"
            case Due(at):
                job["step"] = "due"
                if at is not None:
                    job["due_ms"] = int(at.timestamp() * 1000)
        return job

    def _delivery(self, delivery: SettledDelivery | None) -> dict[str, object] | None:
        if delivery is None:
            return None
        return {
            "job_id": self.keys.delivery_job(delivery.id),
            "token": delivery.token,
            "memory_ms": DELIVERY_MEMORY // timedelta(milliseconds=1),
            "event": delivery.event,
        }
