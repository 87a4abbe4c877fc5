"""Which providers there are; a new one is a module and a line here."""

from collections.abc import Callable, Mapping

import aiohttp

from rewardpost.settings import Settings
from worker.providers import manual, webhook
from worker.providers.protocol import Provider

Factory = Callable[[Settings, aiohttp.ClientSession], Provider]
"""Makes a provider of the settings."""

FACTORIES: Mapping[str, Factory] = {"manual": manual.build, "webhook": webhook.build}
"""By the names that `PROVIDER` uses."""


def build(settings: Settings, session: aiohttp.ClientSession) -> Provider:
    """Return the provider that the settings name; the session stays the caller's."""
    return FACTORIES[settings.provider](settings, session)
