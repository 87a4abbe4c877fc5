"""Every kind of webhook, sent to a real door and handled by a real worker, ends where it should."""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from aiohttp import ClientSession

from cli.embedded_server import EmbeddedServer
from rewardpost.dead_letters import DeadLetters
from rewardpost.delivery import delivery_id
from rewardpost.keys import DEFAULT_PREFIX, Keys
from rewardpost.reference import for_delivery, for_event, for_redemption
from tests import builders
from tests.builders import body, changed, rewarded, rolled_back
from tests.house import House, Sender, operations_of, until
from tests.suite_log import found_in


def reward(name: str, content: builders.Tree, expected: str) -> tuple[str, list[bytes], str, str]:
    """Return a case with a redemption of its own."""
    redemption = f"r_{name}"
    return name, [body(changed(content, "data.redemption.id", redemption))], for_redemption(redemption), expected


def sequence(
    name: str, first: builders.Tree, second: builders.Tree, expected: str
) -> tuple[str, list[bytes], str, str]:
    """Return a case of two webhooks, one after the other."""
    return name, [body(first), body(second)], for_redemption(f"r_{name}"), expected


def letter(name: str, content: bytes, expected: str) -> tuple[str, list[bytes], str, str]:
    """Return a case that is to be a dead letter."""
    return name, [content], delivery_id(content), f"dead letter: {expected}"


WITHOUT_REDEMPTION = changed(changed(rewarded(), "data.redemption", None), "event.id", "evcus_alone")
WITHOUT_ANY_ID = changed(changed(rewarded(), "data.redemption", None), "event", {"type": "customer.rewarded"})

CASES = [
    reward("material_product", rewarded(), "submitted mug-blue"),
    reward("material_sku", rewarded(builders.material_sku()), "submitted mug-blue-xl"),
    reward("discount_coupon", rewarded(builders.discount_coupon()), "not_applicable"),
    reward("gift_credits", rewarded(builders.gift_credits()), "not_applicable"),
    reward("loyalty_points", rewarded(builders.loyalty_points()), "not_applicable"),
    reward("pay_with_points", rewarded(builders.coin()), "not_applicable"),
    reward("unknown_kind", changed(rewarded(), "data.redemption.reward.type", "HOLIDAY"), "needs_attention"),
    reward("distribution", builders.distribution(builders.rewarded_data()), "submitted mug-blue"),
    reward("failed_redemption", changed(rewarded(), "data.redemption.result", "FAILURE"), "not_applicable"),
    (
        "without_redemption",
        [body(WITHOUT_REDEMPTION)],
        for_event("evcus_alone"),
        "submitted mug-blue",
    ),
    (
        "without_any_id",
        [body(WITHOUT_ANY_ID)],
        for_delivery(delivery_id(body(WITHOUT_ANY_ID))),
        "needs_attention",
    ),
    sequence(
        "rollback_after",
        changed(rewarded(), "data.redemption.id", "r_rollback_after"),
        rolled_back("r_rollback_after"),
        "cancelled",
    ),
    sequence(
        "rollback_before",
        rolled_back("r_rollback_before"),
        changed(rewarded(), "data.redemption.id", "r_rollback_before"),
        "tombstone",
    ),
    sequence(
        "distribution_rollback",
        changed(rewarded(), "data.redemption.id", "r_distribution_rollback"),
        rolled_back("r_distribution_rollback", "customer.redemption.rollback.succeeded"),
        "cancelled",
    ),
    letter("another_project", body(changed(rewarded(), "project_id", "proj_other")), "other_project"),
    letter("rubbish", b"\xff\x00 rubbish", "not_json"),
    letter("not_an_object", b"[1, 2]", "not_an_object"),
    letter("nested", b'{"data":' * 50_000, "too_deep"),
    letter(
        "contradiction",
        body(changed(rewarded(), "data.redemption.reward.parameters.product.id", "prod_other")),
        "contradiction",
    ),
    ("unknown_event", [body(builders.envelope({"a": 1}, "moon.phase_changed"))], "", "counted"),
    ("customer_deleted", [body(builders.deleted("cust_nobody"))], "", "counted"),
]


@contextlib.asynccontextmanager
async def opened(server: EmbeddedServer, directory: Path, **environment: str) -> AsyncIterator[House]:
    """Open a house for as long as the context lasts."""
    house = House(server, directory, **environment)
    await house.open()
    try:
        yield house
    finally:
        await house.close()


async def found(house: House, key: str) -> str:
    """Return where a case has ended: a state with its article, a dead letter with its code, or counted."""
    record = (await house.records()).get(key)
    if record is not None:
        shipped = record.provider_order is not None and record.state == "submitted"
        return f"{record.state} {record.article}" if shipped else record.state.value
    dead = await DeadLetters(house.redis, Keys(DEFAULT_PREFIX)).get(key)
    return "counted" if dead is None else f"dead letter: {dead.code}"


async def test_each_kind_ends_where_it_should(own_server: EmbeddedServer, tmp_path: Path) -> None:
    """Every case of the table, sent over HTTP, ends in its state, among the dead letters, or as a count."""
    async with opened(own_server, tmp_path, VOUCHERIFY_PROJECT_IDS=builders.PROJECT) as house:
        sender = Sender(house.url)
        async with ClientSession() as session:
            for _, bodies, _, _ in CASES:
                for content in bodies:
                    assert await sender.send(session, content) == 202
                    await until(house.drained)
        ends = {name: await found(house, key) for name, _, key, _ in CASES}
    assert ends == {name: expected for name, _, _, expected in CASES}
    assert house.log.read_text(encoding="utf-8").count("delivery_handled") >= len(CASES)
    assert found_in(tmp_path) == set()


def test_the_search_through_logs_finds_what_it_looks_for(tmp_path: Path) -> None:
    """A log with a customer's name in it would be found."""
    name = builders.customer()["name"]
    (tmp_path / "any.log").write_text(f'{{"event": "oops", "name": "{name}"}}\n', encoding="utf-8")
    assert found_in(tmp_path) == {(name, "any.log")}
    (tmp_path / "any.log").unlink()


async def test_a_reward_is_fulfilled_once_however_often_it_is_sent(own_server: EmbeddedServer, tmp_path: Path) -> None:
    """A hundred times, ten at once, from another source, and again after everything was restarted: one parcel."""
    again = builders.envelope(
        builders.rewarded_data(), id="whs_9", source={"id": "distr_9", "object": "distribution", "target_url": ""}
    )
    async with opened(own_server, tmp_path) as house:
        sender = Sender(house.url)
        await sender.deliver([body(rewarded())] * 100, at_once=10)
        await sender.deliver([body(again)], at_once=1)
        await until(house.drained)
        assert sender.answers == {202: 101}
    own_server.stop()
    own_server.start()
    async with opened(own_server, tmp_path) as house:
        await Sender(house.url).deliver([body(rewarded()), body(changed(again, "id", "whs_10"))], at_once=1)
        await until(house.drained)
        records = await house.records()
        journal = await operations_of(house.redis).ledger.journal(for_redemption(builders.REDEMPTION))
    assert [(record.state, record.attempts) for record in records.values()] == [("submitted", 1)]
    assert [entry.after for entry in journal] == ["received", "ready", "dispatching", "submitted"]


async def test_a_shadow_run_stops_before_the_call(own_server: EmbeddedServer, tmp_path: Path) -> None:
    """With DISPATCH=hold a reward goes as far as ready and is held with its reason."""
    async with opened(own_server, tmp_path, DISPATCH="hold") as house:
        await Sender(house.url).deliver([body(rewarded())], at_once=1)
        await until(house.drained)
        records = await house.records()
    assert [(record.state, record.flags) for record in records.values()] == [
        ("ready", {"hold": "shadow run (DISPATCH=hold)"})
    ]


async def test_what_was_redeemed_before_the_installation_waits(own_server: EmbeddedServer, tmp_path: Path) -> None:
    """Without SHIP_SINCE the moment of installation counts: an older reward is held for a person."""
    async with opened(own_server, tmp_path, SHIP_SINCE="") as house:
        await Sender(house.url).deliver([body(rewarded())], at_once=1)
        await until(house.drained)
        [record] = (await house.records()).values()
    assert record.state == "ready"
    assert record.flags["hold"].startswith("redeemed before SHIP_SINCE")
