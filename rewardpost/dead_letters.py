"""Dead letters: deliveries that could not be read or handled, whole, each with its reason, until a person acts."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import msgspec
from redis.asyncio import Redis

from rewardpost import codec
from rewardpost.delivery import Delivery
from rewardpost.keys import DEAD_LETTER_LIFE, DELIVERY_MEMORY, Keys
from rewardpost.lease import Lease, LeaseLost
from rewardpost.scripts import Script

_SETTLE = Script("settle_delivery")
_REPLAY = Script("replay_dead_letter")


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """One delivery that was set aside."""

    id: str
    """The delivery's id; for a job that could not even be read, the digest of its payload."""
    code: str
    """A short stable word for the reason, such as `not_json`."""
    why: str
    """What was expected; nothing of what came."""
    at: datetime
    job: str
    """The id of the job that it was, and will be when it is replayed."""
    payload: bytes
    """The job's payload as it lay on the queue."""

    @property
    def delivery(self) -> Delivery | None:
        """The delivery inside; None where the payload cannot be read."""
        arguments = codec.decode(self.payload)["a"]
        try:
            return msgspec.convert(arguments[0], Delivery) if arguments else None
        except msgspec.ValidationError:
            return None


class DeadLetters:
    """Keeps, lists, replays and discards dead letters; the first two steps are those of a worker."""

    def __init__(self, redis: Redis, keys: Keys) -> None:
        self._redis = redis
        self._keys = keys

    async def settle(self, lease: Lease, delivery: str, *, event: str) -> None:
        """End the job of a delivery that needs nothing more, and count its event type.

        Raises:
            LeaseLost: the job is no longer the caller's.
        """
        await self._settle(lease, delivery, event, "", "")

    async def add(self, lease: Lease, delivery: str, *, code: str, why: str) -> bool:
        """Move a running job from the queue to the dead letters in one step; False where its payload is gone.

        Raises:
            LeaseLost: the job is no longer the caller's.
        """
        return bool(await self._settle(lease, delivery, "", code, why) == b"dead")

    async def get(self, letter_id: str) -> DeadLetter | None:
        """Return one dead letter."""
        fields = await self._redis.hgetall(self._keys.dead_letter(letter_id))  # type: ignore[misc] # redis-py types both its clients with one signature
        if not fields:
            return None
        return DeadLetter(
            id=letter_id,
            code=fields[b"code"].decode(),
            why=fields[b"why"].decode(),
            at=datetime.fromtimestamp(int(fields[b"at"]) / 1000, UTC),
            job=fields[b"job"].decode(),
            payload=fields[b"payload"],
        )

    async def count(self) -> int:
        """Return how many there are."""
        return int(await self._redis.zcard(self._keys.dead_letters))

    async def all(self, *, since: datetime | None = None, code: str | None = None) -> AsyncIterator[DeadLetter]:
        """Yield dead letters, oldest first, as they were when asked."""
        least = since.timestamp() * 1000 if since is not None else "-inf"
        ids = await self._redis.zrangebyscore(self._keys.dead_letters, least, "+inf")
        for letter_id in ids:
            letter = await self.get(letter_id.decode())
            if letter is not None and code in {None, letter.code}:
                yield letter

    async def replay(self, letter: DeadLetter) -> bool:
        """Put it back on the queue as it came, behind what is new; False where somebody else has acted on it."""
        return await self._act(letter, "replay")

    async def discard(self, letter: DeadLetter) -> bool:
        """Drop it for good; False where somebody else has acted on it."""
        return await self._act(letter, "discard")

    async def _settle(self, lease: Lease, delivery: str, event: str, code: str, why: str) -> object:
        keys = self._keys
        answer = await _SETTLE.run(
            self._redis,
            keys=[
                *keys.job_parts(lease.job_id),
                keys.delivery(delivery),
                keys.events,
                keys.dead_letters,
                keys.dead_letter(delivery),
            ],
            args=[
                lease.job_id,
                delivery,
                _ms(DELIVERY_MEMORY),
                event,
                _ms(DEAD_LETTER_LIFE),
                code,
                why,
                lease.token,
            ],
        )
        if answer == b"lost":
            raise LeaseLost(lease.job_id)
        return answer

    async def _act(self, letter: DeadLetter, action: str) -> bool:
        keys = self._keys
        answer = await _REPLAY.run(
            self._redis,
            keys=[
                keys.queue,
                keys.job(letter.job),
                keys.dead_letters,
                keys.dead_letter(letter.id),
                keys.in_progress(letter.job),
                keys.retry(letter.job),
                keys.wake_up,
            ],
            args=[letter.job, letter.id, action],
        )
        return bool(answer == action.encode())


def _ms(duration: timedelta) -> int:
    return duration // timedelta(milliseconds=1)
