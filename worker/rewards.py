"""What a reward is and which article it takes, as pure rules over what the event says of it.

Never looked at: `redemption.order`, the order that earned the reward and may hold quite another product.
"""

from collections.abc import Mapping

import msgspec

from worker import bounds, events
from worker.events import Parameters, Product, ProductParameters, Reward, Sku, given, is_object

UNKNOWN = "unknown"
MATERIAL = "material"
DIGITAL = "digital"
COIN = "coin"

NO_PARCEL: Mapping[str, str] = {
    "discount_coupon": "a discount coupon: Voucherify has issued its code",
    "gift_credits": "gift credits: Voucherify has added them to the card",
    "loyalty_points": "loyalty points: Voucherify has added them to the card",
    COIN: "paid with points: nothing is to be sent",
    DIGITAL: "a digital reward: nothing is to be sent",
}
"""Kinds that need no parcel, each with the reason."""

_CAMPAIGNS: Mapping[str, str] = {
    "DISCOUNT_COUPONS": "discount_coupon",
    "DISCOUNT_VOUCHER": "discount_coupon",
    "GIFT_VOUCHERS": "gift_credits",
    "GIFT_VOUCHER": "gift_credits",
    "LOYALTY_PROGRAM": "loyalty_points",
    "LOYALTY_CARD": "loyalty_points",
}
"""Kinds by the type of the campaign that the reward was set up with, or of the voucher that came of it."""

_LONGEST_NAME = 200


class Contradiction(Exception):  # noqa: N818 - named after what it is: the event says two things at once
    """Two parts of a reward exclude each other; the message names them and says what was expected."""


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """What a reward turned out to be."""

    kind: str
    article: str | None = None
    article_name: str = ""
    why: str = ""
    """Where the article was found, or what a person has to look at."""
    is_clear: bool = True
    """False where a person has to look at it."""


def read(reward: Reward | None, *, is_paid: bool) -> Reading:
    """Say what a reward is.

    Args:
        reward: what the event says of it.
        is_paid: it comes from the redemption that paid for it. A reward from elsewhere says CAMPAIGN as its
            type in every published sample, material ones included, so that there only its content counts.

    Raises:
        Contradiction: two parts exclude each other.
    """
    if reward is None:
        return Reading(kind=UNKNOWN, why="the event says nothing of the reward", is_clear=False)
    _expect_same_article(reward)
    kind = _kind(reward, is_paid=is_paid)
    if kind in {MATERIAL, UNKNOWN, DIGITAL} and _names_article(reward):
        return _with_article(reward, kind)
    if kind == MATERIAL:
        return Reading(kind=kind, why="a material reward that names no product and no sku", is_clear=False)
    if kind == UNKNOWN:
        return Reading(kind=kind, why="the kind of the reward is not known here", is_clear=False)
    return Reading(kind=kind, why=NO_PARCEL[kind])


def _kind(reward: Reward, *, is_paid: bool) -> str:
    stated = events.word(reward.type)
    names_article = _names_article(reward)
    other = _other_content(reward)
    if names_article and not is_paid and stated in {"", "CAMPAIGN", "COIN", "MATERIAL"}:
        return MATERIAL
    if stated == "MATERIAL" and other and not names_article:
        raise Contradiction(f"reward: expected a product or a sku for the type MATERIAL, got only {other}")
    if stated in {"CAMPAIGN", "COIN"} and names_article:
        raise Contradiction(f"reward: expected no product and no sku for the type {stated}")
    if stated == "CAMPAIGN" or (not stated and not names_article and other in {"voucher", "campaign"}):
        return _campaign_kind(reward)
    if not stated:
        return _kind_by_content(names_article=names_article, other=other)
    return {"MATERIAL": MATERIAL, "COIN": COIN, "DIGITAL": DIGITAL}.get(stated, UNKNOWN)


def _kind_by_content(*, names_article: bool, other: str) -> str:
    if names_article:
        return UNKNOWN if other else MATERIAL
    return COIN if other == "coin" else UNKNOWN


def _campaign_kind(reward: Reward) -> str:
    for confirmation in ((reward.parameters or Parameters()).campaign, reward.voucher):
        kind = _CAMPAIGNS.get(events.type_of(confirmation))
        if kind is not None:
            return kind
    return UNKNOWN


def _other_content(reward: Reward) -> str:
    parameters = reward.parameters or Parameters()
    contents = {"voucher": reward.voucher, "campaign": parameters.campaign, "coin": parameters.coin}
    return next((name for name, raw in contents.items() if is_object(raw)), "")


def _named(reward: Reward) -> ProductParameters:
    return (reward.parameters or Parameters()).product or ProductParameters()


def _names_article(reward: Reward) -> bool:
    product = reward.product or Product()
    ids = (product.id, product.source_id, _named(reward).id, _named(reward).sku_id)
    return reward.sku is not None or any(given(value) for value in ids)


def _expect_same_article(reward: Reward) -> None:
    product, sku, named = reward.product or Product(), reward.sku or Sku(), _named(reward)
    belongs_to = events.text(sku.product_id)
    for one, other, expected in (
        (product.id, named.id, "product.id to equal parameters.product.id"),
        (sku.id, named.sku_id, "sku.id to equal parameters.product.sku_id"),
        (belongs_to, product.id, "sku.product_id to equal product.id"),
        (belongs_to, named.id, "sku.product_id to equal parameters.product.id"),
    ):
        if given(one) and given(other) and one != other:
            raise Contradiction(f"reward: expected {expected}")


def _with_article(reward: Reward, kind: str) -> Reading:
    article, place = _article(reward)
    name = _name(reward)
    if article is None:
        return Reading(kind=kind, article_name=name, why="the reward is a sku without any id", is_clear=False)
    if not bounds.is_plain(article):
        why = f"{place}: expected at most {bounds.LONGEST_ID} characters, none of them a control character"
        return Reading(kind=kind, article_name=name, why=why, is_clear=False)
    if kind != MATERIAL:
        why = f"a reward of the kind {kind} that names an article"
        return Reading(kind=kind, article=article, article_name=name, why=why, is_clear=False)
    return Reading(kind=kind, article=article, article_name=name, why=f"the article is {place}")


def _article(reward: Reward) -> tuple[str | None, str]:
    product, sku, named = reward.product or Product(), reward.sku or Sku(), _named(reward)
    if reward.sku is not None or given(named.sku_id):
        # Never the product's own id from here on: it would lose the variant.
        places = ((sku.source_id, "sku.source_id"), (sku.id, "sku.id"), (named.sku_id, "parameters.product.sku_id"))
    else:
        places = (
            (product.source_id, "product.source_id"),
            (product.id, "product.id"),
            (named.id, "parameters.product.id"),
        )
    return next(((value, place) for value, place in places if given(value)), (None, ""))


def _name(reward: Reward) -> str:
    product = reward.product or Product()
    variant = events.label((reward.sku or Sku()).sku)
    names = [events.label(product.name) or events.label(reward.name), variant]
    return bounds.label(", ".join(name for name in names if name), _LONGEST_NAME)
