"""What a provider offers, and the outcomes it may report; a provider knows neither arq nor Redis.

The core decides what follows from an outcome. A provider only classifies: applied, certainly not applied,
refused, or unknown.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Protocol

import msgspec

from rewardpost.addresses import PostalAddress


class Guarantee(StrEnum):
    """How a provider keeps a reference unique, which decides what may follow an unknown outcome."""

    LEDGER = "ledger"
    """Submitting is a change in our own ledger; there is nothing outside that could differ."""
    UNIQUE_KEY = "unique_key"
    """The provider refuses a second order with the same reference, and can be asked for it."""
    LOOK_UP = "look_up"
    """The provider can be asked for a reference, but may take it twice."""
    IDEMPOTENT = "idempotent"
    """The provider undertakes to take the same reference once, however often it is sent, and cannot be asked."""
    NONE = "none"
    """The provider may take the same reference twice; after an unknown outcome a person decides."""

    @property
    def can_be_asked(self) -> bool:
        """Whether `find` answers, so that an unknown outcome can be settled by looking."""
        return self in {Guarantee.UNIQUE_KEY, Guarantee.LOOK_UP}


class Parcel(msgspec.Struct, frozen=True, kw_only=True):
    """What a provider is asked to send: one unit of one article to one address."""

    reference: str
    """The provider's reference, generation included; at most 40 characters of `[A-Za-z0-9_-]`."""
    redemption: str | None
    customer: str | None
    article: str
    article_name: str
    quantity: int = 1
    address: PostalAddress


class Progress(StrEnum):
    """How far a provider says that an order has come."""

    OPEN = "open"
    """Taken, not sent yet."""
    SHIPPED = "shipped"
    DELIVERED = "delivered"
    RETURNED = "returned"
    LOST = "lost"
    CANCELLED = "cancelled"
    EXCEPTION = "exception"
    """It cannot go on without a person: out of stock, address refused, on hold."""


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """One order as a provider reports it."""

    id: str
    reference: str
    progress: Progress = Progress.OPEN
    tracking: tuple[str, ...] = ()
    """Tracking numbers known so far."""
    article: str | None = None
    """What it sends; None where the provider does not say or sends several things."""
    quantity: int | None = None
    why: str = ""
    """For an exception: what the provider says, in words of ours or its own codes; nothing personal."""

    @property
    def live(self) -> bool:
        """Whether it is to be sent, or was; False once it is cancelled."""
        return self.progress is not Progress.CANCELLED


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """Some of the orders of a provider."""

    orders: tuple[Order, ...]
    next: str | None
    """What to ask for the following page with; None after the last one."""


class Applied(msgspec.Struct, frozen=True, tag=True):
    """The provider has the order."""

    order: str
    request: str = ""
    """The provider's own id of the request, for its support."""


class NotApplied(msgspec.Struct, frozen=True, tag=True):
    """It is certain that the provider did not act; the same reference may be sent again."""

    why: str
    retry_after: timedelta | None = None
    spends_attempt: bool = True
    """False for what is no fault of the order: wrong credentials, a rate limit."""
    request: str = ""


class Refused(msgspec.Struct, frozen=True, tag=True):
    """The provider will never take this order as it is."""

    why: str
    request: str = ""


class Unknown(msgspec.Struct, frozen=True, tag=True):
    """Nobody knows whether the provider acted; never treated as "not applied"."""

    why: str
    request: str = ""


Outcome = Applied | NotApplied | Refused | Unknown


class CannotTell(Exception):  # noqa: N818 - named after what it says, not that it is an error
    """A look-up in doubt; the message says why, never what was looked for."""

    def __init__(self, why: str, *, retry_after: timedelta | None = None) -> None:
        super().__init__(why)
        self.retry_after = retry_after
        """How long the provider asks to wait, where it does (429, 503)."""


class Cancellation(StrEnum):
    """How an attempt to cancel an order ended."""

    CANCELLED = "cancelled"
    TOO_LATE = "too_late"
    UNSUPPORTED = "unsupported"
    """The provider cannot be told; a person has to."""
    UNKNOWN = "unknown"


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a provider's self-check, for `rewardpost doctor`."""

    ok: bool
    what: str
    todo: str = ""


class Provider(Protocol):
    """A way to get a parcel to a customer."""

    name: str
    guarantee: Guarantee
    call_timeout: timedelta
    """How long one call may take, from its recorded start to its deadline."""
    look_up_lag: timedelta
    """How long an order may stay invisible to `find` after the provider took it."""
    reports_status: bool
    """Whether `status` tells what becomes of an order, so that it is worth asking again and again."""
    lists_orders: bool
    """Whether `page` lists orders, so that an audit can find those that the ledger does not know."""

    async def submit(self, parcel: Parcel, deadline: datetime) -> Outcome:
        """Write the order once, without any retry inside.

        `deadline` is absolute, UTC, and is checked once more just before sending; what is sent after it could land
        after a look-up that found nothing.
        """

    async def find(self, reference: str) -> Sequence[Order]:
        """Return every order with exactly this reference, cancelled ones too; empty means proven absent.

        Raises:
            CannotTell: the provider could not be asked, or did not say; never treated as absent.
        """

    async def status(self, order: str, reference: str) -> Order:
        """Return an order as it stands now; `order` is the provider's own id, `reference` ours.

        Raises:
            CannotTell: the provider could not be asked, or did not say.
        """

    async def page(self, since: datetime, after: str | None) -> Page:
        """Return orders made since a time whose reference is one of ours, cancelled ones too; one call a page.

        `after` is the `next` of the page before, None for the first one.

        Raises:
            CannotTell: the provider could not be asked, or did not say.
        """

    async def cancel(self, order: str, reference: str) -> Cancellation:
        """Ask the provider to cancel this order, once; both names are those of `status`.

        An order that is cancelled already is `CANCELLED`, never `TOO_LATE`: a worker may have died before it heard so.
        """

    async def check(self) -> Sequence[Finding]:
        """Say whether the provider could be used now: credentials, reachability; never writes."""

    async def close(self) -> None:
        """Give back connections."""
