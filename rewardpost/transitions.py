"""Every change that webhooks, workers and providers bring to a fulfilment, as pure functions: record in, change out.

Nothing here reads a clock, a setting or Redis. A change says what the record becomes, what the journal gets
and what becomes of the reward's job; the ledger writes all of it at once or not at all.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec

from rewardpost import states
from rewardpost.changes import VOUCHERIFY, WORKER, Change, Due, End, JobStep, Keep, Scribe
from rewardpost.fulfilment import Entry, Fulfilment, Hold, Opening, Personal
from rewardpost.states import BEFORE_DISPATCH, ENDS, State

# What a call that has come to its end leaves behind.
_SETTLED: Mapping[str, Any] = {"deadline": None, "uncertain": False, "refusal": None}


def receive(opening: Opening, *, now: datetime) -> Change:
    """Open the fulfilment of a reward that the ledger does not know."""
    states.check(None, State.RECEIVED)
    record = Fulfilment(
        reference=opening.reference,
        state=State.RECEIVED,
        redemption=opening.redemption,
        customer=opening.customer,
        kind=opening.kind,
        article=opening.article,
        article_name=opening.article_name,
        redeemed_at=opening.redeemed_at,
        received_at=opening.received_at,
        changed_at=now,
        why=opening.why,
        audited=opening.audited,
    )
    scribe = Scribe(record, by=VOUCHERIFY, now=now)
    first = Entry(
        at=now,
        before=None,
        after=State.RECEIVED,
        why="found by an audit" if opening.audited else "rewarded",
        by=VOUCHERIFY,
    )
    if opening.state is State.RECEIVED:
        change = scribe.done(Due(), opening.personal)
    else:
        change = scribe.move(opening.state, opening.why).done(End(), opening.personal)
    return msgspec.structs.replace(change, entries=(first, *change.entries))


def roll_back_unknown(reference: str, redemption: str | None, *, now: datetime) -> Change:
    """Leave a tombstone for a reward whose rollback came first."""
    states.check(None, State.TOMBSTONE)
    why = "rolled back before the reward came"
    record = Fulfilment(
        reference=reference,
        state=State.TOMBSTONE,
        redemption=redemption,
        received_at=now,
        changed_at=now,
        why=why,
    )
    entry = Entry(at=now, before=None, after=State.TOMBSTONE, why=why, by=VOUCHERIFY)
    return Change(record=record, entries=(entry,), job=End())


def roll_back(record: Fulfilment, *, now: datetime) -> Change | None:
    """Cancel on Voucherify's word; None where nothing is left to cancel or it is being cancelled already."""
    if record.state in ENDS or record.cancelling is not None:
        return None
    return cancel(record, "rolled back at Voucherify", by=VOUCHERIFY, now=now)


def cancel(record: Fulfilment, why: str, *, by: str, now: datetime) -> Change:
    """Cancel at once where no call was made; otherwise set the flag that the reward's job carries out."""
    scribe = Scribe(record, by=by, now=now)
    if record.state in BEFORE_DISPATCH and not record.uncertain:
        return scribe.move(State.CANCELLED, why, cancelling=why, hold=None).done(End())
    if record.state is State.SHIPPED:
        return scribe.note(f"{why}, too late: already shipped", cancelling=why).done(Keep())
    if record.state is State.NEEDS_ATTENTION:
        if record.provider_order is not None:
            return scribe.move(State.SUBMITTED, why, cancelling=why, cancel_sent=False, spent=0).done(Due())
        if record.uncertain:
            return scribe.note(f"{why}; the provider may hold an order", cancelling=why).done(End())
        return scribe.move(State.CANCELLED, why, cancelling=why).done(End())
    # The order's id must not be lost, so a call under way settles first; the job carries the flag out.
    return scribe.note(why, cancelling=why).done(Due())


def address_found(record: Fulfilment, personal: Personal, *, by: str, now: datetime) -> Change:
    """Take the address as this reward's snapshot and make it ready."""
    job = Keep() if by == WORKER else Due()
    scribe = Scribe(record, by=by, now=now)
    return scribe.move(State.READY, "the address is complete", spent=0).done(job, personal)


def address_wanted(record: Fulfilment, why: str, *, now: datetime) -> Change:
    """Wait for an address: a person or a later look brings it."""
    scribe = Scribe(record, by=WORKER, now=now)
    if record.state is State.NEEDS_ADDRESS:
        return scribe.note(why, why=why).done(End())
    return scribe.move(State.NEEDS_ADDRESS, why).done(End())


def scopes(record: Fulfilment, provider: str) -> tuple[str, ...]:
    """Return what a hold at large may be about so that it stops this reward, the widest first."""
    return "everything", f"provider:{provider}", f"article:{record.article}"


def put_on_hold(record: Fulfilment, hold: Hold, *, by: str, now: datetime, at_large: bool = False) -> Change:
    """Set the flag that stops the dispatch; the state stays. A hold at large that is lifted meanwhile sets none."""
    job = End() if by == WORKER else Keep()
    change = Scribe(record, by=by, now=now).note(f"held: {hold.why}", hold=hold).done(job)
    return msgspec.structs.replace(change, while_held=hold.source if at_large else None)


def cancelled_before_dispatch(record: Fulfilment, *, now: datetime) -> Change:
    """Cancel where no provider can hold an order; asked for while the state was another one."""
    why = record.cancelling or "cancelled"
    return Scribe(record, by=WORKER, now=now).move(State.CANCELLED, why, hold=None).done(End())


def begin_dispatch(record: Fulfilment, provider: str, *, deadline: datetime, now: datetime) -> Change:
    """Record "about to call", with a new token, before the call is made, unless a hold comes first.

    Out of UNKNOWN, for a provider that takes a reference once, the earlier outcome stays uncertain.
    """
    scribe = Scribe(record, by=WORKER, now=now)
    if record.state is State.UNKNOWN:
        scribe.move(State.READY, "unknown for good; it does no harm to send it again", spent=record.spent + 1)
    scribe.move(
        State.DISPATCHING,
        f"about to call {provider}",
        provider=provider,
        deadline=deadline,
        token=record.token + 1,
        attempts=record.attempts + 1,
    )
    return msgspec.structs.replace(scribe.done(Keep()), unless_held=scopes(record, provider))


def submitted(
    record: Fulfilment,
    order: str,
    *,
    now: datetime,
    why: str = "the provider has the order",
    request: str = "",
    look_again: datetime | None = None,
) -> Change:
    """Note the order that the provider holds; `look_again` is when to ask what became of it."""
    scribe = Scribe(record, by=WORKER, now=now)
    job = Due() if record.cancelling is not None else _until(look_again)
    return scribe.move(State.SUBMITTED, why, request=request, provider_order=order, **_SETTLED, spent=0).done(job)


def adopted(record: Fulfilment, provider: str, order: str, *, now: datetime) -> Change:
    """Take over an order that was found before this ledger ever made a call for the reward."""
    scribe = Scribe(record, by=WORKER, now=now)
    scribe.move(State.DISPATCHING, f"looked for at {provider} first", provider=provider, token=record.token + 1)
    scribe.move(State.SUBMITTED, "found at the provider", provider_order=order, **_SETTLED, spent=0)
    return scribe.done(Due())


def submit_at_once(record: Fulfilment, provider: str, order: str, *, now: datetime) -> Change:
    """Go through DISPATCHING in one write: for a provider whose order is nothing but this very record."""
    begun = begin_dispatch(record, provider, deadline=now, now=now)
    ended = submitted(begun.record, order, now=now, why="on the packing list")
    return msgspec.structs.replace(ended, entries=begun.entries + ended.entries, unless_held=begun.unless_held)


def not_applied(
    record: Fulfilment, why: str, *, due: datetime, spends: bool, limit: int, now: datetime, request: str = ""
) -> Change:
    """Make ready again after proof that the provider did not act; a person is asked once `limit` attempts are spent."""
    scribe = Scribe(record, by=WORKER, now=now)
    spent = record.spent + (1 if spends else 0)
    if record.cancelling is not None:
        scribe.move(State.READY, why, request=request, spent=spent, **_SETTLED)
        return scribe.move(State.CANCELLED, record.cancelling, hold=None).done(End())
    if spent >= limit:
        why = f"{limit} attempts are spent; the last one: {why}"
        scribe.move(State.NEEDS_ATTENTION, why, request=request, spent=spent, **_SETTLED)
        return scribe.done(End())
    scribe.move(State.READY, why, request=request, spent=spent, **_SETTLED, due=due)
    return scribe.done(Due(due))


def refused(record: Fulfilment, why: str, *, now: datetime, request: str = "") -> Change:
    """Ask a person: the provider will not take this order as it is."""
    scribe = Scribe(record, by=WORKER, now=now)
    scribe.move(State.NEEDS_ATTENTION, f"refused: {why}", request=request, **_SETTLED)
    if record.cancelling is not None:
        scribe.move(State.CANCELLED, record.cancelling)
    return scribe.done(End())


def outcome_unknown(
    record: Fulfilment,
    why: str,
    *,
    now: datetime,
    request: str = "",
    refusal: str | None = None,
    due: datetime | None = None,
) -> Change:
    """Admit that nobody knows whether the provider acted; a newer token shuts out the call's own late word.

    With a `refusal` the answer is known, but not yet whether it is about this call: an order may be there already.
    """
    scribe = Scribe(record, by=WORKER, now=now)
    token = record.token + 1
    return scribe.move(State.UNKNOWN, why, request=request, uncertain=True, token=token, refusal=refusal, due=due).done(
        Keep()
    )


def wants_attention(record: Fulfilment, why: str, *, now: datetime) -> Change:
    """Ask a person; a call that was under way counts as one whose outcome nobody knows."""
    uncertain = record.uncertain or record.state is State.DISPATCHING
    return Scribe(record, by=WORKER, now=now).move(State.NEEDS_ATTENTION, why, uncertain=uncertain).done(End())


def never_sent(record: Fulfilment, hold: Hold | None, *, now: datetime) -> Change:
    """Note that no earlier ledger has sent it; it is held, or goes on."""
    scribe = Scribe(record, by=WORKER, now=now).note("an earlier ledger has left nothing at the provider", looked=True)
    if hold is None:
        return scribe.done(Keep())
    return scribe.note(f"held: {hold.why}", hold=hold).done(End())


def absent(record: Fulfilment, why: str, *, now: datetime) -> Change:
    """Note that nothing has come of the calls before, so that a ready reward may be sent."""
    return Scribe(record, by=WORKER, now=now).note(why, uncertain=False).done(Keep())


def wait(record: Fulfilment, due: datetime, why: str, *, now: datetime) -> Change:
    """Leave the state and come back at a time."""
    return Scribe(record, by=WORKER, now=now).note(why, due=due).done(Due(due))


def cancel_sent(record: Fulfilment, due: datetime, *, confirmed: bool, now: datetime) -> Change:
    """Note that the provider was told to cancel; a late submit may still land, so look again after the quiet time."""
    why = "the provider confirmed the cancelling" if confirmed else "the cancelling's outcome is unknown"
    scribe = Scribe(record, by=WORKER, now=now)
    return scribe.note(why, cancel_sent=True, due=due, spent=record.spent + 1).done(Due(due))


def live_again(record: Fulfilment, order: str, *, now: datetime) -> Change:
    """Note a live order under a cancelled reference, so that it is cancelled as well."""
    scribe = Scribe(record, by=WORKER, now=now)
    return scribe.note("a live order was found after the cancelling", cancel_sent=False, provider_order=order).done(
        Due()
    )


def cancelled_already(record: Fulfilment, order: str, *, now: datetime) -> Change:
    """End as cancelled: what came of an unknown outcome is an order that has been cancelled."""
    scribe = Scribe(record, by=WORKER, now=now)
    scribe.move(State.SUBMITTED, "found cancelled at the provider", provider_order=order, **_SETTLED)
    return scribe.move(State.CANCELLED, record.cancelling or "cancelled at the provider").done(End())


def went_on(
    record: Fulfilment,
    ways: Sequence[tuple[State, str]],
    *,
    tracking: tuple[str, ...],
    now: datetime,
    look_again: datetime | None = None,
) -> Change:
    """Follow the parcel through one or more states, as the provider reports them; no way means new tracking numbers."""
    scribe = Scribe(record, by=WORKER, now=now)
    for state, why in ways:
        scribe.move(state, why, tracking=tracking)
    if not ways:
        scribe.note("another tracking number", tracking=tracking)
    return scribe.done(End() if scribe.record.state in ENDS else _until(look_again))


def order_cancelled(record: Fulfilment, *, now: datetime) -> Change:
    """End as cancelled: the provider holds no live order."""
    why = record.cancelling or "cancelled at the provider"
    return Scribe(record, by=WORKER, now=now).move(State.CANCELLED, why).done(End())


def _until(look_again: datetime | None) -> JobStep:
    return End() if look_again is None else Due(look_again)
