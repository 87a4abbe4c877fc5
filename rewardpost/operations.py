"""What operators do, from the command or the dashboard: decide, write, try again when stale."""

from collections.abc import AsyncIterator, Callable
from datetime import timedelta

import msgspec
from redis.asyncio import Redis

from rewardpost import interventions
from rewardpost.addresses import PostalAddress
from rewardpost.changes import Change
from rewardpost.fulfilment import Fulfilment, Personal
from rewardpost.keys import Keys
from rewardpost.ledger import Ledger, Stale, View
from rewardpost.states import State

SCOPES = ("everything", "provider", "article")
"""What can be held at large; a single reward is held in its own record."""

_PAGE = 500


class NotFound(Exception):  # noqa: N818 - an answer to a person, not a fault of the program
    """The ledger knows no such reward."""


class Operations:
    """The actions of one operator, whose name stands in the journal."""

    def __init__(self, redis: Redis, keys: Keys, *, retention: timedelta, by: str) -> None:
        self.ledger = Ledger(redis, keys, retention=retention)
        self._redis = redis
        self._keys = keys
        self._by = by

    async def shipped(self, reference: str, tracking: str) -> Fulfilment:
        """Note that the parcel left."""
        return await self._change(
            reference,
            lambda view, record, _: interventions.shipped(record, tracking, by=self._by, now=view.now),
        )

    async def set_address(self, reference: str, address: PostalAddress) -> Fulfilment:
        """Give a reward the address it waits for."""
        return await self._change(
            reference,
            lambda view, record, personal: interventions.set_address(
                record, personal, address, by=self._by, now=view.now
            ),
        )

    async def retry(self, reference: str) -> Fulfilment:
        """Try a reward again, or now instead of later."""
        return await self._change(
            reference,
            lambda view, record, personal: interventions.retry(
                record, has_address=personal.address is not None, by=self._by, now=view.now
            ),
        )

    async def cancel(self, reference: str, why: str) -> Fulfilment:
        """Cancel a reward that has not left."""
        return await self._change(
            reference, lambda view, record, _: interventions.cancel(record, why, by=self._by, now=view.now)
        )

    async def discard(self, reference: str, why: str) -> Fulfilment:
        """Close a reward that needs attention without a parcel."""
        return await self._change(
            reference, lambda view, record, _: interventions.discard(record, why, by=self._by, now=view.now)
        )

    async def hold(self, reference: str, why: str) -> Fulfilment:
        """Hold one reward."""
        return await self._change(
            reference, lambda view, record, _: interventions.hold(record, why, by=self._by, now=view.now)
        )

    async def release(self, reference: str, why: str) -> Fulfilment:
        """Release one reward, past `SHIP_SINCE` too; what is held at large stays held."""
        return await self._change(
            reference,
            lambda view, record, _: interventions.release(record, why, by=self._by, now=view.now, for_good=True),
        )

    async def holds(self) -> dict[str, str]:
        """Return what is held at large, by scope, with the reasons."""
        found = await self._redis.hgetall(self._keys.holds)  # type: ignore[misc] # redis-py types both its clients with one signature
        return {scope.decode(): why.decode() for scope, why in found.items()}

    async def hold_at_large(self, scope: str, why: str) -> None:
        """Stop every dispatch of a scope (`everything`, `provider:<name>`, `article:<name>`) from now on."""
        await self._redis.hset(self._keys.holds, scope, f"{why} (by {self._by})")  # type: ignore[misc] # redis-py types both its clients with one signature

    async def release_at_large(self, scope: str, why: str) -> AsyncIterator[Fulfilment]:
        """Lift a hold and send on what it held, yielding each; `everything` also sends on what a shadow run held."""
        await self._redis.hdel(self._keys.holds, scope)  # type: ignore[misc] # the same
        sources = {scope, "dispatch"} if scope == "everything" else {scope}
        async for record in self.in_states(State.READY):
            if record.hold is not None and record.hold.source in sources:
                released = await self._release_held(record.reference, why, sources)
                if released is not None:
                    yield released

    async def in_states(self, *wanted: State) -> AsyncIterator[Fulfilment]:
        """Yield the rewards in these states, the longest unchanged first within each."""
        for state in wanted:
            references = await self._redis.zrange(self._keys.state(state), 0, -1)
            for start in range(0, len(references), _PAGE):
                for record in await self._records(references[start : start + _PAGE]):
                    if record.state is state:
                        yield record

    async def counts(self) -> dict[State, int]:
        """Return how many rewards are in each state."""
        async with self._redis.pipeline(transaction=False) as pipe:
            for state in State:
                pipe.zcard(self._keys.state(state))
            found = await pipe.execute()
        return dict(zip(State, found, strict=True))

    async def erase_customer(self, customer: str) -> int:
        """Erase what is personal about a customer, but for parcels on their way; return for how many rewards."""
        members = await self._redis.smembers(self._keys.customer(customer))  # type: ignore[misc] # the same
        return sum([await self._erase(reference.decode()) for reference in sorted(members)])

    async def _erase(self, reference: str) -> bool:
        def decide(view: View, record: Fulfilment, personal: Personal) -> Change:
            if personal == Personal():
                raise interventions.Refused("there is nothing left to erase")
            return interventions.erase(record, by=self._by, now=view.now)

        try:
            await self._change(reference, decide)
        except (interventions.Refused, NotFound):
            return False
        return True

    async def _release_held(self, reference: str, why: str, sources: set[str]) -> Fulfilment | None:
        def decide(view: View, record: Fulfilment, _: Personal) -> Change:
            if record.hold is None or record.hold.source not in sources:
                raise interventions.Refused("it is held for another reason by now")
            return interventions.release(record, why, by=self._by, now=view.now, for_good=False)

        try:
            return await self._change(reference, decide)
        except (interventions.Refused, NotFound):
            return None

    async def _records(self, references: list[bytes]) -> list[Fulfilment]:
        async with self._redis.pipeline(transaction=False) as pipe:
            for reference in references:
                pipe.hget(self._keys.fulfilment(reference.decode()), "record")
            found = await pipe.execute()
        return [msgspec.msgpack.decode(raw, type=Fulfilment) for raw in found if raw]

    async def _change(self, reference: str, decide: Callable[[View, Fulfilment, Personal], Change]) -> Fulfilment:
        while True:
            view = await self.ledger.load(reference)
            if view.record is None:
                raise NotFound(f"the ledger knows no reward {reference}")
            personal = await self.ledger.personal(reference)
            try:
                return await self.ledger.apply(decide(view, view.record, personal), before=view.record)
            except Stale:
                continue
