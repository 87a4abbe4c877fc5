"""Clients that cost less than redis-py's own: many commands in one packet; and enqueueing that never guesses.

arq's own `enqueue_job` takes six commands in three round trips, and answers None both for a duplicate and for a
connection that broke at its EXEC.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from uuid import uuid4

import hiredis
from arq.connections import ArqRedis
from arq.constants import (
    default_queue_name,
    in_progress_key_prefix,
    job_key_prefix,
    result_key_prefix,
    retry_key_prefix,
)
from arq.jobs import Job, serialize_job
from arq.utils import timestamp_ms, to_ms, to_unix_ms
from redis.asyncio import Redis
from redis.asyncio.connection import Connection
from redis.exceptions import ResponseError

from rewardpost.group_commit import GroupCommit
from rewardpost.keys import wake_up
from rewardpost.scripts import Script

_MOST_AT_ONCE = 256
_ENQUEUE = Script("enqueue_job")

Command = tuple[tuple[Any, ...], dict[str, Any]]


async def send(client: Redis, commands: Sequence[Command]) -> list[Any]:
    """Send commands in one packet over one connection of the client's pool, and return the answers, errors included.

    redis-py would pack each argument in Python, which costs more than all the rest of a call.
    """
    pool = client.connection_pool
    connection = await pool.get_connection()
    try:
        await connection.send_packed_command([b"".join(map(_packed, commands))])
        return [await _answer(client, connection, args[0], options) for args, options in commands]
    except BaseException:
        await connection.disconnect(nowait=True)  # what it would say next belongs to commands that are given up
        raise
    finally:
        await pool.release(connection)


class PackingRedis(Redis):
    """A client on an open pool for large commands that are sent one at a time."""

    async def execute_command(self, *args: Any, **options: Any) -> Any:  # noqa: ANN401 - each command has its own answer
        """Send a command and return its answer."""
        (answer,) = await send(self, [(args, options)])
        if isinstance(answer, ResponseError):
            raise answer
        return answer


class SharingRedis(ArqRedis):
    """arq's client on an open pool of connections; single commands that wait at the same moment leave together.

    For commands that answer at once: one that blocks would hold up all others.
    """

    def __init__(self, client: ArqRedis) -> None:
        super().__init__(
            connection_pool=client.connection_pool,
            job_serializer=client.job_serializer,
            job_deserializer=client.job_deserializer,
            default_queue_name=client.default_queue_name,
        )
        self._group: GroupCommit[Command, Any] = GroupCommit(partial(send, self), most=_MOST_AT_ONCE)

    async def execute_command(self, *args: Any, **options: Any) -> Any:  # noqa: ANN401 - each command has its own answer
        """Send a command together with those that wait at the same moment."""
        return await self._group.put((args, options))

    async def enqueue_job(
        self,
        function: str,
        *args: Any,  # noqa: ANN401 - each function has its own arguments
        _job_id: str | None = None,
        _queue_name: str | None = None,
        _defer_until: datetime | None = None,
        _defer_by: float | timedelta | None = None,
        _expires: float | timedelta | None = None,
        _job_try: int | None = None,
        **kwargs: Any,  # noqa: ANN401 - the same
    ) -> Job | None:
        """Enqueue a job as arq does, in one atomic call that also wakes an idle worker; None only for a duplicate.

        Its payload stays until the job ends, unless `_expires` says otherwise: no backlog may drop it.

        Raises:
            ValueError: both `_defer_until` and `_defer_by` were given.
            redis.exceptions.RedisError: the outcome is not known; with `_job_id`, trying again is safe.
        """
        if _defer_until and _defer_by:
            raise ValueError("expected _defer_until or _defer_by, got both")
        queue = _queue_name or self.default_queue_name or default_queue_name
        job_id = _job_id or uuid4().hex
        now = timestamp_ms()
        due = 0
        if _defer_until is not None:
            due = to_unix_ms(_defer_until)
        elif _defer_by:
            due = now + (to_ms(_defer_by) or 0)
        payload = serialize_job(function, args, kwargs, _job_try, now, serializer=self.job_serializer)
        stored = await _ENQUEUE.run(
            self,
            keys=[
                queue,
                job_key_prefix + job_id,
                in_progress_key_prefix + job_id,
                retry_key_prefix + job_id,
                result_key_prefix + job_id,
                wake_up(queue),
            ],
            args=[job_id, payload, due, to_ms(_expires) or 0],
        )
        return Job(job_id, self, _queue_name=queue, _deserializer=self.job_deserializer) if stored else None


async def _answer(client: Redis, connection: Connection, name: str, options: dict[str, Any]) -> Any:  # noqa: ANN401 - each command has its own answer
    try:
        return await client.parse_response(connection, name, **options)
    except ResponseError as exc:
        return exc


def _packed(command: Command) -> bytes:
    (name, *args), _ = command
    packed: bytes = hiredis.pack_command((*name.split(), *args))  # redis-py names some commands in two words
    return packed
