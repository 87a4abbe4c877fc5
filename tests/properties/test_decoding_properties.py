"""Whatever comes in, it is decided on, and nothing that is wrong with a body makes another parcel of it."""

import copy
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rewardpost import reference as references
from tests.builders import (
    CUSTOMER,
    VARIANTS,
    body,
    changed,
    delivery,
    distribution,
    envelope,
    material_product,
    material_sku,
    rewarded,
    rewarded_data,
    rolled_back,
)
from worker.decisions import Count, EraseCustomer, OpenReward, RollBack, SetAside
from worker.routing import decide

SAMPLE = json.loads(
    (Path(__file__).parents[2] / "cli" / "samples" / "customer_rewarded.data.json").read_text(encoding="utf-8")
)
SAMPLE_ARTICLE = {"id": "prod_0df14b7e7d8975079d", "source_id": "star-th-bottle"}

DECISIONS = (OpenReward, RollBack, EraseCustomer, Count, SetAside)
REFERENCE = re.compile(r"[A-Za-z0-9_-]{1,40}", re.ASCII)

Way = tuple[str | int, ...]

any_text = st.text(st.characters(exclude_categories=()))  # halves of characters among them
scalars = st.none() | st.booleans() | st.integers() | st.floats() | any_text
json_values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(any_text, inner, max_size=4)
)
strange = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.lists(st.text(), max_size=3)
"""What may stand where it should not, without being an id of anything."""
names = st.sampled_from(
    [
        *(
            "event",
            "type",
            "id",
            "data",
            "project_id",
            "source",
            "object",
            "customer",
            "redemption",
            "reward",
            "status",
        ),
        *(
            "result",
            "parameters",
            "product",
            "sku",
            "sku_id",
            "source_id",
            "redemption_rollback",
            "voucher",
            "campaign",
        ),
    ]
)
words = st.sampled_from(
    [
        *("customer.rewarded", "redemption.rollback.succeeded", "customer.deleted", "voucher.created"),
        *("MATERIAL", "CAMPAIGN", "COIN", "SUCCESS", "FAILURE", "SUCCEEDED", "r_1", "distribution"),
    ]
)
event_like = st.recursive(
    scalars | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=6),
    max_leaves=40,
)
"""Trees of the keys and words that events are made of, in any order and of any type."""


def decided(content: object) -> OpenReward | RollBack | EraseCustomer | Count | SetAside:
    """Decide, and check what has to hold for every decision."""
    decision = decide(delivery(content), projects=frozenset())
    assert isinstance(decision, DECISIONS)
    if isinstance(decision, OpenReward):
        assert REFERENCE.fullmatch(decision.reference)
        assert decision.verdict != "ship" or decision.article
        assert decision.why
        assert decision.redeemed_at is None or decision.redeemed_at.utcoffset() is not None
    if isinstance(decision, RollBack):
        assert REFERENCE.fullmatch(decision.reference)
    if isinstance(decision, SetAside):
        assert re.fullmatch(r"[a-z_]{3,20}", decision.code)
        assert decision.why
    return decision


def paths(tree: object, way: Way = ()) -> Iterator[Way]:
    """Yield the way to every value inside a tree."""
    inside: list[tuple[str | int, object]] = []
    if isinstance(tree, dict):
        inside = list(tree.items())
    elif isinstance(tree, list):
        inside = list(enumerate(tree))
    for key, value in inside:
        yield (*way, key)
        yield from paths(value, (*way, key))


def mutated(tree: dict[str, Any], way: Way, value: object, *, drop: bool) -> dict[str, Any]:
    """Return a copy with one value replaced or taken away."""
    tree = copy.deepcopy(tree)
    place: Any = tree
    for key in way[:-1]:
        place = place[key]
    if drop:
        del place[way[-1]]
    else:
        place[way[-1]] = value
    return tree


@given(st.binary() | st.text().map(str.encode) | st.binary().map(lambda tail: body(rewarded())[:-1] + tail))
@example(b"\x00")
@example(b'{"a":' * 3000)
def test_any_bytes_are_decided_on(raw: bytes) -> None:
    """No body at all raises, and each ends as one of the decisions."""
    decided(raw)


@given(json_values | event_like)
def test_any_json_is_decided_on(tree: object) -> None:
    """The same for whatever JSON can say, NaN and lone surrogates included."""
    decided(json.dumps(tree).encode())


@given(event_like)
def test_any_data_of_a_deciding_event_is_decided_on(data: object) -> None:
    """The same inside an envelope that calls for the data to be read."""
    for event_type in ("customer.rewarded", "customer.redemption.rollback.succeeded", "customer.deleted"):
        decided(json.dumps(envelope(data, event_type)).encode())


@given(st.data(), st.integers(0, 4_500), st.binary(min_size=0, max_size=3))
def test_a_damaged_body_is_decided_on(data: st.DataObject, at: int, damage: bytes) -> None:
    """A body with a few bytes exchanged, or cut off, is decided on."""
    raw = body(rewarded(material_sku()))
    at %= len(raw)
    cut = data.draw(st.sampled_from([raw[:at] + damage, raw[:at] + damage + raw[at + len(damage) :]]))
    decided(cut)


@settings(max_examples=400)
@given(st.data(), st.booleans(), strange)
@pytest.mark.parametrize("wrap", [lambda data: data, envelope, distribution])
def test_no_mutation_of_the_sample_ships_another_article(
    wrap: Any,  # noqa: ANN401 - one of three builders with signatures of their own
    data: st.DataObject,
    drop: bool,  # noqa: FBT001 - Hypothesis hands it over by position
    value: object,
) -> None:
    """Whichever field is dropped, nulled or of another type: the sample's own article, or none."""
    tree = wrap(SAMPLE)
    way = data.draw(st.sampled_from(list(paths(tree))))
    decision = decided(mutated(tree, way, value, drop=drop))
    if isinstance(decision, OpenReward) and decision.article is not None:
        assert decision.article in SAMPLE_ARTICLE.values()


@settings(max_examples=300)
@given(st.data(), json_values | event_like)
def test_nothing_outside_redemption_reward_changes_the_article(data: st.DataObject, value: object) -> None:
    """As long as the redemption's own reward is whole, no value elsewhere can change what is shipped."""
    tree = envelope(SAMPLE)
    outside = [
        way
        for way in paths(tree)
        if way[:3] != ("data", "redemption", "reward") and way not in {("data",), ("data", "redemption")}
    ]
    decision = decided(json.dumps(mutated(tree, data.draw(st.sampled_from(outside)), value, drop=False)).encode())
    if isinstance(decision, OpenReward):
        assert decision.article == SAMPLE_ARTICLE["source_id"]


@settings(max_examples=300)
@given(st.data(), st.booleans(), strange)
def test_no_mutation_ships_the_product_in_place_of_its_variant(
    data: st.DataObject,
    drop: bool,  # noqa: FBT001 - Hypothesis hands it over by position
    value: object,
) -> None:
    """A reward that is a variant never leaves as the product that it is a variant of."""
    tree = rewarded(material_sku())
    way = data.draw(
        st.sampled_from([way for way in paths(tree) if way[:3] == ("data", "redemption", "reward") and way[3:]])
    )
    decision = decided(mutated(tree, way, value, drop=drop))
    if isinstance(decision, OpenReward) and decision.verdict == "ship":
        assert decision.article in {"mug-blue-xl", "sku_mug_xl"}


@given(
    st.sampled_from(["coin", "discount_coupon", "gift_credits", "loyalty_points"]), st.data(), st.booleans(), strange
)
def test_no_mutation_makes_a_parcel_of_what_needs_none(
    variant: str,
    data: st.DataObject,
    drop: bool,  # noqa: FBT001 - Hypothesis hands it over by position
    value: object,
) -> None:
    """A coupon, credits and points stay without a parcel whatever one field turns into."""
    tree = rewarded(VARIANTS[variant]())
    way = data.draw(st.sampled_from(list(paths(tree))))
    decision = decided(mutated(tree, way, value, drop=drop))
    assert not (isinstance(decision, OpenReward) and decision.verdict == "ship")


ids = st.text(min_size=1).filter(str.strip)


@given(ids, ids)
@example("ev_1", "evcus_1")
@example("r" * 10_000, "r" * 9_999)
@example("r_1", "R_1")
@example("r_1", "r_1 ")
def test_different_ids_never_share_a_reference(one: str, other: str) -> None:
    """Two redemptions, two events, or one of each are two rewards, whatever their ids look like."""
    found = {}
    for text in (one, other):
        by_redemption = decided(changed(rewarded(), "data.redemption.id", text))
        tree = changed(envelope(rewarded_data(material_product())), "event.id", text)
        by_event = decided(changed(tree, "data.redemption", None))
        assert isinstance(by_redemption, OpenReward)
        assert isinstance(by_event, OpenReward)
        found["redemption", text] = by_redemption.reference
        found["event", text] = by_event.reference
    assert len(set(found.values())) == len(found)


@given(ids)
def test_a_rollback_finds_the_reward_that_it_undoes(text: str) -> None:
    """Both compute one reference, whatever the id, and store it alike."""
    reward = decided(changed(rewarded(), "data.redemption.id", text))
    undone = decided(rolled_back(text))
    assert isinstance(reward, OpenReward)
    assert isinstance(undone, RollBack)
    assert (reward.reference, reward.redemption) == (undone.reference, undone.redemption)
    assert reward.reference == references.for_redemption(text)
    assert reward.customer == CUSTOMER
