"""The rules by which a webhook becomes a parcel, something else, or a question to a person."""

from datetime import UTC, datetime

import pytest

from rewardpost import reference as references
from tests.builders import (
    CUSTOMER,
    DROP,
    EVENT,
    PROJECT,
    REDEMPTION,
    SOURCE_ID,
    VARIANTS,
    Tree,
    body,
    changed,
    coin,
    customer,
    deleted,
    delivery,
    discount_coupon,
    distribution,
    envelope,
    loyalty_points,
    material_product,
    material_sku,
    redemption,
    rewarded,
    rewarded_data,
    rolled_back,
    sku,
)
from worker.decisions import Count, Decision, EraseCustomer, OpenReward, Person, RollBack, SetAside
from worker.routing import decide

REWARD = "data.redemption.reward"


def decided(tree: object, *projects: str) -> Decision:
    """Decide on a tree or on bytes."""
    return decide(delivery(tree), projects=frozenset(projects))


def opened(tree: object) -> OpenReward:
    """Decide on what is expected to open a fulfilment."""
    decision = decided(tree)
    assert isinstance(decision, OpenReward)
    return decision


def code_of(tree: object, *projects: str) -> str:
    """Decide on what is expected to be set aside."""
    decision = decided(tree, *projects)
    assert isinstance(decision, SetAside)
    assert decision.why
    return decision.code


def unpaid(reward: Tree, **changes: object) -> Tree:
    """Return a reward that no redemption paid for; its type is the CAMPAIGN that Voucherify always writes there."""
    return envelope(rewarded_data(redemption=None, reward={**reward, "type": "CAMPAIGN", **changes}))


# --- what is shipped -------------------------------------------------------------------------------------


def test_a_material_reward_is_shipped_to_its_customer() -> None:
    """Everything that the ledger needs is taken from where it stands."""
    assert opened(rewarded()) == OpenReward(
        reference=f"vfy-{REDEMPTION}",
        redemption=REDEMPTION,
        customer=CUSTOMER,
        event_type="customer.rewarded",
        redeemed_at=datetime(2026, 2, 28, 15, 27, 56, 234000, tzinfo=UTC),
        kind="material",
        article="mug-blue",
        article_name="Blue mug",
        verdict="ship",
        why="the article is product.source_id",
        person=Person(name="Testa Probe", email=None, source_id=SOURCE_ID, customer=CUSTOMER),
    )


@pytest.mark.parametrize(
    ("variant", "verdict", "kind", "article"),
    [
        ("material_product", "ship", "material", "mug-blue"),
        ("material_sku", "ship", "material", "mug-blue-xl"),
        ("discount_coupon", "not_applicable", "discount_coupon", None),
        ("gift_credits", "not_applicable", "gift_credits", None),
        ("loyalty_points", "not_applicable", "loyalty_points", None),
        ("coin", "not_applicable", "coin", None),
    ],
)
def test_all_six_variants_end_where_they_should(variant: str, verdict: str, kind: str, article: str | None) -> None:
    """Two are parcels; four need none, and say why; by webhook, by distribution and raw alike."""
    reward = VARIANTS[variant]()
    for tree in (rewarded(reward), distribution(rewarded_data(reward)), rewarded_data(reward)):
        decision = opened(tree)
        assert (decision.verdict, decision.kind, decision.article) == (verdict, kind, article)
        assert decision.why


def test_the_redemption_s_reward_decides_and_data_reward_does_not() -> None:
    """Another product, and another type, in `data.reward` change nothing."""
    tree = changed(rewarded(), "data.reward.product", {"id": "prod_decoy", "source_id": "decoy"})
    for kind in ("CAMPAIGN", "COIN", "MATERIAL", "NEW", None):
        decision = opened(changed(tree, "data.reward.type", kind))
        assert (decision.verdict, decision.article) == ("ship", "mug-blue")


def test_the_order_s_items_are_never_shipped() -> None:
    """The order earned the reward; without an article of its own the reward waits for a person."""
    tree = rewarded()
    for path in ("product", "parameters"):
        tree = changed(tree, f"{REWARD}.{path}", None)
    decision = opened(tree)
    assert (decision.verdict, decision.article) == ("needs_attention", None)


def test_without_a_redemption_data_reward_is_all_there_is() -> None:
    """A product or a sku in it means a parcel although its type says CAMPAIGN."""
    assert opened(unpaid(material_product())).article == "mug-blue"
    decision = opened(unpaid(material_sku()))
    assert (decision.verdict, decision.kind, decision.article) == ("ship", "material", "mug-blue-xl")


def test_without_a_redemption_a_voucher_in_data_reward_is_a_coupon() -> None:
    """Its content tells the kind, as its type does not."""
    assert opened(unpaid(discount_coupon())).kind == "discount_coupon"
    assert opened(unpaid(loyalty_points(), type=None)).kind == "loyalty_points"
    assert opened(unpaid(coin(), type="COIN")).kind == "coin"


def test_without_a_redemption_a_reward_of_which_nothing_is_told_needs_attention() -> None:
    """A type that means nothing is not a reason to ship nothing."""
    decision = opened(unpaid({"id": "rew_1"}))
    assert (decision.verdict, decision.kind) == ("needs_attention", "unknown")


def test_the_sku_s_source_id_wins_over_the_product_s() -> None:
    """The variant is the article."""
    assert opened(rewarded(material_sku())).article == "mug-blue-xl"


@pytest.mark.parametrize("nothing", [None, DROP, "", "  "])
def test_a_sku_without_source_id_ships_by_its_own_id(nothing: object) -> None:
    """The product's source id would lose the variant."""
    tree = changed(rewarded(material_sku()), f"{REWARD}.sku.source_id", nothing)
    assert opened(tree).article == "sku_mug_xl"
    tree = changed(tree, f"{REWARD}.sku.id", nothing)
    assert opened(tree).article == "sku_mug_xl"


def test_a_sku_named_only_in_the_parameters_ships_by_that_id() -> None:
    """A sku id in the parameters is as good a sign of a variant as the sku itself."""
    tree = changed(rewarded(material_sku()), f"{REWARD}.sku", None)
    assert opened(tree).article == "sku_mug_xl"


def test_a_sku_without_any_id_needs_attention() -> None:
    """That there is a variant is known, which one is not: the product alone must not leave."""
    tree = changed(rewarded(), f"{REWARD}.sku", {"sku": "XL"})
    decision = opened(tree)
    assert (decision.verdict, decision.article) == ("needs_attention", None)


@pytest.mark.parametrize("nothing", [None, DROP, ""])
def test_a_product_without_source_id_ships_by_its_own_id(nothing: object) -> None:
    """Voucherify's id of the product is an article's name too."""
    assert opened(changed(rewarded(), f"{REWARD}.product.source_id", nothing)).article == "prod_mug"


def test_ids_in_the_parameters_alone_are_enough() -> None:
    """Where neither product nor sku is sent, the parameters name the article."""
    decision = opened(changed(rewarded(), f"{REWARD}.product", None))
    assert (decision.verdict, decision.article) == ("ship", "prod_mug")


def test_a_material_reward_without_an_article_needs_attention() -> None:
    """Nobody knows what to ship, and it is not dropped."""
    reward = {**material_product(), "product": None, "parameters": {"product": {"id": None, "sku_id": None}}}
    decision = opened(rewarded(reward))
    assert (decision.verdict, decision.kind) == ("needs_attention", "material")


@pytest.mark.parametrize("article", ["a b/c'\"d", "Ärmel-größe", "x" * 200])
def test_articles_with_odd_characters_are_shipped_as_they_are(article: str) -> None:
    """An article's id is never changed."""
    assert opened(changed(rewarded(), f"{REWARD}.product.source_id", article)).article == article


@pytest.mark.parametrize("article", ["x" * 201, "mug\nblue", "mug\x00"])
def test_an_article_that_cannot_be_stored_whole_needs_attention(article: str) -> None:
    """A part of an article's id could be another article."""
    decision = opened(changed(rewarded(), f"{REWARD}.product.source_id", article))
    assert (decision.verdict, decision.article) == ("needs_attention", None)


def test_the_name_for_people_tells_the_variant() -> None:
    """Who packs has to see which variant it is."""
    assert opened(rewarded(material_sku())).article_name == "Blue mug, XL"


# --- contradictions --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["CAMPAIGN", "COIN"])
def test_a_type_that_needs_no_parcel_beside_an_article_is_a_contradiction(kind: str) -> None:
    """In the redemption's own reward the type can be relied on, and so can the product."""
    for reward in (material_product(), material_sku()):
        assert code_of(rewarded({**reward, "type": kind})) == "contradiction"
    for part in ({"product": material_product()["product"]}, {"parameters": material_product()["parameters"]}):
        assert code_of(rewarded({**coin(), "parameters": None, "type": kind, **part})) == "contradiction"


@pytest.mark.parametrize("variant", ["discount_coupon", "gift_credits", "loyalty_points", "coin"])
def test_material_with_only_another_kind_s_content_is_a_contradiction(variant: str) -> None:
    """A voucher, a campaign or a ratio of points is nothing to put into a parcel."""
    assert code_of(rewarded({**VARIANTS[variant](), "type": "MATERIAL"})) == "contradiction"


@pytest.mark.parametrize(
    ("path", "other"),
    [
        ("product.id", "prod_other"),
        ("parameters.product.id", "prod_other"),
        ("sku.id", "sku_other"),
        ("parameters.product.sku_id", "sku_other"),
        ("sku.product_id", "prod_other"),
    ],
)
def test_ids_that_name_two_articles_are_a_contradiction(path: str, other: str) -> None:
    """What was set up and what is sent along have to be one article."""
    assert code_of(changed(rewarded(material_sku()), f"{REWARD}.{path}", other)) == "contradiction"


def test_two_rewarded_customers_are_a_contradiction() -> None:
    """The event and its reward have to mean one customer."""
    assert code_of(changed(rewarded(), f"{REWARD}.customer.id", "cust_other")) == "contradiction"


@pytest.mark.parametrize(
    ("path", "value"),
    [("data.redemption.object", "redemption_rollback"), ("data.redemption_rollback", {"redemption": REDEMPTION})],
)
def test_a_reward_with_a_rollback_inside_is_a_contradiction(path: str, value: object) -> None:
    """It cannot be given and undone in one event."""
    assert code_of(changed(rewarded(), path, value)) == "contradiction"


# --- what is not shipped by itself -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("result", "status"),
    [("FAILURE", "FAILED"), ("FAILURE", None), (None, "FAILED"), ("failure", "SUCCEEDED"), ("SUCCESS", "ROLLED_BACK")],
)
def test_only_a_success_is_shipped(result: object, status: object) -> None:
    """What failed or was undone needs no parcel, whichever of the two fields says so."""
    tree = changed(changed(rewarded(), "data.redemption.result", result), "data.redemption.status", status)
    assert opened(tree).verdict == "not_applicable"


@pytest.mark.parametrize(("result", "status"), [("SUCCESS", None), (None, "SUCCEEDED"), (None, None), ("Success", "")])
def test_nothing_said_of_the_result_is_a_success_in_this_event(result: object, status: object) -> None:
    """Nulls are normal, and the event's own name says that the customer was rewarded."""
    tree = changed(changed(rewarded(), "data.redemption.result", result), "data.redemption.status", status)
    assert opened(tree).verdict == "ship"


@pytest.mark.parametrize("status", ["PENDING", "SUCCEEDED_LATER"])
def test_an_unknown_word_for_the_result_needs_attention(status: str) -> None:
    """A word that Voucherify adds one day is neither success nor failure."""
    assert opened(changed(rewarded(), "data.redemption.status", status)).verdict == "needs_attention"


def test_a_raw_body_has_to_say_that_it_succeeded() -> None:
    """Without an event's name, silence about the result says nothing."""
    tree = changed(changed(rewarded_data(), "redemption.result", None), "redemption.status", None)
    assert opened(rewarded_data()).verdict == "ship"
    assert opened(tree).verdict == "needs_attention"


@pytest.mark.parametrize("kind", ["SUBSCRIPTION", "MATERIAL_V2"])
def test_an_unknown_kind_is_never_dropped(kind: str) -> None:
    """A person sees it, with the article where one is named."""
    decision = opened(rewarded({**material_product(), "type": kind}))
    assert (decision.verdict, decision.kind, decision.article) == ("needs_attention", "unknown", "mug-blue")
    assert opened(rewarded({**coin(), "type": kind})).verdict == "needs_attention"
    assert opened(rewarded({**discount_coupon(), "parameters": None, "voucher": None})).verdict == "needs_attention"


def test_a_digital_reward_needs_no_parcel_unless_it_names_an_article() -> None:
    """A digital reward with a product in it is for a person to look at."""
    digital = {**coin(), "type": "DIGITAL", "parameters": None}
    assert (opened(rewarded(digital)).verdict, opened(rewarded(digital)).kind) == ("not_applicable", "digital")
    assert opened(rewarded({**material_product(), "type": "DIGITAL"})).verdict == "needs_attention"


@pytest.mark.parametrize("kind", [None, DROP, ""])
def test_without_a_type_the_content_tells_the_kind(kind: object) -> None:
    """A product alone is material, a voucher alone a coupon; both together are for a person."""
    assert opened(changed(rewarded(), f"{REWARD}.type", kind)).verdict == "ship"
    assert opened(changed(rewarded(discount_coupon()), f"{REWARD}.type", kind)).verdict == "not_applicable"
    both = changed(rewarded({**discount_coupon(), "product": {"id": "prod_mug"}}), f"{REWARD}.type", kind)
    assert opened(both).verdict == "needs_attention"


def test_a_redemption_that_names_no_reward_needs_attention() -> None:
    """It may not be what paid for the reward, so `data.reward` is shown to a person and not shipped."""
    decision = opened(changed(rewarded(), REWARD, None))
    assert (decision.verdict, decision.article) == ("needs_attention", "mug-blue")


def test_a_reward_of_which_nothing_is_left_needs_attention() -> None:
    """Even an event without any data is a reward that somebody was promised."""
    for data in (None, {}, {"redemption": None, "reward": None}):
        decision = opened(envelope(data))
        assert (decision.verdict, decision.kind) == ("needs_attention", "unknown")


def test_a_redemption_with_a_rollback_of_its_own_needs_attention() -> None:
    """The parcel may be for a reward that is undone by now."""
    tree = changed(rewarded(), "data.redemption.related_redemptions", {"rollbacks": [{"id": "rr_1"}]})
    assert opened(tree).verdict == "needs_attention"
    assert opened(changed(tree, "data.redemption.related_redemptions.rollbacks", [])).verdict == "ship"


@pytest.mark.parametrize("path", ["data.redemption.customer.id", "data.redemption.customer_id"])
def test_a_reward_that_another_customer_redeemed_needs_attention(path: str) -> None:
    """It is not clear who is to get the parcel."""
    assert opened(changed(rewarded(), path, "cust_other")).verdict == "needs_attention"


# --- who gets it -----------------------------------------------------------------------------------------


def test_the_customer_is_found_wherever_the_event_names_one() -> None:
    """Where `data.customer` is null, the reward's customer or the redeeming one is meant."""
    tree = changed(rewarded(), "data.customer", None)
    assert opened(tree).customer == CUSTOMER
    tree = changed(tree, f"{REWARD}.customer", None)
    assert opened(tree).person.name == "Testa Probe"
    tree = changed(tree, "data.redemption.customer", None)
    assert opened(tree).person == Person(customer=CUSTOMER)


def test_the_shop_s_customer_id_never_passes_for_voucherify_s() -> None:
    """The shop's id is often an e-mail address, so it must not get where ids are kept."""
    tree = rewarded_data({**material_product(), "customer": None})
    tree = {**tree, "customer": customer(id=None), "redemption": {**tree["redemption"], "customer": None}}
    decision = opened(envelope(tree))
    assert (decision.customer, decision.person.source_id) == (None, SOURCE_ID)


def test_what_one_part_lacks_is_taken_from_another_that_means_the_same_customer() -> None:
    """And never from one that means somebody else."""
    tree = changed(rewarded(), "data.customer.email", None)
    tree = changed(tree, "data.redemption.customer.email", "testa@shop.test")
    assert opened(tree).person.email == "testa@shop.test"
    assert opened(changed(tree, "data.redemption.customer.id", "cust_other")).person.email is None


def test_nothing_personal_is_shown_by_a_repr() -> None:
    """A decision may end in a log or a traceback."""
    shown = repr(opened(rewarded())) + repr(decided(deleted()))
    assert "Testa" not in shown
    assert SOURCE_ID not in shown


# --- the reference ---------------------------------------------------------------------------------------


def test_the_same_reward_has_one_reference_however_it_is_sent() -> None:
    """From a project's webhook, a distribution, and raw."""
    trees = (rewarded(), distribution(rewarded_data()), rewarded_data())
    assert {opened(tree).reference for tree in trees} == {f"vfy-{REDEMPTION}"}


def test_a_reward_without_a_redemption_id_takes_its_event_s() -> None:
    """The event's id is the same in every sending of it."""
    for nothing in (None, ""):
        assert opened(changed(rewarded(), "data.redemption.id", nothing)).reference == f"vfy-{EVENT}"
    decision = opened(unpaid(material_product()))
    assert (decision.reference, decision.redemption, decision.verdict) == (f"vfy-{EVENT}", None, "ship")


def test_a_reward_without_any_id_is_decided_by_a_person() -> None:
    """Only the delivery names it, and a second delivery of it could not be told from a second reward."""
    tree = changed(unpaid(material_product()), "event.id", None)
    decision = opened(tree)
    assert decision.reference == references.for_delivery(delivery(tree).id)
    assert decision.verdict == "needs_attention"


@pytest.mark.parametrize("odd", ["r 1", "r/1?x=#", "r'\"1", "r" * 10_000, "r\n1", "évé", "ev_1", "r-g2"])
def test_odd_ids_open_a_reward_too(odd: str) -> None:
    """Spaces, slashes, quotes and ten thousand characters: one reference, and a rollback that finds it."""
    tree = changed(rewarded(), "data.redemption.id", odd)
    tree = changed(tree, "data.customer.id", DROP)
    decision = opened(tree)
    undone = decided(rolled_back(odd))
    assert isinstance(undone, RollBack)
    assert (decision.verdict, decision.reference) == ("ship", undone.reference)
    assert decision.redemption == undone.redemption
    assert decision.redemption is not None
    assert len(decision.redemption) <= 200


# --- when it was redeemed --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "date", ["2026-02-28T16:27:56.234+01:00", "2026-02-28T15:27:56.234000Z", "2026-02-28T15:27:56.234"]
)
def test_times_are_read_with_three_and_six_digits(date: str) -> None:
    """Both stand in one body; without an offset it is UTC."""
    tree = changed(rewarded(), "data.redemption.date", date)
    assert opened(tree).redeemed_at == datetime(2026, 2, 28, 15, 27, 56, 234000, tzinfo=UTC)


@pytest.mark.parametrize("date", [None, DROP, "yesterday", 1709134076, "0001-01-01T00:00:00+14:00", []])
def test_without_a_readable_date_the_event_s_time_counts(date: object) -> None:
    """The event was made when the customer was rewarded; the envelope's own time may be that of a repeat."""
    tree = changed(rewarded(), "data.redemption.date", date)
    assert opened(tree).redeemed_at == datetime(2026, 2, 28, 15, 28, 9, 660000, tzinfo=UTC)
    assert opened(changed(tree, "event.created_at", None)).redeemed_at is None


# --- other events ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("event_type", ["redemption.rollback.succeeded", "customer.redemption.rollback.succeeded"])
def test_both_rollback_events_roll_back(event_type: str) -> None:
    """They take back the reward that the undone redemption paid for."""
    assert decided(rolled_back(event_type=event_type)) == RollBack(
        reference=opened(rewarded()).reference, redemption=REDEMPTION, event_type=event_type
    )


@pytest.mark.parametrize("event_type", ["redemption.rollback.failed", "customer.redemption.rollback.failed"])
def test_a_failed_rollback_is_counted(event_type: str) -> None:
    """It undid nothing."""
    assert decided(rolled_back(event_type=event_type)) == Count(event_type=event_type)


def test_points_given_are_another_event_than_a_reward() -> None:
    """`customer.rewarded.loyalty_points` is no `customer.rewarded`, whatever it holds."""
    event_type = "customer.rewarded.loyalty_points"
    assert decided(envelope(rewarded_data(), event_type)) == Count(event_type=event_type)


@pytest.mark.parametrize(
    "event_type", ["voucher.updated", "redemption.succeeded", "some.new.event", "customer.updated"]
)
def test_other_events_are_counted(event_type: str) -> None:
    """Known or not, they need nothing."""
    assert decided(envelope({"redemption": redemption()}, event_type)) == Count(event_type=event_type)


def test_a_deleted_customer_is_erased() -> None:
    """By either id; without any, a person has to find out who."""
    assert decided(deleted()) == EraseCustomer(customer=CUSTOMER, source_id=SOURCE_ID, event_type="customer.deleted")
    assert decided(deleted(None)) == EraseCustomer(customer=None, source_id=SOURCE_ID, event_type="customer.deleted")
    assert code_of(deleted(None, None)) == "no_customer"


# --- other projects --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "tree",
    [
        rewarded(),
        rolled_back(),
        deleted(),
        envelope({}, "voucher.updated"),
        rewarded(discount_coupon()),
        changed(rewarded(), "data.redemption.id", 7),
        changed(rewarded(), f"{REWARD}.product.id", "prod_other"),
    ],
)
def test_another_project_s_webhook_is_set_aside_before_anything_else(tree: Tree) -> None:
    """Whatever it says, it is none of ours; without the setting every project is."""
    assert code_of(tree, "proj_other") == "other_project"
    for missing in (None, DROP, 7):
        assert code_of(changed(tree, "project_id", missing), PROJECT) == "other_project"
    assert decided(tree, PROJECT, "proj_other") == decided(tree)


def test_a_raw_body_names_no_project() -> None:
    """With the setting, nobody can tell whether it is ours."""
    assert code_of(rewarded_data(), PROJECT) == "other_project"


def test_rubbish_is_set_aside_with_its_reason() -> None:
    """What cannot be read at all keeps its own reason."""
    assert code_of(b"rubbish", PROJECT) == "not_json"
    assert code_of(b"[]", PROJECT) == "not_an_object"
    assert code_of({"hello": "world"}) == "no_envelope"


@pytest.mark.parametrize("path", ["data.customer.name", "data.redemption.related_redemptions", f"{REWARD}.customer"])
def test_no_depth_of_nesting_is_too_much_to_be_decided_on(path: str) -> None:
    """Around the depth at which the interpreter gives up, each body ends as a parcel or is set aside."""
    ends = set()
    for depth in range(0, 1_100, 7):
        raw = body(changed(rewarded(), path, "@")).replace(b'"@"', b'{"id":' * depth + b"[]" + b"}" * depth)
        ends.add(type(decided(raw)))
    assert ends == {OpenReward, SetAside}


def test_a_reason_never_repeats_a_value() -> None:
    """Reasons are shown in lists and logs."""
    marker = "zzz_marker"
    for path in ("data.redemption.reward.product.id", "data.redemption.reward.type", "data.redemption.status"):
        for value in (marker, {marker: marker}, [marker]):
            decision = decided(changed(rewarded(material_sku()), path, value))
            assert isinstance(decision, SetAside | OpenReward)
            assert marker not in decision.why


def test_a_sku_s_own_product_has_to_be_the_one_named() -> None:
    """A variant of another product is another article, also where the product is not sent along."""
    reward = {**material_sku(), "product": None, "sku": sku(product_id="prod_other")}
    assert code_of(rewarded(reward)) == "contradiction"
