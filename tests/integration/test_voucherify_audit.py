"""The Voucherify audit, against a server that behaves like Voucherify's: nothing is missed, nothing is there twice."""

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import aiohttp
import pytest
from arq.connections import ArqRedis

from cli.embedded_server import EmbeddedServer
from rewardpost.fulfilment import Fulfilment
from rewardpost.keys import Keys
from rewardpost.limits import Limits
from rewardpost.queue import Receipt
from rewardpost.reference import for_redemption
from rewardpost.states import State
from tests import builders
from tests.auditing import VoucherifyHouse, settings_for, working
from tests.builders import body, changed, delivery, discount_coupon, rewarded, rolled_back
from tests.house import until
from tests.misbehaviours import Behaviour, answers, resets
from tests.turn_clock import Clock
from tests.voucherify_api import VoucherifyServer, ago, running
from worker import composition
from worker.reconcilers.protocol import Scope

NAME = "r_0000000000000001"
REFERENCE = for_redemption(NAME)


@pytest.fixture
async def voucherify() -> AsyncIterator[VoucherifyServer]:
    """Voucherify, on a free port."""
    async with running() as server:
        yield server


@pytest.fixture
async def house(
    redis: ArqRedis, keys: Keys, voucherify: VoucherifyServer, session: aiohttp.ClientSession
) -> VoucherifyHouse:
    """An installation an hour old, without a limit on calls."""
    house = VoucherifyHouse(redis, keys, session, settings_for(voucherify.url))
    await redis.set(keys.installed_at, ago(hours=1).isoformat())
    return house


def webhook(name: str = NAME) -> bytes:
    """Return the body of a reward's webhook."""
    return body(changed(rewarded(), "data.redemption.id", name))


async def test_a_withheld_webhook_is_found_and_the_reward_opened_once(
    house: VoucherifyHouse, voucherify: VoucherifyServer
) -> None:
    """It is taken in as if it had come, and does no harm when it comes after all, nor does a second look."""
    redeemed = ago(minutes=10)
    voucherify.redeem(NAME, redeemed)
    report = await house.run()
    assert [(each.kind, each.reference, each.done) for each in report.findings] == [
        ("missed_reward", REFERENCE, "taken in")
    ]
    assert await house.open_all() == ["opened"]
    record = await house.record(REFERENCE)
    assert (record.state, record.audited, record.article) == (State.RECEIVED, True, "mug-blue")
    assert (record.customer, record.redeemed_at) == (builders.CUSTOMER, redeemed)

    await house.deliver(delivery(webhook()))
    assert await house.open_all() == ["duplicate_reward"]
    again = await house.run()
    assert (again.done, again.findings, again.checked) == (0, (), 1)
    assert await house.open_all() == []
    assert [entry.why for entry in await house.ledger.journal(REFERENCE)] == ["found by an audit"]


async def test_a_webhook_that_comes_before_its_audit_is_opened_by_itself(
    house: VoucherifyHouse, voucherify: VoucherifyServer
) -> None:
    """What the ledger knows is passed over; what nobody bought a reward with, too."""
    voucherify.redeem(NAME, ago(minutes=10))
    voucherify.redeem("r_plain", ago(minutes=9), reward=None)["reward"] = None
    parent = voucherify.redeem("r_parent", ago(minutes=8))
    parent["related_object_type"] = "redemption"
    await house.deliver(delivery(webhook()))
    await house.open_all()
    report = await house.run()
    assert (report.done, report.checked, report.findings) == (0, 3, ())
    assert not (await house.record(REFERENCE)).audited


async def test_one_that_was_opened_while_its_webhook_was_on_its_way_is_opened_once(
    house: VoucherifyHouse, voucherify: VoucherifyServer
) -> None:
    """With both deliveries on the queue, one opens the reward and the other finds it."""
    voucherify.redeem(NAME, ago(minutes=10))
    await house.deliver(delivery(webhook()))
    await house.run()
    assert sorted(await house.open_all()) == ["duplicate_reward", "opened"]
    assert len(await house.ledger.journal(REFERENCE)) == 1


async def test_what_is_younger_than_two_minutes_is_left_for_the_next_run(
    house: VoucherifyHouse, voucherify: VoucherifyServer
) -> None:
    """Its webhook may still be on its way; it is not lost either."""
    entry = voucherify.redeem(NAME, ago(seconds=20))
    voucherify.redeem("r_older", ago(minutes=5))
    assert [each.reference for each in (await house.run()).findings] == ["vfy-r_older"]
    entry["date"] = ago(minutes=3).isoformat()
    assert [each.reference for each in (await house.run()).findings] == [REFERENCE]


async def test_every_page_is_read(house: VoucherifyHouse, voucherify: VoucherifyServer) -> None:
    """Over several pages, each redemption is taken in once, and the next run begins near the end.

    Those that failed are not even listed.
    """
    for number in range(100):
        voucherify.redeem(f"r_failed{number}", ago(minutes=55), result="FAILURE", status="FAILED")
    for number in range(250):
        voucherify.redeem(f"r_{number:04}", ago(minutes=50) + timedelta(seconds=10 * number))
    report = await house.run()
    assert (report.done, report.checked, len(voucherify.asked)) == (250, 250, 3)
    assert await house.open_all() == ["opened"] * 250
    voucherify.asked.clear()
    again = await house.run()
    assert again.done == 0
    assert len(voucherify.asked) == 1
    assert 1 <= again.checked <= 31


async def test_few_calls_a_minute_are_enough(
    redis: ArqRedis, keys: Keys, voucherify: VoucherifyServer, session: aiohttp.ClientSession, clock: Clock
) -> None:
    """Where its turn does not come in time, a run keeps where it is, and the following ones come to the end."""
    now = datetime.fromtimestamp(clock.now / 1_000_000, UTC)
    await redis.set(keys.installed_at, (now - timedelta(hours=1)).isoformat())
    for number in range(300):  # within less than the overlap
        voucherify.redeem(f"r_{number:04}", now - timedelta(minutes=5) + timedelta(milliseconds=number * 100))
    settings = settings_for(voucherify.url, voucherify_calls_per_minute=3)
    house = VoucherifyHouse(redis, keys, session, settings, Limits(redis, keys, lead=timedelta()))
    done = []
    for _ in range(4):
        report = await house.run(Scope(longest=timedelta(seconds=10)))
        done.append((report.done, bool(report.unfinished), bool(report.failed)))
        clock.move(21)
    # Each page begins with the latest entry of the one before.
    assert done == [(99, True, False), (98, True, False), (98, True, False), (5, False, False)]
    assert len(voucherify.asked) == 4


async def test_a_limit_that_voucherify_names_is_waited_out_or_left_to_the_next_run(
    house: VoucherifyHouse, voucherify: VoucherifyServer
) -> None:
    """`Retry-After` is obeyed: there is time for it, or there is not."""
    voucherify.redeem(NAME, ago(minutes=10))
    voucherify.calls_left = 0
    report = await house.run(Scope(longest=timedelta(seconds=0.5)))
    assert "429" in report.unfinished
    assert not report.failed

    run = asyncio.create_task(house.run(Scope()))
    while voucherify.refused < 2:
        await asyncio.sleep(0.01)
    voucherify.calls_left = None
    assert (await run).done == 1


@pytest.mark.parametrize(
    "misbehaviour",
    [
        answers(200, b""),
        answers(200, b"<html>"),
        answers(200, b"{}"),
        answers(200, b'{"redemptions": null}'),
        answers(200, b'{"redemptions": [{"id": '),
        answers(200, b"[" * 5000),
        answers(400, b'{"code": 400}'),
        answers(401, b'{"code": 401}'),
        answers(404, b""),
        answers(302, Location="/elsewhere"),
        answers(500, b"oops"),
        resets,
    ],
    ids=["empty", "html", "object", "null", "broken", "deep", "400", "401", "404", "302", "500", "reset"],
)
async def test_an_answer_that_cannot_be_used_leaves_the_position(
    house: VoucherifyHouse, voucherify: VoucherifyServer, misbehaviour: Behaviour
) -> None:
    """The run says so, and the next one finds all there is."""
    voucherify.redeem("r_before", ago(minutes=30))
    await house.run()
    position = await house.audits.position("voucherify")
    voucherify.redeem(NAME, ago(minutes=10))
    voucherify.misbehaviours = [misbehaviour] * 2  # aiohttp asks again by itself where a kept connection breaks
    report = await house.run()
    assert report.failed
    assert (report.done, await house.audits.position("voucherify")) == (0, position)
    voucherify.misbehaviours.clear()
    assert (await house.run()).done == 1


@pytest.mark.parametrize("fault", ["obeys_order", "obeys_after"])
async def test_a_list_that_is_not_as_asked_for_is_not_believed(
    house: VoucherifyHouse, voucherify: VoucherifyServer, fault: str
) -> None:
    """In another order its end would be taken for the latest there is, and the rest would never be read."""
    for number in range(5):
        voucherify.redeem(f"r_{number}", ago(hours=48 if number == 0 else 1) + timedelta(minutes=10 * number))
    setattr(voucherify, fault, False)
    report = await house.run()
    assert report.failed.startswith("expected Voucherify to list")
    assert (report.done, await house.audits.position("voucherify")) == (0, None)


async def test_entries_that_name_nothing_are_told_and_hold_nothing_up(
    house: VoucherifyHouse, voucherify: VoucherifyServer
) -> None:
    """The one beside them is taken in; they are told once."""
    voucherify.redeem("", ago(minutes=12))
    voucherify.redeem(NAME, ago(minutes=11))["date"] = "soon"
    voucherify.obeys_after = False
    voucherify.entries[1]["date"] = ago(minutes=11).isoformat()
    voucherify.entries[0]["id"] = None
    report = await house.run()
    assert [each.kind for each in report.findings] == ["unreadable_redemption", "missed_reward"]
    assert [each.finding.kind for each in await house.audits.findings()].count("unreadable_redemption") == 1


async def test_a_coupon_is_closed_by_the_same_rules(house: VoucherifyHouse, voucherify: VoucherifyServer) -> None:
    """Not the audit but the routing says what a reward leads to."""
    voucherify.redeem(NAME, ago(minutes=10), discount_coupon())
    await house.run()
    await house.open_all()
    assert (await house.record(REFERENCE)).state is State.NOT_APPLICABLE


async def test_what_an_audit_finds_is_our_own_project(
    redis: ArqRedis, keys: Keys, voucherify: VoucherifyServer, session: aiohttp.ClientSession
) -> None:
    """The list names no project, so that VOUCHERIFY_PROJECT_IDS does not apply."""
    settings = settings_for(voucherify.url, voucherify_project_ids=frozenset({"proj_other"}))
    house = VoucherifyHouse(redis, keys, session, settings)
    voucherify.redeem(NAME, ago(minutes=10))
    await house.run()
    assert await house.open_all() == ["opened"]


async def opened(house: VoucherifyHouse, name: str = NAME) -> Fulfilment:
    """Open a reward by its webhook."""
    await house.deliver(delivery(webhook(name)))
    await house.open_all()
    return await house.record(for_redemption(name))


@pytest.mark.parametrize("told_by", ["status", "rollback", "both"])
async def test_a_rollback_without_a_webhook_cancels_the_reward(
    house: VoucherifyHouse, voucherify: VoucherifyServer, told_by: str
) -> None:
    """Be it that the redemption says so, or the rollback that follows it; the webhook does nothing more."""
    await opened(house)
    if told_by != "rollback":
        voucherify.redeem(NAME, ago(minutes=20))
    if told_by == "status":
        voucherify.entries[0]["status"] = "ROLLED_BACK"
    else:
        voucherify.roll_back(NAME, ago(minutes=10))
    report = await house.run()
    assert [(each.kind, each.reference) for each in report.findings] == [("missed_rollback", REFERENCE)]
    assert await house.open_all() == ["rolled_back"]
    assert (await house.record(REFERENCE)).state is State.CANCELLED
    assert (await house.run()).done == 0
    await house.deliver(delivery(rolled_back(NAME)))
    assert await house.open_all() == ["nothing_to_roll_back"]


async def test_nothing_is_sent_for_what_was_rolled_back_before_anybody_knew(
    house: VoucherifyHouse, voucherify: VoucherifyServer
) -> None:
    """Whether its status says so or only the rollback behind it; a reward that comes later does nothing."""
    voucherify.redeem(NAME, ago(minutes=20))
    voucherify.roll_back(NAME, ago(minutes=10), tells_status=False)
    voucherify.redeem("r_told", ago(minutes=9), status="ROLLED_BACK")
    await house.run()
    await house.open_all()
    assert (await house.record(REFERENCE)).state is State.TOMBSTONE
    assert (await house.record("vfy-r_told")).state is State.NOT_APPLICABLE
    await house.deliver(delivery(webhook()))
    assert await house.open_all() == ["duplicate_reward"]
    assert (await house.run()).done == 0


async def test_a_rollback_that_failed_is_none(house: VoucherifyHouse, voucherify: VoucherifyServer) -> None:
    """The reward stays as it is, even where the filter lets it through."""
    await opened(house)
    voucherify.roll_back(NAME, ago(minutes=10))
    voucherify.entries[0]["status"] = "FAILED"
    assert (await house.run()).done == 0
    assert await house.open_all() == []


async def test_a_dead_letter_is_not_stored_again(house: VoucherifyHouse, voucherify: VoucherifyServer) -> None:
    """What cannot be read waits for a person, and is not tried again by each run."""
    entry = voucherify.redeem(NAME, ago(minutes=10))
    entry["reward"]["type"] = 7
    assert (await house.run()).done == 1
    assert await house.open_all() == ["dead_letter"]
    assert (await house.run()).done == 0
    assert await house.letters.count() == 1


async def test_a_dry_run_changes_nothing(house: VoucherifyHouse, voucherify: VoucherifyServer) -> None:
    """It tells what would be taken in."""
    voucherify.redeem(NAME, ago(minutes=10))
    before = await house.redis.dbsize()
    report = await house.run(Scope(dry_run=True))
    assert (report.done, [each.done for each in report.findings]) == (1, [""])
    assert await house.redis.dbsize() == before


async def test_since_looks_further_back_and_keeps_no_position(
    house: VoucherifyHouse, voucherify: VoucherifyServer
) -> None:
    """What lies before the first run's beginning is found when it is asked for."""
    voucherify.redeem(NAME, ago(days=40))
    assert (await house.run()).checked == 0
    position = await house.audits.position("voucherify")
    assert (await house.run(Scope(since=ago(days=50)))).done == 1
    assert await house.audits.position("voucherify") == position


async def test_a_queue_that_is_behind_is_waited_for(house: VoucherifyHouse, voucherify: VoucherifyServer) -> None:
    """While nobody opens them, webhooks on the queue would be taken for missing ones."""
    voucherify.redeem(NAME, ago(minutes=10))
    await house.queue.pause("look first")
    report = await house.run()
    assert "queue" in report.unfinished
    assert (report.done, voucherify.asked) == (0, [])
    assert (await house.run(Scope())).done == 1  # a person who asks is answered


async def test_without_credentials_it_is_passed_over(
    redis: ArqRedis, keys: Keys, session: aiohttp.ClientSession
) -> None:
    """It says what is missing, and asks nobody."""
    house = VoucherifyHouse(redis, keys, session, settings_for("http://127.0.0.1:1", voucherify_app_id=""))
    assert "VOUCHERIFY_APP_ID" in (await house.run()).passed_over


async def test_a_worker_opens_on_schedule_what_never_came(
    server: EmbeddedServer, house: VoucherifyHouse, voucherify: VoucherifyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A whole worker: from Voucherify's list to the packing list, with the address that Voucherify has."""
    monkeypatch.setattr(composition, "_TICKS", {"voucherify": {"second": set(range(60))}})
    voucherify.redeem(NAME, ago(minutes=10))
    settings = dataclasses.replace(
        house.settings, redis_url=server.url, worker_port=None, ship_since=datetime(2020, 1, 1, tzinfo=UTC)
    )

    async def is_on_the_list() -> bool:
        view = await house.ledger.load(REFERENCE)
        return view.record is not None and view.record.state is not State.RECEIVED

    async with working(settings):
        await until(is_on_the_list, patience=30)
    record = await house.record(REFERENCE)
    assert (record.state, record.audited) == (State.READY, True)
    assert record.hold is not None  # nobody can say whether it was packed before this ledger was watched
    assert record.hold.source == "audit"
    address = (await house.ledger.personal(REFERENCE)).address
    assert address is not None
    assert address.city == "Musterstadt"
    assert [each.finding.kind for each in await house.audits.findings()] == ["missed_reward"]


async def test_the_same_body_from_the_door_is_one_delivery(house: VoucherifyHouse) -> None:
    """Storing is the door's own way: what waits already is no second delivery."""
    assert await house.deliver(delivery(webhook())) is Receipt.STORED
    assert await house.deliver(delivery(webhook())) is Receipt.DUPLICATE
