"""What Voucherify's list of redemptions says, and what follows from it: pure.

A redemption with a reward that the ledger does not know is put into the shape of the webhook that never came, so that
the same rules decide what it leads to. Rewards that were not bought with points have no redemption: no list has them,
and no audit finds them.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Literal

import msgspec
from msgspec import Raw

from rewardpost import reference as references
from rewardpost.findings import Finding, Known
from rewardpost.states import ENDS
from worker import event_types, events
from worker.events import NULL, Named, Part, given

OVERLAP = timedelta(minutes=5)
"""How much of what was read is read again: an entry may appear in the list later than its time says."""
MINIMUM_AGE = timedelta(minutes=2)
"""The webhook of what is younger may still be on its way."""

_MILLISECOND = timedelta(milliseconds=1)
_ROLLBACK = "redemption_rollback"
_ROLLED_BACK = frozenset({"ROLLED_BACK", "ROLLEDBACK"})
_PARENT = "redemption"

Missed = Literal["reward", "rollback"]


class Listed(Part, frozen=True, kw_only=True):
    """One entry of the list, as far as anything is decided by it."""

    redemption: str
    """The id of the redemption; of a rollback, of the one that it undid."""
    at: datetime | None
    is_rollback: bool
    has_reward: bool
    is_undone: bool
    """A redemption that was rolled back later."""
    is_failed: bool
    entry: Raw

    @property
    def reference(self) -> str:
        """The reference of the reward that the redemption paid for."""
        return references.for_redemption(self.redemption)


class _Entry(Part, frozen=True, kw_only=True):
    id: Raw = NULL
    object: Raw = NULL
    date: Raw = NULL
    created_at: Raw = NULL
    result: Raw = NULL
    status: Raw = NULL
    customer: Raw = NULL
    customer_id: Raw = NULL
    reward: Raw = NULL
    redemption: Raw = NULL
    related_object_type: Raw = NULL
    related_redemptions: Raw = NULL


def read(entry: Raw) -> Listed | None:
    """Read an entry of the list; None where it names no redemption."""
    found = events.lenient(entry, _ENTRY)
    if found is None:
        return None
    is_rollback = (events.text(found.object) or "").lower() == _ROLLBACK
    redemption = _undone(found.redemption) if is_rollback else events.text(found.id)
    if redemption is None:
        return None
    words = {events.word(events.text(found.result)), events.word(events.text(found.status))}
    # A redemption of several things at once has one entry for each of them, and one for all, which pays for nothing.
    is_parent = (events.text(found.related_object_type) or "").lower() == _PARENT
    return Listed(
        redemption=redemption,
        at=events.instant(found.date) or events.instant(found.created_at),
        is_rollback=is_rollback,
        has_reward=events.is_object(found.reward) and not is_parent,
        is_undone=bool(words & _ROLLED_BACK),
        is_failed=bool(words & event_types.FAILURES),
        entry=entry,
    )


def old_enough(read: Sequence[Listed | None], now: datetime) -> tuple[Sequence[Listed | None], bool]:
    """Return the entries before the first that is too young, and whether there is such a one."""
    for position, each in enumerate(read):
        if each is not None and each.at is not None and each.at > now - MINIMUM_AGE:
            return read[:position], True
    return read, False


def disorder(times: Sequence[datetime | None], start: datetime, latest: datetime | None) -> str:
    """Return what is wrong with the order of a page's entries; empty where it is as asked for.

    Otherwise what is read last is not the latest there is, and the next run would pass over the rest.
    """
    latest = start if latest is None else latest
    for at in times:
        if at is None:
            continue
        if at < start - OVERLAP:
            return "expected Voucherify to list the redemptions after a time, got earlier ones"
        if at < latest - OVERLAP:
            return "expected Voucherify to list the oldest redemptions first"
        latest = max(latest, at)
    return ""


def missing(listed: Sequence[Listed], known: Mapping[str, Known]) -> Iterator[tuple[Listed, Missed]]:
    """Yield the entries of a page whose webhook has not come, with which one that is."""
    undone = {each.redemption for each in listed if each.is_rollback and not each.is_failed}
    for each in listed:
        which = missed(each, known[each.reference])
        if which is not None and not (which == "reward" and each.redemption in undone):
            yield each, which


def missed(listed: Listed, known: Known) -> Missed | None:
    """Return which webhook has not come, by what the ledger knows of the reward; None where none is missing."""
    if listed.is_failed:
        return None
    if known.state is None:
        # The undoing of what is not known leaves its mark too, lest the reward come after all.
        return "rollback" if listed.is_rollback else "reward" if listed.has_reward else None
    is_undone = listed.is_rollback or listed.is_undone
    record = known.record
    is_under_way = record is not None and record.state not in ENDS and record.cancelling is None
    return "rollback" if is_undone and is_under_way else None


def finding(listed: Listed, which: Missed, known: Known) -> Finding | None:
    """Return what a person should know; None where nothing was to become of it anyway."""
    when = f"{listed.at:%Y-%m-%d %H:%M} UTC" if listed.at is not None else "at a time that cannot be read"
    if which == "reward":
        return Finding(
            kind="missed_reward", reference=listed.reference, what=f"redeemed {when}, and no webhook had come"
        )
    if known.state is None:
        return None
    return Finding(
        kind="missed_rollback", reference=listed.reference, what="rolled back at Voucherify, and no webhook had come"
    )


def body(listed: Listed, which: Missed) -> bytes:
    """Return the body of the webhook that has not come; the same one for the same entry."""
    if which == "rollback":
        undone = {"object": _ROLLBACK, "redemption": listed.redemption, "result": "SUCCESS", "status": "SUCCEEDED"}
        return _envelope("redemption.rollback.succeeded", {"redemption_rollback": undone})
    entry = events.lenient(listed.entry, _ENTRY) or _Entry()
    # No order and no voucher: nothing is decided by them, and they hold more about a person than is needed.
    redemption = {
        name: getattr(entry, name)
        for name in ("id", "object", "date", "created_at", "result", "status", "customer_id", "customer", "reward")
    }
    redemption["related_redemptions"] = entry.related_redemptions
    return _envelope(event_types.REWARDED, {"customer": entry.customer, "redemption": redemption})


def next_start(start: datetime, latest: datetime | None, *, finished: bool) -> datetime:
    """Return from when on the next run has to read.

    Args:
        start: from when on this run has read.
        latest: the time of the latest entry that was dealt with.
        finished: all there was has been dealt with. Otherwise the next run has to come further than this one, even
            where all that was read is younger than the overlap.
    """
    if latest is None:
        return start
    return latest - OVERLAP if finished else latest - _MILLISECOND


def _envelope(event_type: str, data: dict[str, object]) -> bytes:
    source = {"object": "audit"}
    return msgspec.json.encode({"type": event_type, "event": {"type": event_type}, "data": data, "source": source})


def _undone(redemption: Raw) -> str | None:
    if events.is_object(redemption):
        return given((events.lenient(redemption, _NAMED) or Named()).id)
    return events.text(redemption)


_ENTRY = msgspec.json.Decoder(_Entry | None)
_NAMED = msgspec.json.Decoder(Named | None)
