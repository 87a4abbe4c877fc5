"""What operators do, on a real ledger: written under their name, decided anew when stale, seen by the next worker."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from arq.connections import ArqRedis

from rewardpost import reference, transitions
from rewardpost.addresses import PostalAddress
from rewardpost.changes import WORKER
from rewardpost.fulfilment import Fulfilment, Hold, Opening, Personal
from rewardpost.keys import Keys
from rewardpost.ledger import Stale
from rewardpost.operations import NotFound, Operations
from rewardpost.states import State

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
ADDRESS = PostalAddress(name="Tess", line_1="Probestrasse 7", city="Musterstadt", country="DE")


class Desk:
    """An operator's hands, and a way to bring rewards into a state."""

    def __init__(self, redis: ArqRedis, keys: Keys) -> None:
        self.operations = Operations(redis, keys, retention=timedelta(days=30), by="tess")
        self.ledger = self.operations.ledger
        self.redis = redis
        self.keys = keys

    async def open(self, name: str, *, customer: str = "cust_1") -> Fulfilment:
        """Open a reward."""
        opening = Opening(
            reference=reference.for_redemption(name),
            redemption=name,
            customer=customer,
            kind="material",
            article="mug",
            article_name="Mug",
            redeemed_at=NOW,
            received_at=NOW,
            personal=Personal(name="Tess"),
            state=State.RECEIVED,
            why="a mug",
        )
        return await self.ledger.apply(transitions.receive(opening, now=NOW), before=None)

    async def ready(self, name: str, hold: Hold | None = None) -> Fulfilment:
        """Open a reward and give it an address; a worker holds it where it is said to."""
        record = await self.open(name)
        found = transitions.address_found(record, Personal(name="Tess", address=ADDRESS), by=WORKER, now=NOW)
        record = await self.ledger.apply(found, before=record)
        if hold is None:
            return record
        held = transitions.put_on_hold(record, hold, by=WORKER, now=NOW)
        return await self.ledger.apply(held, before=record)

    async def submitted(self, name: str) -> Fulfilment:
        """Bring a reward to the packing list."""
        record = await self.ready(name)
        change = transitions.submit_at_once(record, "manual", record.reference, now=NOW)
        return await self.ledger.apply(change, before=record)

    async def queued(self, record: Fulfilment) -> bool:
        """Say whether the reward's job waits."""
        return await self.redis.zscore(self.keys.queue, self.keys.reward_job(record.reference)) is not None


@pytest.fixture
def desk(redis: ArqRedis, keys: Keys) -> Desk:
    """An operator's hands on the empty server."""
    return Desk(redis, keys)


async def test_what_a_person_did_stands_in_the_journal_under_their_name(desk: Desk) -> None:
    """When, from, to, why and who."""
    record = await desk.submitted("r_1")
    await desk.operations.shipped(record.reference, "T1")
    entry = (await desk.ledger.journal(record.reference))[-1]
    assert (entry.before, entry.after, entry.by) == (State.SUBMITTED, State.SHIPPED, "tess")
    assert datetime.now(UTC) - entry.at < timedelta(minutes=1)


async def test_a_decision_on_an_old_record_is_made_anew(desk: Desk) -> None:
    """Ten operators at once: each tracking number is kept, none overwrites another's."""
    record = await desk.submitted("r_1")
    numbers = [f"T{number}" for number in range(10)]
    await asyncio.gather(*(desk.operations.shipped(record.reference, number) for number in numbers))
    view = await desk.ledger.load(record.reference)
    assert view.record is not None
    assert sorted(view.record.tracking) == numbers


async def test_an_unknown_reward_is_said_to_be_unknown(desk: Desk) -> None:
    """Nothing is made up for it."""
    with pytest.raises(NotFound):
        await desk.operations.retry("vfy-r_9")
    assert await desk.redis.dbsize() == 0


async def test_an_address_from_a_person_is_kept_beside_the_name(desk: Desk) -> None:
    """What the webhook said of the customer stays; the reward goes on."""
    record = await desk.open("r_1")
    wanted = transitions.address_wanted(record, "address missing", now=NOW)
    await desk.ledger.apply(wanted, before=record)
    assert not await desk.queued(record)
    assert (await desk.operations.set_address(record.reference, ADDRESS)).state is State.READY
    assert await desk.ledger.personal(record.reference) == Personal(name="Tess", address=ADDRESS)
    assert await desk.queued(record)


@pytest.mark.parametrize(
    ("scope", "source", "goes_on"),
    [
        ("everything", "everything", True),
        ("everything", "dispatch", True),
        ("article:mug", "article:mug", True),
        ("provider:manual", "provider:manual", True),
        ("article:mug", "everything", False),
        ("article:mug", "article:mug-2", False),
        ("everything", "ship_since", False),
        ("everything", "reward", False),
    ],
)
async def test_lifting_a_hold_sends_on_what_it_held_and_nothing_else(
    desk: Desk, scope: str, source: str, *, goes_on: bool
) -> None:
    """A reward that something else holds stays held."""
    await desk.operations.hold_at_large(scope, "stock-taking")
    record = await desk.ready("r_1", Hold(source=source, why="x"))
    released = [found.reference async for found in desk.operations.release_at_large(scope, "done")]
    assert released == ([record.reference] if goes_on else [])
    assert await desk.queued(record) is goes_on
    assert await desk.operations.holds() == {}


async def test_lifting_a_hold_does_not_pass_ship_since(desk: Desk) -> None:
    """Only a release of this very reward says that it is not too old."""
    record = await desk.ready("r_1", Hold(source="everything", why="x"))
    async for found in desk.operations.release_at_large("everything", "done"):
        assert not found.released
    held = await desk.operations.hold(record.reference, "look at it")
    assert held.hold is not None
    assert (await desk.operations.release(record.reference, "looked at")).released


async def test_a_hold_at_large_says_who_and_why(desk: Desk) -> None:
    """The next worker reads it with the record."""
    record = await desk.ready("r_1")
    await desk.operations.hold_at_large("everything", "stock-taking")
    view = await desk.ledger.load(record.reference)
    assert view.holds == {"everything": "stock-taking (by tess)"}
    assert await desk.operations.holds() == view.holds


@pytest.mark.parametrize(
    ("bring", "erased"),
    [
        (lambda desk: desk.open("r_1"), True),
        (lambda desk: desk.ready("r_1"), True),
        (lambda desk: desk.submitted("r_1"), False),
    ],
    ids=["received", "ready", "submitted"],
)
async def test_erasing_a_customer_spares_parcels_on_their_way(
    desk: Desk, bring: Callable[[Desk], "asyncio.Future[Fulfilment]"], *, erased: bool
) -> None:
    """What a provider or a packer still needs is kept; all else of this customer goes, and nobody else's."""
    record = await bring(desk)
    other = await desk.open("r_2", customer="cust_2")
    assert await desk.operations.erase_customer("cust_1") == int(erased)
    assert (await desk.ledger.personal(record.reference) == Personal()) is erased
    assert await desk.ledger.personal(other.reference) != Personal()


async def test_an_address_that_was_being_looked_up_is_not_written_back(desk: Desk) -> None:
    """A worker that decided before the erasing is refused, and what is personal stays erased."""
    record = await desk.open("r_1")
    found = transitions.address_found(record, Personal(name="Tess"), by="worker", now=datetime.now(UTC))
    await desk.operations.erase_customer("cust_1")
    with pytest.raises(Stale):
        await desk.ledger.apply(found, before=record)
    assert await desk.ledger.personal(record.reference) == Personal()


async def test_rewards_are_counted_and_listed_by_state(desk: Desk) -> None:
    """The longest unchanged comes first."""
    first = await desk.open("r_1")
    second = await desk.open("r_2")
    await desk.submitted("r_3")
    listed = [record.reference async for record in desk.operations.in_states(State.RECEIVED)]
    assert listed == sorted([first.reference, second.reference])
    counts = await desk.operations.counts()
    assert {state: count for state, count in counts.items() if count} == {State.RECEIVED: 2, State.SUBMITTED: 1}
