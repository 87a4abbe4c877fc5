"""Which address sources there are; a new one is a module and a line here."""

from collections.abc import Callable, Mapping, Sequence

import aiohttp

from rewardpost.settings import Settings
from worker.address_sources import file, voucherify
from worker.address_sources.protocol import AddressSource, Budget, Unlimited

Factory = Callable[[Settings, aiohttp.ClientSession, Budget], AddressSource | None]
"""Makes a source of the settings, or None while it is not configured; the budget is the one of Voucherify's API."""

FACTORIES: Mapping[str, Factory] = {"voucherify": voucherify.build, "file": file.build}
"""By the names that `ADDRESS_SOURCES` uses."""


def build(settings: Settings, session: aiohttp.ClientSession, budget: Budget | None = None) -> Sequence[AddressSource]:
    """Return the configured sources in the order of `ADDRESS_SOURCES`; the session stays the caller's.

    `budget` holds for calls to Voucherify; without one, nothing holds them back.
    """
    names = [name for name in settings.address_sources if name in FACTORIES]
    made = (FACTORIES[name](settings, session, budget or Unlimited()) for name in names)
    return [source for source in made if source is not None]
