"""What the conformance scenarios need of a provider's other side, which really runs."""

from typing import Protocol, runtime_checkable

from rewardpost.addresses import PostalAddress
from tests.fault_proxy import FaultProxy
from worker.providers.protocol import Provider


class Bed(Protocol):
    """A provider, the proxy that its calls pass, and the other side as it really is."""

    @property
    def provider(self) -> Provider:
        """The provider; its calls go through `faults`, its `call_timeout` is about a second: scenarios end soon."""

    @property
    def faults(self) -> FaultProxy | None:
        """The proxy; None where nothing outside is called."""

    @property
    def unknown_article(self) -> str | None:
        """An article that the other side refuses for good; None where it takes any."""

    async def live(self, reference: str) -> int:
        """Count the live orders with this reference at the other side itself, not through the provider."""

    async def sent(self, reference: str, tracking: str) -> bool:
        """Let the other side send the order; False where it cannot be made to."""

    async def delivered(self, reference: str) -> bool:
        """Let the parcel arrive; False where the other side cannot be made to say so."""


@runtime_checkable
class ShowsAddresses(Protocol):
    """What a bed may offer besides: the address as it arrived, for the scenario of names in every script."""

    async def address(self, reference: str) -> PostalAddress:
        """Return where the one order with this reference goes, at the other side itself; parts it lacks are empty."""
