"""Which providers there are: each module of this package that has a `build`; a new one is one more module."""

import importlib
import pkgutil
from collections.abc import Callable

import aiohttp

from rewardpost.settings import Settings, SettingsError
from worker import providers
from worker.providers.protocol import Provider

Factory = Callable[[Settings, aiohttp.ClientSession], Provider]
"""Makes a provider of the settings; the session stays the caller's."""


def names() -> list[str]:
    """Return the names that `PROVIDER` may have."""
    found = (module.name for module in pkgutil.iter_modules(providers.__path__))
    return sorted(name for name in found if _factory(name) is not None)


def factory(name: str) -> Factory:
    """Return what makes the provider of this name.

    Raises:
        SettingsError: there is none of this name.
    """
    found = _factory(name)
    if found is None:
        raise SettingsError(f"PROVIDER: expected one of {', '.join(names())}")
    return found


def build(settings: Settings, session: aiohttp.ClientSession) -> Provider:
    """Return the provider that the settings name; the session stays the caller's.

    Raises:
        SettingsError: there is none of this name.
    """
    return factory(settings.provider)(settings, session)


def _factory(name: str) -> Factory | None:
    try:
        module = importlib.import_module(f"{providers.__name__}.{name}")
    except ModuleNotFoundError as exc:
        if exc.name != f"{providers.__name__}.{name}":
            raise
        return None
    made: Factory | None = getattr(module, "build", None) if name != "registry" else None
    return made
