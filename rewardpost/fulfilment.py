"""The records of the ledger: one reward's fulfilment, its journal, what is personal about it.

Records and journals are stored as arrays, since names of fields would be half of what millions of them need in memory.
Fields may be added at the end with a default, never removed, moved or given another meaning: a worker one release older
or newer reads the same record.
"""

from datetime import datetime

import msgspec

from rewardpost import reference as references
from rewardpost.addresses import PostalAddress
from rewardpost.states import Flag, State


class Hold(msgspec.Struct, frozen=True, kw_only=True):
    """Why a reward is not dispatched for now."""

    source: str
    """What holds it: `dispatch`, `ship_since`, `reward`, `everything`, `provider:<name>` or `article:<name>`."""
    why: str


class Fulfilment(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """The record of making one reward real; it holds ids and never what is personal."""

    reference: str
    """The reward's permanent name; the ledger's key."""
    state: State
    revision: int = 0
    """Raised by every write; a write that was decided on an older one is refused."""
    token: int = 0
    """Raised by every claim to act outside; the outcome of an older claim is refused."""
    redemption: str | None = None
    customer: str | None = None
    """Voucherify's own id of the customer."""
    kind: str = ""
    """What the reward is: `material`, `discount_coupon`, … as the decoding names it."""
    article: str | None = None
    article_name: str = ""
    provider: str | None = None
    """Name of the provider that was asked, from the first attempt on."""
    provider_order: str | None = None
    tracking: tuple[str, ...] = ()
    generation: int = 1
    """Counts from 1; raised only when a person decides to ship again."""
    attempts: int = 0
    """Calls made to the provider for this reward."""
    spent: int = 0
    """Calls that count against the limit, since a person last looked at it."""
    redeemed_at: datetime | None = None
    received_at: datetime | None = None
    changed_at: datetime | None = None
    deadline: datetime | None = None
    """Until when the latest call may still be under way, by Redis's clock; recorded before the call."""
    due: datetime | None = None
    """Not before this time is the next step taken (back-off, quiet time)."""
    cancelling: str | None = None
    """The flag beside the state: why the reward is to be cancelled."""
    cancel_sent: bool = False
    """The provider has confirmed the cancelling; after the quiet time it is looked at once more."""
    hold: Hold | None = None
    """The flag beside the state: why nothing is dispatched."""
    released: bool = False
    """A person let it go: `SHIP_SINCE` and an earlier hold of this reward do not stop it again."""
    uncertain: bool = False
    """A call was made of which nobody knows the outcome."""
    why: str = ""
    """The reason of the latest change of state."""
    version: int = 1
    refusal: str | None = None
    """The provider refused it for this reason, which is believed once a look-up finds nothing."""
    audited: bool = False
    """An audit found it; its webhook had never arrived here."""
    looked: bool = False
    """The provider was asked for what an earlier ledger may have sent, and had nothing."""

    @property
    def provider_reference(self) -> str:
        """The name under which the provider knows this generation."""
        return references.at_provider(self.reference, self.generation)

    @property
    def flags(self) -> dict[str, str]:
        """The flags that are set, each with its reason."""
        flags = {}
        if self.cancelling is not None:
            flags[Flag.CANCELLING.value] = self.cancelling
        if self.hold is not None:
            flags[Flag.HOLD.value] = self.hold.why
        return flags


class Entry(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """One line of a journal."""

    at: datetime
    """By Redis's clock."""
    before: State | None
    after: State
    """Equal to `before` where only a flag changed."""
    why: str
    by: str
    """`worker`, `voucherify`, or the operator's name."""
    attempt: int = 0
    request: str = ""
    """The provider's own id of the request, for its support."""


class Personal(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """All that is personal about one reward, in one key of its own with its own time to live."""

    name: str | None = None
    email: str | None = None
    source_id: str | None = None
    """The customer's id in the shop: often an e-mail address, so it counts as personal."""
    address: PostalAddress | None = None
    """The snapshot for the parcel, used again for every retry of the reference."""
    version: int = 1

    def __repr__(self) -> str:
        """Show nothing personal."""
        return "Personal(…)"


class Opening(msgspec.Struct, frozen=True, kw_only=True):
    """What a webhook says of a reward, as far as the ledger needs it."""

    reference: str
    redemption: str | None
    customer: str | None
    kind: str
    article: str | None
    article_name: str
    redeemed_at: datetime | None
    received_at: datetime
    personal: Personal
    state: State
    """Where it starts: RECEIVED, or where it ends at once: NOT_APPLICABLE, NEEDS_ATTENTION."""
    why: str
    audited: bool = False
    """An audit found it; no webhook named it."""
