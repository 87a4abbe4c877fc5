"""The bed of `webhook` with a status URL and a receiver that takes a reference as often as it comes."""

from contextlib import AbstractAsyncContextManager

from tests.conformance.bed import Bed
from tests.conformance.beds import webhook

AVAILABLE: str | None = None
"""Why the bed cannot be made here; None where it can."""


def open_bed() -> AbstractAsyncContextManager[Bed]:
    """Open the receiver, the proxy before it and the provider, which knows only the proxy."""
    return webhook.opened(status_url=True, removes_duplicates=False)
