"""Builds bodies of webhooks as Voucherify sends them, for tests of every kind.

Every function gives a new tree of plain data that a test may change further; `body` makes bytes of it and
`delivery` seals them. No value here is anybody's real one.
"""

import copy
import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from rewardpost.delivery import Delivery, delivery_id

Tree = dict[str, Any]

DROP: Final = object()
"""As a value for `changed`: take the key away."""

PROJECT = "proj_Tests0001"
CUSTOMER = "cust_Tests0000000000000000001"
SOURCE_ID = "shop/customer 1"
REDEMPTION = "r_7e57000000000000a1"
EVENT = "evcus_7e57000000000000b1"
RECEIVED_AT = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def customer(**changes: object) -> Tree:
    """Return a customer as events name one."""
    return {
        "id": CUSTOMER,
        "name": "Testa Probe",
        "email": None,
        "source_id": SOURCE_ID,
        "metadata": {"tiers": ["gold", 3]},
        "object": "customer",
        **changes,
    }


def product(**changes: object) -> Tree:
    """Return a product."""
    return {"id": "prod_mug", "source_id": "mug-blue", "name": "Blue mug", "price": 1250.5, **changes}


def sku(**changes: object) -> Tree:
    """Return a variant of `product`."""
    return {
        "id": "sku_mug_xl",
        "source_id": "mug-blue-xl",
        "product_id": "prod_mug",
        "sku": "XL",
        "attributes": {"weight": 0.4},
        "object": "sku",
        **changes,
    }


def _reward(kind: str, parameters: Tree, **content: object) -> Tree:
    return {
        "customer": customer(),
        "assignment_id": "rewa_1",
        "id": "rew_1",
        "object": "reward",
        "name": "A reward",
        "created_at": "2026-02-27T08:00:00.072326Z",
        "updated_at": None,
        "type": kind,
        "parameters": parameters,
        **content,
    }


def material_product() -> Tree:
    """Return a reward that is a product; its article is `mug-blue`."""
    return _reward("MATERIAL", {"product": {"id": "prod_mug", "sku_id": None}}, product=product())


def material_sku() -> Tree:
    """Return a reward that is a variant of a product; its article is `mug-blue-xl`."""
    parameters = {"product": {"id": "prod_mug", "sku_id": "sku_mug_xl"}}
    return _reward("MATERIAL", parameters, product=product(), sku=sku())


def _campaign(kind: str, voucher_type: str) -> Tree:
    parameters = {"campaign": {"id": "camp_1", "balance": 20, "type": kind}}
    return _reward("CAMPAIGN", parameters, voucher={"id": "v_1", "code": "TEST-CODE-1", "type": voucher_type})


def discount_coupon() -> Tree:
    """Return a reward that is a discount coupon."""
    return _campaign("DISCOUNT_COUPONS", "DISCOUNT_VOUCHER")


def gift_credits() -> Tree:
    """Return a reward of credits on a gift card."""
    return _campaign("GIFT_VOUCHERS", "GIFT_VOUCHER")


def loyalty_points() -> Tree:
    """Return a reward of points on a loyalty card."""
    return _campaign("LOYALTY_PROGRAM", "LOYALTY_CARD")


def coin() -> Tree:
    """Return a reward that pays with points."""
    return _reward("COIN", {"coin": {"exchange_ratio": 0.25, "points_ratio": 10}})


VARIANTS: Mapping[str, Callable[[], Tree]] = {
    "material_product": material_product,
    "material_sku": material_sku,
    "discount_coupon": discount_coupon,
    "gift_credits": gift_credits,
    "loyalty_points": loyalty_points,
    "coin": coin,
}
"""All six kinds of rewards."""


def redemption(reward: Tree | None = None, /, **changes: object) -> Tree:
    """Return the redemption that paid for a reward, with an order for quite another product inside."""
    return {
        "id": REDEMPTION,
        "customer_id": CUSTOMER,
        "date": "2026-02-28T15:27:56.234000Z",
        "amount": 50,
        "order": {"id": "ord_1", "items": [{"product_id": "prod_ordered", "source_id": "ordered", "quantity": 3}]},
        "reward": material_product() if reward is None else reward,
        "customer": customer(),
        "result": "SUCCESS",
        "status": "SUCCEEDED",
        "metadata": {"location_id": []},
        "object": "redemption",
        **changes,
    }


def rewarded_data(reward: Tree | None = None, /, **changes: object) -> Tree:
    """Return the `data` of `customer.rewarded`; its own `reward` says CAMPAIGN, as all that Voucherify sends."""
    reward = material_product() if reward is None else reward
    shown = {key: reward[key] for key in ("id", "name", "product", "sku", "voucher") if key in reward}
    return {
        "customer": customer(),
        "holder": customer(),
        "voucher": {"id": "v_card", "code": "TEST-CARD-1", "loyalty_card": {"points": 900, "balance": 850}},
        "campaign": {"id": "camp_1", "name": "Tests", "created_at": "2026-01-18T15:18:38.577044Z"},
        "redemption": redemption(reward),
        "reward": {**shown, "type": "CAMPAIGN", "object": "reward"},
        "referral_tier": None,
        "balance": None,
        "custom_event": None,
        **changes,
    }


def envelope(data: object, event_type: str = "customer.rewarded", **changes: object) -> Tree:
    """Return what a webhook of a project sends."""
    return {
        "id": "whs_1",
        "project_id": PROJECT,
        "created_at": "2026-02-28T15:28:09.660Z",
        "type": event_type,
        "data": data,
        "source": {"id": "wh_1", "object": "webhook", "target_url": "https://door.test/"},
        "event": {
            "id": EVENT,
            "type": event_type,
            "created_at": "2026-02-28T15:28:09.660Z",
            "group_id": "v-1",
            "event_source": {"channel": "INTERNAL"},
        },
        **changes,
    }


def distribution(data: object, event_type: str = "customer.rewarded", *, title: object = "Mugs!") -> Tree:
    """Return what a distribution sends: the same, but that a marketer typed the title which stands as `type`."""
    source = {"id": "distr_1", "object": "distribution", "target_url": "https://door.test/"}
    return envelope(data, event_type, id="whs_2", type=title, source=source)


def rewarded(reward: Tree | None = None) -> Tree:
    """Return the whole body of `customer.rewarded` from a project's webhook."""
    return envelope(rewarded_data(reward))


def rolled_back(redemption_id: str = REDEMPTION, event_type: str = "redemption.rollback.succeeded") -> Tree:
    """Return the whole body of a rollback event."""
    undone = {
        "id": "rr_1",
        "object": "redemption_rollback",
        "date": "2026-02-28T16:23:52.499Z",
        "amount": -50,
        "result": "SUCCESS",
        "status": "SUCCEEDED",
        "redemption": redemption_id,
        "metadata": None,
    }
    data = {"customer": customer(), "redemption": redemption(id=redemption_id), "redemption_rollback": undone}
    return envelope(data, event_type)


def deleted(customer_id: str | None = CUSTOMER, source_id: str | None = SOURCE_ID) -> Tree:
    """Return the whole body of `customer.deleted`."""
    return envelope({"customer": customer(id=customer_id, source_id=source_id)}, "customer.deleted")


def changed(tree: Tree, path: str, value: object) -> Tree:
    """Return a copy with another value at a dotted path; objects on the way are made where there are none."""
    tree = copy.deepcopy(tree)
    *way, last = path.split(".")
    place = tree
    for key in way:
        if not isinstance(place.get(key), dict):
            place[key] = {}
        place = place[key]
    if value is DROP:
        place.pop(last, None)
    else:
        place[last] = value
    return tree


def body(tree: object) -> bytes:
    """Return the bytes of a body."""
    return json.dumps(tree, ensure_ascii=False).encode("utf-8")


def delivery(content: object) -> Delivery:
    """Return a sealed delivery of a tree, or of bytes as they are."""
    raw = content if isinstance(content, bytes) else body(content)
    return Delivery(id=delivery_id(raw), source="voucherify", received_at=RECEIVED_AT, body=raw)
