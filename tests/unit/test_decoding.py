"""What the decoding makes of bodies: right ones, reshaped ones, and ones that are not bodies at all."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.builders import (
    DROP,
    EVENT,
    PROJECT,
    REDEMPTION,
    body,
    changed,
    deleted,
    distribution,
    envelope,
    redemption,
    rewarded,
    rewarded_data,
    rolled_back,
)
from worker.decoding import Content, Deleted, Event, Irrelevant, Rewarded, RolledBack, Undecodable, decode

REWARD = "data.redemption.reward"
SAMPLE = Path(__file__).parents[2] / "cli" / "samples" / "customer_rewarded.data.json"


def event_of(raw: bytes) -> Event:
    """Decode what is expected to have a readable envelope."""
    event = decode(raw)
    assert isinstance(event, Event)
    return event


def content_of(tree: object) -> Content:
    """Decode a tree whose envelope is expected to be readable."""
    return event_of(body(tree)).content


def reason_of(raw: bytes) -> Undecodable:
    """Decode what is expected to be set aside, at whatever stage."""
    event = decode(raw)
    reason = event.content if isinstance(event, Event) else event
    assert isinstance(reason, Undecodable)
    return reason


def test_an_envelope_tells_type_id_project_and_time() -> None:
    """What the envelope says of the event is found, times in UTC."""
    event = event_of(body(rewarded()))
    assert (event.type, event.id, event.project) == ("customer.rewarded", EVENT, PROJECT)
    assert event.created_at == datetime(2026, 2, 28, 15, 28, 9, 660000, tzinfo=UTC)


def test_the_bundled_sample_is_a_reward_without_an_envelope() -> None:
    """The sample, which is only what would be `data`, is recognised by its shape."""
    event = event_of(SAMPLE.read_bytes())
    assert event.type == "customer.rewarded"
    assert isinstance(event.content, Rewarded)
    assert event.content.reward is not None
    assert event.content.reward.product is not None
    assert event.content.reward.product.source_id == "star-th-bottle"


@pytest.mark.parametrize("title", ["Mugs for you!", "", None, "order.paid", 7])
def test_what_a_marketer_typed_does_not_decide_the_type(title: object) -> None:
    """A distribution is routed on `event.type`, whatever stands in `type`."""
    event = event_of(body(distribution(rewarded_data(), title=title)))
    assert event.type == "customer.rewarded"
    assert isinstance(event.content, Rewarded)


@pytest.mark.parametrize("missing", [DROP, None, {}])
def test_without_event_type_the_type_counts(missing: object) -> None:
    """Where `event` says nothing, `type` names the event."""
    assert isinstance(content_of(changed(rolled_back(), "event", missing)), RolledBack)


@pytest.mark.parametrize("title", ["Mugs for you!", "", "reward.sent"])
def test_a_free_title_alone_leaves_it_to_the_shape(title: str) -> None:
    """Without `event`, a marketer's own title is not taken for an unknown event that needs nothing."""
    tree = changed(distribution(rewarded_data(), title=title), "event", DROP)
    assert event_of(body(tree)).type == "customer.rewarded"


def test_a_raw_rollback_is_recognised() -> None:
    """A rollback that a distribution sends without an envelope is one."""
    assert content_of(rolled_back()["data"]) == RolledBack(redemption=REDEMPTION)


def test_a_raw_rollback_that_failed_undoes_nothing() -> None:
    """By its shape alone a failed rollback looks like one that succeeded, but for its result."""
    tree = changed(
        changed(rolled_back()["data"], "redemption_rollback.result", "FAILURE"), "redemption_rollback.status", "FAILED"
    )
    assert isinstance(content_of(tree), Irrelevant)


@pytest.mark.parametrize(
    "tree",
    [
        {},
        {"text": "Hello", "who": "cust_1"},
        {"type": "reward.sent", "gift": {"sku": "x"}},
        {"redemption": {"id": "r_1"}},
        {"redemption_rollback": {"redemption": "r_1"}},
        {"customer": {"id": "cust_1"}, "reward": {}, "reward_redemption": {"state": "PENDING"}},
        redemption(),
    ],
)
def test_a_free_form_body_is_set_aside(tree: object) -> None:
    """What a marketer made up cannot be read as an event, and must not be taken for one that needs nothing."""
    assert reason_of(body(tree)).code == "no_envelope"


def test_unknown_events_and_their_data_are_not_read() -> None:
    """Whatever the data of an event is that means nothing here, it is decoded without a look at it."""
    strange: tuple[object, ...] = ({"redemption": 5}, [], "text", None, rewarded_data())
    for data in strange:
        event = event_of(body(envelope(data, "customer.order.paid")))
        assert (event.type, event.content) == ("customer.order.paid", Irrelevant())


def test_both_rollback_events_name_the_undone_redemption() -> None:
    """The project's rollback event and the distribution's are read alike."""
    for event_type in ("redemption.rollback.succeeded", "customer.redemption.rollback.succeeded"):
        assert content_of(rolled_back("r_x", event_type)) == RolledBack(redemption="r_x")


def test_the_undone_redemption_may_be_an_object_or_stand_beside() -> None:
    """An object with an id does as well as the id; failing both, the redemption beside it is taken."""
    path = "data.redemption_rollback.redemption"
    tree = changed(rolled_back(), "data.redemption.id", "r_beside")
    assert content_of(changed(tree, path, {"id": "r_object"})) == RolledBack(redemption="r_object")
    for nothing in (DROP, None, "", " ", {}, {"id": None}):
        assert content_of(changed(tree, path, nothing)) == RolledBack(redemption="r_beside")


def test_a_rollback_of_nothing_is_set_aside() -> None:
    """A rollback that names no redemption cannot be carried out."""
    reason = reason_of(
        body(envelope({"redemption_rollback": None, "redemption": None}, "redemption.rollback.succeeded"))
    )
    assert reason.code == "no_redemption"


def test_a_failed_rollback_in_an_event_of_success_is_a_contradiction() -> None:
    """An event of a rollback that succeeded does not carry one that failed."""
    assert reason_of(body(changed(rolled_back(), "data.redemption_rollback.result", "FAILURE"))).code == "contradiction"


def test_a_deleted_customer_is_found() -> None:
    """`customer.deleted` names its customer."""
    content = content_of(deleted("cust_gone"))
    assert isinstance(content, Deleted)
    assert content.data.customer is not None
    assert content.data.customer.id == "cust_gone"


@pytest.mark.parametrize(
    "path",
    [
        "campaign", "voucher", "holder", "referral_tier", "balance", "custom_event", "reward",
        "customer.metadata", "customer.name", "customer.email",
        "redemption.order", "redemption.metadata", "redemption.amount", "redemption.date", "redemption.voucher",
        "redemption.customer", "redemption.customer_id", "redemption.related_redemptions",
        "redemption.reward.customer", "redemption.reward.name", "redemption.reward.voucher",
        "redemption.reward.product.price", "redemption.reward.product.name", "redemption.reward.parameters.campaign",
    ],
)  # fmt: skip
@pytest.mark.parametrize("odd", [None, 0.5, "text", [], [[1], None], {"deep": [{}]}, True])
def test_a_wrong_type_in_what_decides_nothing_costs_nothing(path: str, odd: object) -> None:
    """Parts that are not used may be whatever they like."""
    assert isinstance(content_of(changed(rewarded(), f"data.{path}", odd)), Rewarded)


@pytest.mark.parametrize(
    ("path", "odd", "why"),
    [
        ("data", [], "data: expected an object or null, got a list"),
        ("data.customer", "text", "data.customer: expected an object or null, got text"),
        ("data.customer.id", 7, "data.customer.id: expected text or null, got a number"),
        ("data.redemption", True, "data.redemption: expected an object or null, got true or false"),
        ("data.redemption.id", 7.5, "data.redemption.id: expected text or null, got a number"),
        ("data.redemption.status", [], "data.redemption.status: expected text or null, got a list"),
        ("data.redemption.reward.type", {}, "data.redemption.reward.type: expected text or null, got an object"),
        (
            "data.redemption.reward.product.source_id",
            97,
            "data.redemption.reward.product.source_id: expected text or null, got a number",
        ),
        (
            "data.redemption.reward.parameters.product.sku_id",
            False,
            "data.redemption.reward.parameters.product.sku_id: expected text or null, got true or false",
        ),
        ("event.type", 7, "event.type: expected text or null, got a number"),
    ],
)
def test_a_wrong_type_in_what_decides_is_named(path: str, odd: object, why: str) -> None:
    """The reason says which field, what was expected and what type came, and not its value."""
    reason = reason_of(body(changed(rewarded(), path, odd)))
    assert (reason.code, reason.why) == ("wrong_type", why)


def test_a_wrong_type_in_the_reward_that_stands_in_is_named() -> None:
    """Where there is no redemption, `data.reward` decides, and so do the types in it."""
    tree = changed(changed(rewarded(), "data.redemption", None), "data.reward.product.id", 7)
    assert reason_of(body(tree)).why == "data.reward.product.id: expected text or null, got a number"


def test_the_project_is_known_even_where_the_data_cannot_be_read() -> None:
    """Another project's webhook can be told from ours whatever is wrong with it."""
    event = event_of(body(changed(rewarded(), "data.redemption.id", 7)))
    assert (event.project, isinstance(event.content, Undecodable)) == (PROJECT, True)


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (b"", "not_json"),
        (b"   ", "not_json"),
        (b"rubbish", "not_json"),
        (b'{"event":', "not_json"),
        (b"{} {}", "not_json"),
        (b"\xff\xfe{\x00}\x00", "not_json"),
        (b'{"x": NaN}', "not_json"),
        (b'{"x": -Infinity}', "not_json"),
        (b'{"x": 01}', "not_json"),
        (b"[]", "not_an_object"),
        (b"null", "not_an_object"),
        (b'"{}"', "not_an_object"),
        (b"1e999999", "not_an_object"),
        (b'{"x":' + b"[" * 500_000, "too_deep"),
        (b'{"x":' + b'{"x":' * 100_000 + b"1" + b"}" * 100_001, "too_deep"),
    ],
)
def test_what_is_no_body_at_all_is_undecodable(raw: bytes, code: str) -> None:
    """Each kind of rubbish gets the word that it is grouped by."""
    assert reason_of(raw).code == code


def test_a_byte_order_mark_is_passed_over() -> None:
    """RFC 8259 lets a reader ignore it, and the body behind it is as good as any."""
    assert event_of(b"\xef\xbb\xbf" + body(rewarded())) == event_of(body(rewarded()))


def test_huge_numbers_where_nobody_looks_cost_nothing() -> None:
    """A number with ten thousand digits, or one beyond every float, is passed over."""
    raw = body(rewarded()).replace(b'"amount": 50', b'"amount": ' + b"9" * 10_000 + b', "rate": 1e999999')
    assert isinstance(event_of(raw).content, Rewarded)


@pytest.mark.parametrize("broken", [b"\xff\xfe", rb"\ud83d", rb"\ude00\ud83d", rb"\\\ud83d"])
def test_broken_characters_where_nobody_looks_cost_nothing(broken: bytes) -> None:
    """Half an emoji or invalid UTF-8 in a note does not hold a reward up."""
    raw = body(changed(rewarded(), "data.customer.metadata", "@")).replace(b"@", broken)
    assert isinstance(event_of(raw).content, Rewarded)


@pytest.mark.parametrize("broken", [b"\xff\xfe", rb"\ud83d"])
def test_broken_characters_in_what_decides_are_set_aside(broken: bytes) -> None:
    """An id of which a part is lost could be anybody's."""
    raw = body(changed(rewarded(), "data.redemption.id", "r_@")).replace(b"r_@", b"r_" + broken)
    assert reason_of(raw).code == "not_json"


def test_whole_characters_may_be_escaped() -> None:
    """Escapes are read, pairs of surrogates among them."""
    raw = body(changed(rewarded(), "data.redemption.id", "@")).replace(b'"@"', rb'"\u0072_\ud83d\ude00\\ud83d"')
    content = event_of(raw).content
    assert isinstance(content, Rewarded)
    assert content.data.redemption is not None
    assert content.data.redemption.id == "r_\U0001f600\\ud83d"


@pytest.mark.parametrize(
    ("once", "twice", "path"),
    [
        ('"status": "SUCCEEDED"', '"status": "FAILED", "status": "SUCCEEDED"', "data.redemption.status"),
        ('"source_id": "mug-blue"', '"source_id": "mug-red", "source_id": "mug-blue"', f"{REWARD}.product.source_id"),
        ('"source_id": "mug-blue"', r'"source_id": "", "s\u006furce_id": "mug-blue"', f"{REWARD}.product.source_id"),
        ('"sku_id": null', '"sku_id": "sku_1", "sku_id": null', f"{REWARD}.parameters.product.sku_id"),
        ('"project_id": "', '"project_id": "proj_other", "project_id": "', "project_id"),
        ('"data": {', '"data": {}, "data": {', "data"),
    ],
)
def test_a_key_given_twice_with_two_values_is_a_contradiction(once: str, twice: str, path: str) -> None:
    """Of two values for what decides, none is picked."""
    tree = changed(rewarded(), "data.reward", None)
    raw = body(tree).decode()
    assert once in raw
    reason = reason_of(raw.replace(once, twice).encode())
    assert reason.code == "contradiction"
    assert reason.why.startswith(f"{path}: expected one value")


def test_an_event_given_twice_is_a_contradiction_even_if_the_last_needs_nothing() -> None:
    """A reward must not be lost behind a second `event` that would be counted and done."""
    raw = body(rewarded())[:-1] + b', "event": {"type": "voucher.updated"}}'
    assert reason_of(raw).code == "contradiction"


def test_a_key_given_twice_alike_or_where_nobody_looks_costs_nothing() -> None:
    """Saying the same twice is no contradiction, and notes may contradict themselves."""
    raw = body(rewarded()).decode()
    raw = raw.replace('"status": "SUCCEEDED"', '"status": "SUCCEEDED", "status": "SUCCEEDED"')
    raw = raw.replace('"location_id": []', '"location_id": [], "location_id": 1, "location_id": "1"')
    assert event_of(raw.encode()) == event_of(body(rewarded()))


def test_nothing_of_a_body_is_shown_by_a_repr() -> None:
    """A decoded event may end in a traceback, so it must not show what it holds."""
    assert "Testa" not in repr(event_of(body(rewarded())))
    assert REDEMPTION not in repr(event_of(json.dumps(rewarded()).encode()).content)
