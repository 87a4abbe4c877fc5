"""Every change that a person can make to a fulfilment, as pure functions: record in, change out, or a refusal."""

from datetime import datetime

import msgspec

from rewardpost import transitions
from rewardpost.addresses import PostalAddress
from rewardpost.changes import Change, Due, End, Keep, Scribe
from rewardpost.fulfilment import Fulfilment, Hold, Personal
from rewardpost.states import BEFORE_DISPATCH, ENDS, State


class Refused(Exception):  # noqa: N818 - an answer to a person, not a fault of the program
    """What a person asked for is not possible in this state; the message says why and what is."""


def shipped(record: Fulfilment, tracking: str, *, by: str, now: datetime) -> Change:
    """Note that the parcel left, with its tracking number.

    Raises:
        Refused: the reward is not in a state from which it can leave.
    """
    if record.state is State.SHIPPED and tracking and tracking not in record.tracking:
        scribe = Scribe(record, by=by, now=now)
        return scribe.note("another tracking number", tracking=(*record.tracking, tracking)).done(Keep())
    _expect(record, "shipped", State.SUBMITTED, State.NEEDS_ATTENTION)
    if record.cancelling is not None and record.state is State.SUBMITTED:
        raise Refused("it is being cancelled; expected a reward that is to be shipped")
    scribe = Scribe(record, by=by, now=now)
    tracking_numbers = (*record.tracking, *([tracking] if tracking else []))
    # Where the provider reports what becomes of the parcel, its job goes on asking.
    job = Keep() if record.state is State.SUBMITTED else Due()
    return scribe.move(State.SHIPPED, "handed to the carrier", tracking=tracking_numbers, uncertain=False).done(job)


def set_address(record: Fulfilment, personal: Personal, address: PostalAddress, *, by: str, now: datetime) -> Change:
    """Take the address that a person gives and send the reward on its way.

    Raises:
        Refused: nothing is waiting for an address, or a call's outcome is open.
    """
    _expect(record, "given an address", State.NEEDS_ADDRESS, State.NEEDS_ATTENTION)
    _expect_certain(record)
    _expect_no_order(record)
    _expect_article(record)
    return transitions.address_found(record, msgspec.structs.replace(personal, address=address), by=by, now=now)


def retry(record: Fulfilment, *, has_address: bool, by: str, now: datetime) -> Change:
    """Try again, under the same reference; an order that the provider has is followed again.

    A call whose outcome is unknown stays so: where the provider can be asked, it is, before anything is sent.

    Raises:
        Refused: there is nothing to try again.
    """
    scribe = Scribe(record, by=by, now=now)
    why = "tried again on a person's word"
    if record.state in {State.READY, State.NEEDS_ADDRESS, State.RECEIVED, State.UNKNOWN}:
        return scribe.note(why, due=None).done(Due())
    _expect(record, "tried again", State.NEEDS_ATTENTION)
    _expect_wanted(record)
    if record.provider_order is not None:
        return scribe.move(State.SUBMITTED, "followed again on a person's word", spent=0).done(Due())
    _expect_article(record)
    target = State.READY if has_address else State.NEEDS_ADDRESS
    # A reward set aside before its first call is also released from SHIP_SINCE: a person has looked at it.
    return scribe.move(target, why, spent=0, released=True).done(Due())


def cancel(record: Fulfilment, why: str, *, by: str, now: datetime) -> Change:
    """Cancel on a person's word.

    Raises:
        Refused: it is too late, or nothing is left to cancel.
    """
    if record.state in ENDS:
        raise Refused(f"it is {record.state} already; expected a reward that is under way")
    if record.state is State.SHIPPED:
        raise Refused("it has been shipped; expected a reward that has not left yet")
    knows_order = record.provider_order is not None and record.cancelling is None
    if record.state is State.NEEDS_ATTENTION and not knows_order:
        # The person has looked at the provider, or takes it on themselves.
        return Scribe(record, by=by, now=now).move(State.CANCELLED, why, cancelling=why).done(End())
    return transitions.cancel(record, why, by=by, now=now)


def discard(record: Fulfilment, why: str, *, by: str, now: datetime) -> Change:
    """Close a reward that needs attention without a parcel.

    Raises:
        Refused: it does not wait for a person.
    """
    _expect(record, "discarded", State.NEEDS_ATTENTION)
    return Scribe(record, by=by, now=now).move(State.DISCARDED, why).done(End())


def hold(record: Fulfilment, why: str, *, by: str, now: datetime) -> Change:
    """Hold one reward until a person releases it.

    Raises:
        Refused: its parcel is under way or settled.
    """
    _expect(record, "held", *BEFORE_DISPATCH, State.NEEDS_ATTENTION)
    return transitions.put_on_hold(record, Hold(source="reward", why=why), by=by, now=now)


def release(record: Fulfilment, why: str, *, by: str, now: datetime, for_good: bool) -> Change:
    """Take the hold away; `for_good` also lets it pass `SHIP_SINCE`.

    Raises:
        Refused: it is not held.
    """
    if record.hold is None or record.state in ENDS:
        raise Refused("it is not held; expected a held reward")
    released = record.released or for_good
    return Scribe(record, by=by, now=now).note(f"released: {why}", hold=None, released=released).done(Due())


def erase(record: Fulfilment, *, by: str, now: datetime) -> Change:
    """Forget what is personal about a reward; whoever decides on what it was has to decide anew.

    Raises:
        Refused: its parcel is on its way, and whoever sends it needs the address.
    """
    if record.state in {State.DISPATCHING, State.UNKNOWN, State.SUBMITTED}:
        raise Refused(f"it is {record.state}; its address is needed until the parcel has left")
    return Scribe(record, by=by, now=now).note("what is personal was erased").done(Keep(), Personal())


def _expect(record: Fulfilment, participle: str, *allowed: State) -> None:
    if record.state not in allowed:
        wanted = " or ".join(sorted(state.value for state in allowed))
        raise Refused(f"it is {record.state}; only a reward that is {wanted} can be {participle}")


def _expect_certain(record: Fulfilment) -> None:
    if record.uncertain:
        raise Refused(
            "the provider may hold an order for it; expected that to be settled first (retry, shipped or cancel)"
        )


def _expect_no_order(record: Fulfilment) -> None:
    if record.provider_order is not None:
        raise Refused("the provider has an order for it; expected one that was never taken (shipped or cancel instead)")
    _expect_wanted(record)


def _expect_wanted(record: Fulfilment) -> None:
    if record.cancelling is not None:
        raise Refused("it is to be cancelled; expected a reward that is wanted (cancel or discard instead)")


def _expect_article(record: Fulfilment) -> None:
    if not record.article:
        raise Refused("no article is known for it; expected a reward that names one (cancel or discard it instead)")
