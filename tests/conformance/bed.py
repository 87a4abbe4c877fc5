"""What the conformance scenarios need of a provider's other side, which really runs."""

from typing import Protocol

from tests.fault_proxy import FaultProxy
from worker.providers.protocol import Provider


class Bed(Protocol):
    """A provider, the proxy that its calls pass, and the other side as it really is."""

    provider: Provider
    """Its calls go through `faults`; its `call_timeout` is about a second, so that scenarios end soon."""
    faults: FaultProxy | None
    """None where nothing outside is called."""
    unknown_article: str | None
    """An article that the other side refuses for good; None where it takes any."""

    async def live(self, reference: str) -> int:
        """Count the live orders with this reference at the other side itself, not through the provider."""

    async def sent(self, reference: str, tracking: str) -> bool:
        """Let the other side send the order; False where it cannot be made to."""

    async def delivered(self, reference: str) -> bool:
        """Let the parcel arrive; False where the other side cannot be made to say so."""
