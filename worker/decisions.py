"""What a delivery can mean; deciding is in `routing`, acting on it in the tasks."""

from datetime import datetime
from typing import Literal

import msgspec

Verdict = Literal["ship", "not_applicable", "needs_attention"]


class Person(msgspec.Struct, frozen=True, kw_only=True):
    """Who a reward is for, as the event says; all of it is personal but `customer`."""

    name: str | None = None
    email: str | None = None
    source_id: str | None = None
    """The customer's id in the shop: often an e-mail address."""
    customer: str | None = None
    """Voucherify's own id of the customer."""

    def __repr__(self) -> str:
        return "<Person>"


class OpenReward(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """A reward was given: a fulfilment is to be opened, unless there is one with this reference."""

    reference: str
    redemption: str | None
    """The redemption's id; a stand-in where it cannot be stored as it is, see `bounds.identifier`."""
    customer: str | None
    """Voucherify's own id of the customer, never the shop's; bounded in the same way."""
    event_type: str
    redeemed_at: datetime | None
    """Aware, UTC; None where nothing that can be read tells."""
    kind: str
    """`material`, `discount_coupon`, `gift_credits`, `loyalty_points`, `coin`, `digital` or `unknown`."""
    article: str | None
    """The shop's id of what to ship, or Voucherify's where the shop has none."""
    article_name: str
    verdict: Verdict
    why: str
    person: Person
    audited: bool = False
    """An audit found it; no webhook named it."""


class RollBack(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """A redemption was undone: the reward that it paid for is to be cancelled."""

    reference: str
    redemption: str
    event_type: str


class EraseCustomer(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """A customer was deleted: what is personal about them is to be erased. One of the two ids is there."""

    customer: str | None
    source_id: str | None
    event_type: str

    def __repr__(self) -> str:
        return f"EraseCustomer(customer={self.customer!r})"


class LookAgain(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """A provider hints at news of these rewards: what became of their orders is worth a look now."""

    references: tuple[str, ...]
    event_type: str


class Count(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """An event that needs nothing, of a known type or not."""

    event_type: str


class SetAside(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """A delivery that cannot be read, contradicts itself or is somebody else's: a dead letter."""

    code: str
    """A short stable word to group by: `not_json`, `not_an_object`, `too_deep`, `no_envelope`, `wrong_type`,
    `contradiction`, `other_project`, `no_redemption` or `no_customer`."""
    why: str
    """What was expected and where; nothing of what came but its type."""


Decision = OpenReward | RollBack | EraseCustomer | LookAgain | Count | SetAside
