"""What a change of a fulfilment consists of, and the scribe that writes one down move by move."""

from datetime import datetime

import msgspec

from rewardpost import states
from rewardpost.fulfilment import Entry, Fulfilment, Personal
from rewardpost.states import State

WORKER = "worker"
VOUCHERIFY = "voucherify"


class End(msgspec.Struct, frozen=True):
    """The reward's job has done what there was to do."""


class Keep(msgspec.Struct, frozen=True):
    """The job goes on running."""


class Due(msgspec.Struct, frozen=True):
    """The job is to run (again) at a time, or now."""

    at: datetime | None = None


JobStep = End | Keep | Due


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One atomic write to the ledger."""

    record: Fulfilment
    """As it is to be; its revision is still the one that the change was decided on."""
    entries: tuple[Entry, ...]
    job: JobStep
    personal: Personal | None = None
    """Replaces what is kept, when given."""
    while_held: str | None = None
    """A scope that must still be held at large when this is written; otherwise it is stale."""
    unless_held: tuple[str, ...] = ()
    """Scopes of which none may be held at large when this is written; otherwise it is stale."""


def followed_by(first: Change, second: Change) -> Change:
    """Join two changes, the second decided on the record of the first, into one write."""
    return msgspec.structs.replace(
        second,
        entries=first.entries + second.entries,
        personal=second.personal if second.personal is not None else first.personal,
    )


class Scribe:
    """Takes a record through one or more moves and writes the journal's lines for them."""

    def __init__(self, record: Fulfilment, *, by: str, now: datetime) -> None:
        self.record = record
        self._by = by
        self._now = now
        self._entries: list[Entry] = []

    def move(self, after: State, why: str, *, request: str = "", **fields: object) -> "Scribe":
        """Go along one edge of the diagram; raises `IllegalTransition` where there is none."""
        states.check(self.record.state, after)
        return self._write(after, why, request, {"due": None, **fields, "why": why})

    def note(self, what: str, **fields: object) -> "Scribe":
        """Change fields but not the state."""
        return self._write(self.record.state, what, "", fields)

    def done(self, job: JobStep, personal: Personal | None = None) -> Change:
        """Return all that was written."""
        return Change(record=self.record, entries=tuple(self._entries), job=job, personal=personal)

    def _write(self, after: State, why: str, request: str, fields: dict[str, object]) -> "Scribe":
        before = self.record
        self.record = msgspec.structs.replace(before, state=after, changed_at=self._now, **fields)
        entry = Entry(
            at=self._now,
            before=before.state,
            after=after,
            why=why,
            by=self._by,
            attempt=self.record.attempts,
            request=request,
        )
        self._entries.append(entry)
        return self
