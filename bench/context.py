"""What every part of the bench is given."""

from collections.abc import Callable
from dataclasses import dataclass

from bench.environment import Environments


@dataclass(frozen=True, kw_only=True)
class Context:
    """How much to measure, and with whom."""

    rounds: int
    full: bool
    peers: Environments
    say: Callable[[str], None]
    """Tells a person how far it has come."""
