"""What an address source offers, and the answers it may give; a source knows neither arq nor Redis.

A source only reports. Whether a parcel can be sent to what it found is for `rewardpost.address_check`, and what
follows from several answers for `worker.address_sources.look_up`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Protocol

from rewardpost.addresses import AddressDraft
from rewardpost.turns import Ended, Go, Wait
from worker.providers.protocol import Finding


@dataclass(frozen=True, kw_only=True)
class Customer:
    """Whose address is wanted; what is personal does not show in its repr."""

    id: str | None = None
    """Voucherify's id, `cust_…`."""
    source_id: str | None = field(default=None, repr=False)
    """The id that the customer has in the operator's own systems; often an e-mail address."""
    name: str | None = field(default=None, repr=False)
    """The name that the webhook gave, for sources that know none."""
    reference: str | None = None
    """The reward's reference, under which it keeps its turn at a source from one try to the next."""


@dataclass(frozen=True)
class Found:
    """The source knows the customer; the draft may still lack an address altogether."""

    draft: AddressDraft = field(repr=False)


@dataclass(frozen=True)
class NotFound:
    """The source does not know the customer, for certain."""


@dataclass(frozen=True)
class TryLater:
    """The source could not be asked: no fault of the customer's, and no proof of anything."""

    why: str
    """Names settings, statuses and kinds of error only."""
    retry_after: timedelta | None = None
    """How long the source itself asks to wait, where it does."""
    in_line: bool = False
    """Nothing is wrong with the source: the customer has a place in its line, and keeps it."""


Answer = Found | NotFound | TryLater


class Budget(Protocol):
    """The calls that all workers together may make to a source."""

    async def turn(self, who: str) -> Go | Wait:
        """Let `who` call now, or say when to come again; the same name finds its place in the line again."""

    async def ended(self, call: str, how: Ended, *, retry_after: timedelta | None = None) -> None:
        """Note how a call ended that was let through."""


class Unlimited:
    """A budget that lets every call through."""

    async def turn(self, who: str) -> Go:
        """Let it through."""
        return Go(who)

    async def ended(self, call: str, how: Ended, *, retry_after: timedelta | None = None) -> None:
        """Do nothing."""


class AddressSource(Protocol):
    """A place where a customer's address may be found."""

    name: str

    async def find(self, customer: Customer) -> Answer:
        """Return what the source says of this customer; asks once, without any retry inside."""

    async def check(self) -> Sequence[Finding]:
        """Say whether the source could be used now; never writes, and names no customer."""

    async def close(self) -> None:
        """Give back what the source itself opened; a session that was passed in stays open."""
