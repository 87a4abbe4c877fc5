"""The provider audit on a real ledger, with a provider in memory."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from arq.connections import ArqRedis

from rewardpost import transitions
from rewardpost.changes import WORKER
from rewardpost.fulfilment import Fulfilment, Opening, Personal
from rewardpost.keys import Keys
from rewardpost.states import State
from tests.auditing import House, provider_audit
from tests.builders import RECEIVED_AT
from tests.fakes import FakeProvider
from tests.seeding import ADDRESS
from worker.providers.protocol import CannotTell, Guarantee, Order, Page, Progress
from worker.reconcilers.protocol import Report, Scope
from worker.reconcilers.registry import Reconcilers

REFERENCE = "vfy-r_1"
BOUND = timedelta(seconds=30)


@pytest.fixture
def house(redis: ArqRedis, keys: Keys) -> House:
    """An installation without processes."""
    return House(redis, keys)


class Warehouse(FakeProvider):
    """A provider with orders of a test's own, of which it shows some on a page."""

    def __init__(self, *orders: Order, size: int = 100) -> None:
        super().__init__(Guarantee.UNIQUE_KEY)
        self.orders = list(orders)
        self.pages: list[tuple[datetime, str | None]] = []
        self.failures: list[CannotTell] = []
        self.looks = 0
        self._size = size

    async def page(self, since: datetime, after: str | None) -> Page:
        """Return a page of the orders."""
        if self.failures:
            raise self.failures.pop(0)
        self.pages.append((since, after))
        first = int(after or 0)
        shown = self.orders[first : first + self._size]
        following = first + self._size
        return Page(orders=tuple(shown), next=str(following) if following < len(self.orders) else None)

    async def find(self, reference: str) -> Sequence[Order]:
        """Return the orders with this reference."""
        self.looks += 1
        return await super().find(reference)


def order(id_: str = "o1", reference: str = REFERENCE, progress: Progress = Progress.OPEN) -> Order:
    """Return an order."""
    return Order(id=id_, reference=reference, progress=progress)


async def audit(house: House, warehouse: Warehouse, scope: Scope | None = None) -> Report:
    """Audit once, as on schedule unless said otherwise."""
    parts = Reconcilers({"provider": provider_audit(house, warehouse)}, house.audits)
    return await parts.run("provider", scope or Scope(longest=BOUND))


async def opened(house: House, *, reference: str = REFERENCE) -> Fulfilment:
    """Open a reward."""
    opening = Opening(
        reference=reference,
        redemption=reference.removeprefix("vfy-"),
        customer="cust_1",
        kind="material",
        article="mug",
        article_name="A mug",
        redeemed_at=RECEIVED_AT,
        received_at=RECEIVED_AT,
        personal=Personal(),
        state=State.RECEIVED,
        why="a product",
    )
    return await house.ledger.apply(transitions.receive(opening, now=datetime.now(UTC)), before=None)


async def submitted(house: House, order_id: str = "o1") -> Fulfilment:
    """Open a reward and note an order for it."""
    now = datetime.now(UTC)
    record = await opened(house)
    ready = transitions.address_found(record, Personal(address=ADDRESS), by=WORKER, now=now)
    record = await house.ledger.apply(ready, before=record)
    record = await house.ledger.apply(transitions.begin_dispatch(record, "fake", deadline=now, now=now), before=record)
    return await house.ledger.apply(transitions.submitted(record, order_id, now=now), before=record)


def told(report: Report) -> list[tuple[str, str, str]]:
    """Return what was found, for comparison."""
    return [(finding.kind, finding.reference, finding.done) for finding in report.findings]


async def test_an_order_of_a_reward_that_nobody_knows_is_told(house: House) -> None:
    """It is kept as a finding; there is no record that could change."""
    report = await audit(house, Warehouse(order()))
    assert told(report) == [("unknown_order", REFERENCE, "")]
    assert [each.finding for each in await house.audits.findings()] == list(report.findings)
    assert await house.records() == []


async def test_orders_as_they_should_be_are_no_finding(house: House) -> None:
    """Looked at, and nothing said; cancelled ones do not count."""
    await submitted(house)
    warehouse = Warehouse(order(), order("o0", progress=Progress.CANCELLED))
    report = await audit(house, warehouse)
    assert (report.findings, report.checked, warehouse.looks) == ((), 1, 0)


async def test_two_live_orders_are_put_before_a_person(house: House) -> None:
    """Once: what the person decides then stands, though both orders are still there."""
    await submitted(house)
    warehouse = Warehouse(order(), order("o2"))
    assert told(await audit(house, warehouse)) == [("two_orders", REFERENCE, "needs_attention")]
    record = await house.record(REFERENCE)
    assert record.state is State.NEEDS_ATTENTION
    assert "o1 and o2" in record.why
    await house.operations.shipped(REFERENCE, "TRACK1")
    assert told(await audit(house, warehouse)) == [("two_orders", REFERENCE, "needs_attention")]
    assert (await house.record(REFERENCE)).state is State.SHIPPED


async def test_two_generations_at_once_are_two_orders(house: House) -> None:
    """The earlier one has not left, so both would be sent."""
    await submitted(house)
    report = await audit(house, Warehouse(order(), order("o2", f"{REFERENCE}-g2")))
    assert told(report) == [("two_orders", REFERENCE, "needs_attention")]


async def test_a_second_order_is_found_though_the_first_is_on_no_page(house: House) -> None:
    """The ledger has another one: the provider is asked for both."""
    await submitted(house)

    class Late(Warehouse):
        async def page(self, since: datetime, after: str | None) -> Page:
            page = await super().page(since, after)
            return Page(orders=page.orders[1:], next=page.next)

    warehouse = Late(order(), order("o2"))
    assert told(await audit(house, warehouse)) == [("two_orders", REFERENCE, "needs_attention")]
    assert warehouse.looks == 1


async def test_what_has_changed_since_its_page_is_no_finding(house: House) -> None:
    """The provider is asked once more before anybody is alarmed."""
    await submitted(house)

    class Moving(Warehouse):
        async def page(self, since: datetime, after: str | None) -> Page:
            page = await super().page(since, after)
            self.orders = [order("o1")]
            return page

    report = await audit(house, Moving(order("o1"), order("o2")))
    assert report.findings == ()
    assert (await house.record(REFERENCE)).state is State.SUBMITTED


@pytest.mark.parametrize("way", ["cancelled", "tombstone"])
async def test_an_order_of_a_reward_that_has_ended_is_told(house: House, way: str) -> None:
    """Nothing leaves an end, so a person only hears of it."""
    now = datetime.now(UTC)
    if way == "cancelled":
        record = await opened(house)
        await house.operations.cancel(record.reference, "changed his mind")
    else:
        await house.ledger.apply(transitions.roll_back_unknown(REFERENCE, "r_1", now=now), before=None)
    report = await audit(house, Warehouse(order()))
    assert told(report) == [("order_for_ended", REFERENCE, "")]
    assert way in report.findings[0].what


async def test_only_the_marker_of_an_end_is_enough(house: House) -> None:
    """A record expires, the marker stays."""
    record = await opened(house)
    await house.operations.cancel(record.reference, "changed his mind")
    await house.redis.delete(house.keys.fulfilment(REFERENCE))
    assert told(await audit(house, Warehouse(order()))) == [("order_for_ended", REFERENCE, "")]


async def test_an_order_without_a_recorded_call_is_put_before_a_person(house: House) -> None:
    """The reward has no job any more, and knows the order by now."""
    await opened(house)
    assert told(await audit(house, Warehouse(order()))) == [("unrecorded_order", REFERENCE, "needs_attention")]
    record = await house.record(REFERENCE)
    assert (record.state, record.provider_order) == (State.NEEDS_ATTENTION, "o1")
    assert await house.redis.zscore(house.keys.queue, house.keys.reward_job(REFERENCE)) is None


async def test_a_dry_run_asks_nobody_to_act(house: House) -> None:
    """It tells what is there, and leaves no trace."""
    await submitted(house)
    before = await house.redis.dbsize()
    report = await audit(house, Warehouse(order(), order("o2")), Scope(dry_run=True))
    assert told(report) == [("two_orders", REFERENCE, "")]
    assert (await house.record(REFERENCE)).state is State.SUBMITTED
    assert await house.redis.dbsize() == before


async def test_every_page_is_read_and_the_next_run_looks_less_far_back(house: House) -> None:
    """Thirty days at first, then what is new, with a day of overlap; `since` reaches further once."""
    warehouse = Warehouse(*(order(f"o{number}", f"vfy-r_{number}") for number in range(7)), size=3)
    before = datetime.now(UTC)
    assert (await audit(house, warehouse)).checked == 7
    assert [after for _, after in warehouse.pages] == [None, "3", "6"]
    assert abs(before - timedelta(days=30) - warehouse.pages[0][0]) < timedelta(minutes=1)
    await audit(house, warehouse)
    assert abs(before - timedelta(days=1) - warehouse.pages[-1][0]) < timedelta(minutes=1)
    since = before - timedelta(days=300)
    await audit(house, warehouse, Scope(since=since))
    assert warehouse.pages[-1][0] == since
    await audit(house, warehouse)
    assert warehouse.pages[-1][0] > before - timedelta(days=2)


async def test_a_run_that_is_broken_off_is_gone_on_with(house: House) -> None:
    """Told to wait longer than there is time for, the next run goes on at the same page."""
    warehouse = Warehouse(*(order(f"o{number}", f"vfy-r_{number}") for number in range(4)), size=2)

    class Busy(Warehouse):
        async def page(self, since: datetime, after: str | None) -> Page:
            if after is not None:
                raise CannotTell("too many requests (429)", retry_after=timedelta(hours=1))
            return await super().page(since, after)

    first = await audit(house, Busy(*warehouse.orders, size=2))
    assert (first.checked, first.unfinished, first.failed) == (2, "too many requests (429)", "")
    second = await audit(house, warehouse)
    assert (second.checked, second.unfinished) == (2, "")
    assert [after for _, after in warehouse.pages] == ["2"]


async def test_a_provider_that_does_not_say_is_asked_anew(house: House) -> None:
    """The run says so; the next one reads from the same time on."""
    warehouse = Warehouse(order())
    warehouse.failures = [CannotTell("got 500")]
    assert (await audit(house, warehouse)).failed == "got 500"
    assert told(await audit(house, warehouse)) == [("unknown_order", REFERENCE, "")]
    assert warehouse.pages[0][0] < datetime.now(UTC) - timedelta(days=29)


async def test_a_provider_without_a_list_is_passed_over(house: House) -> None:
    """Nothing is asked of it."""
    warehouse = Warehouse()
    warehouse.lists_orders = False
    assert "lists no orders" in (await audit(house, warehouse)).passed_over
