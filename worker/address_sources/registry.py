"""Which address sources there are; a new one is a module and a line here."""

from collections.abc import Callable, Mapping, Sequence

import aiohttp

from rewardpost.settings import Settings
from worker.address_sources import file, voucherify
from worker.address_sources.protocol import AddressSource

Factory = Callable[[Settings, aiohttp.ClientSession], AddressSource | None]
"""Makes a source of the settings, or None while it is not configured."""

FACTORIES: Mapping[str, Factory] = {"voucherify": voucherify.build, "file": file.build}
"""By the names that `ADDRESS_SOURCES` uses."""


def build(settings: Settings, session: aiohttp.ClientSession) -> Sequence[AddressSource]:
    """Return the configured sources in the order of `ADDRESS_SOURCES`; the session stays the caller's."""
    made = (FACTORIES[name](settings, session) for name in settings.address_sources if name in FACTORIES)
    return [source for source in made if source is not None]
