"""What audits compare with, and what they find: plain data."""

import hashlib

import msgspec

from rewardpost.fulfilment import Fulfilment
from rewardpost.states import State

_ID_HEX_DIGITS = 32


class Known(msgspec.Struct, frozen=True, kw_only=True):
    """Whether the ledger knows a reward."""

    record: Fulfilment | None = None
    done: State | None = None
    """How it ended, where only the marker may be left."""

    @property
    def state(self) -> State | None:
        """How far it has come; None for one that is not known."""
        return self.record.state if self.record is not None else self.done


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """Something that an audit found; nothing in it is personal."""

    kind: str
    """A short stable word, the label of its metric."""
    reference: str
    """The reward's; empty where it is about none."""
    what: str
    """The same in each run that finds the same, so that it is known again."""
    done: str = ""
    """What was done about it by itself; empty where a person has to look."""

    @property
    def id(self) -> str:
        """The name under which it is known again."""
        text = f"{self.kind}\n{self.reference}\n{self.what}"
        return hashlib.sha256(text.encode()).hexdigest()[:_ID_HEX_DIGITS]
