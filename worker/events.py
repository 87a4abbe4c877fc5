"""What Voucherify's webhooks say, as far as anything is decided by it; everything else is never looked at.

Voucherify adds, reorders and nulls fields without notice, and most of its published samples fail its own
schema. So every field is optional here, unknown ones are passed over, and there are two kinds of fields:

* typed ones decide what is shipped, and to whom: another type there makes the delivery a dead letter;
* `Raw` ones only help or confirm: they are read by `text` and its siblings, and a wrong type costs nothing.

No value is shown by a `repr`, since these hold names, addresses and voucher codes.
"""

from datetime import UTC, datetime
from typing import TypeVar

import msgspec
from msgspec import Raw

_T = TypeVar("_T")

NULL = Raw(b"null")


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """A part of a body; its `repr` says nothing of what is inside."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"


class Customer(Part, frozen=True, kw_only=True):
    """A customer as events name one; never with an address."""

    id: str | None = None
    source_id: str | None = None
    name: Raw = NULL
    email: Raw = NULL


class Product(Part, frozen=True, kw_only=True):
    """The product that a material reward is."""

    id: str | None = None
    source_id: str | None = None
    """The shop's own id of it."""
    name: Raw = NULL


class Sku(Part, frozen=True, kw_only=True):
    """The variant of a product that a material reward is."""

    id: str | None = None
    source_id: str | None = None
    """The shop's own id of it."""
    product_id: Raw = NULL
    sku: Raw = NULL
    """The variant's name."""


class ProductParameters(Part, frozen=True, kw_only=True):
    """Which product the reward was set up with."""

    id: str | None = None
    sku_id: str | None = None


class Parameters(Part, frozen=True, kw_only=True):
    """How the reward was set up; one of the three is filled."""

    product: ProductParameters | None = None
    campaign: Raw = NULL
    coin: Raw = NULL


class Reward(Part, frozen=True, kw_only=True):
    """What the customer gets."""

    type: str | None = None
    """MATERIAL, CAMPAIGN, COIN or DIGITAL in `redemption.reward`; in `data.reward` it is not to be relied on."""
    name: Raw = NULL
    product: Product | None = None
    sku: Sku | None = None
    voucher: Raw = NULL
    parameters: Parameters | None = None
    customer: Raw = NULL


class Redemption(Part, frozen=True, kw_only=True):
    """The redemption that paid for a reward, with the reward inside."""

    id: str | None = None
    object: Raw = NULL
    result: str | None = None
    """SUCCESS or FAILURE."""
    status: str | None = None
    """SUCCEEDED or FAILED, in Voucherify's API also ROLLED_BACK."""
    date: Raw = NULL
    created_at: Raw = NULL
    customer: Raw = NULL
    customer_id: Raw = NULL
    reward: Reward | None = None
    related_redemptions: Raw = NULL


class RewardedData(Part, frozen=True, kw_only=True):
    """The `data` of `customer.rewarded`."""

    customer: Customer | None = None
    redemption: Redemption | None = None
    reward: Raw = NULL
    """Read only where there is no `redemption.reward`."""
    redemption_rollback: Raw = NULL
    """Not a part of this event; where it stands all the same, the body says two things at once."""


class Named(Part, frozen=True, kw_only=True):
    """An object of which only the id matters."""

    id: str | None = None


class Rollback(Part, frozen=True, kw_only=True):
    """The undoing of a redemption."""

    redemption: str | Named | None = None
    """The redemption that was undone."""
    result: Raw = NULL
    status: Raw = NULL


class RolledBackData(Part, frozen=True, kw_only=True):
    """The `data` of both rollback events."""

    redemption_rollback: Rollback | None = None
    redemption: Raw = NULL
    """The redemption that was undone, once more; read only where the rollback does not name it."""


class DeletedData(Part, frozen=True, kw_only=True):
    """The `data` of `customer.deleted`."""

    customer: Customer | None = None


class Origin(Part, frozen=True, kw_only=True):
    """The `event` of an envelope: what happened, apart from how it was sent."""

    id: Raw = NULL
    type: str | None = None
    created_at: Raw = NULL


class Envelope(Part, frozen=True, kw_only=True):
    """What Voucherify wraps around `data`; a distribution may be sent without it."""

    project_id: Raw = NULL
    type: Raw = NULL
    """The event's name, or free text that a marketer typed."""
    event: Raw = NULL
    data: Raw = NULL
    source: Raw = NULL


class Related(Part, frozen=True, kw_only=True):
    """The `related_redemptions` of a redemption."""

    rollbacks: list[Raw] | None = None


class Typed(Part, frozen=True, kw_only=True):
    """An object of which only the type matters."""

    type: Raw = NULL


def text(raw: Raw) -> str | None:
    """Return a string that is not blank; None for everything else."""
    return given(lenient(raw, _TEXT))


def label(raw: Raw) -> str | None:
    """Return a string for people to read, broken characters replaced; None for everything else."""
    whole = bytes(raw).decode("utf-8", "replace")
    return text(Raw(whole.encode()))


def given(value: str | None) -> str | None:
    """Return the text, or None where it is blank: an empty id names nothing."""
    return value if value is not None and value.strip() else None


def instant(raw: Raw) -> datetime | None:
    """Return an ISO 8601 time with any number of fractional digits, in UTC; None for everything else."""
    written = text(raw)
    try:
        parsed = datetime.fromisoformat(written or "")
        return parsed.replace(tzinfo=UTC) if parsed.tzinfo is None else parsed.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def is_object(raw: Raw) -> bool:
    """Tell whether it is a JSON object."""
    return bytes(raw).lstrip().startswith(b"{")


def is_given(raw: Raw) -> bool:
    """Tell whether it is anything but null."""
    return bytes(raw).strip() != b"null"


def has_rollbacks(related: Raw) -> bool:
    """Tell whether the `related_redemptions` of a redemption name a rollback of it."""
    found = lenient(related, _RELATED)
    return bool(found is not None and found.rollbacks)


def customer(raw: Raw) -> Customer | None:
    """Return a customer; None where it cannot be read as one."""
    return lenient(raw, _CUSTOMER)


def type_of(raw: Raw) -> str:
    """Return the `type` of an object in upper case; empty where there is none."""
    found = lenient(raw, _TYPED)
    return word(text(found.type)) if found is not None else ""


def lenient(raw: Raw, decoder: "msgspec.json.Decoder[_T | None]") -> _T | None:
    """Decode what only helps; None where it is anything else."""
    try:
        return decoder.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def word(value: str | None) -> str:
    """Return an enumeration's value as it is compared: upper case, no white space around it."""
    return (value or "").strip().upper()


_TEXT = msgspec.json.Decoder(str | None)
_CUSTOMER = msgspec.json.Decoder(Customer | None)
_RELATED = msgspec.json.Decoder(Related | None)
_TYPED = msgspec.json.Decoder(Typed | None)
