"""Following one webhook through the house, from the door's answer to the parcel."""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from cli.desk import Desk
from rewardpost.dead_letters import DeadLetter
from rewardpost.fulfilment import Entry, Fulfilment
from rewardpost.states import State

PATIENCE = timedelta(seconds=10)
"""How long it is followed before it is left to itself."""

_POLL_SECONDS = 0.02
_UNDER_WAY = frozenset({State.RECEIVED, State.READY, State.DISPATCHING, State.UNKNOWN})


@dataclass(frozen=True)
class Step:
    """One thing that happened on the way."""

    at: datetime
    what: str
    detail: str


@dataclass
class Followed:
    """One webhook's reward, followed as it moves."""

    reference: str
    delivery: str
    record: Fulfilment | None = None
    letter: DeadLetter | None = None

    async def steps(self, desk: Desk) -> AsyncIterator[Step]:
        """Yield what happens until the reward rests, or for as long as patience lasts."""
        seen = 0
        deadline = time.monotonic() + PATIENCE.total_seconds()
        while time.monotonic() < deadline:
            ledger = desk.operations.ledger
            self.record = (await ledger.load(self.reference)).record
            journal = await ledger.journal(self.reference) if self.record is not None else []
            for entry in journal[seen:]:
                step = _step(entry, self.record)
                if step is not None:
                    yield step
            seen = len(journal)
            if self.record is not None and at_rest(self.record):
                return
            self.letter = await desk.letters.get(self.delivery)
            if self.letter is not None:
                return
            await asyncio.sleep(_POLL_SECONDS)


def at_rest(record: Fulfilment) -> bool:
    """Say whether nothing happens to a reward by itself for now."""
    return record.state not in _UNDER_WAY or record.hold is not None


def _step(entry: Entry, record: Fulfilment | None) -> Step | None:
    if entry.after is State.DISPATCHING or record is None:
        return None  # it is of the same moment as what follows
    match entry.before, entry.after:
        case None, State.RECEIVED:
            return Step(entry.at, "opened", f"{record.reference}: one reward of kind {record.kind}")
        case _, State.SUBMITTED:
            return Step(entry.at, "submitted", f"article {record.article}, {entry.why} (provider {record.provider})")
        case _:
            return Step(entry.at, entry.after.value, entry.why)
