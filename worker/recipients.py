"""Who a reward is for, as far as the event says; the address is found elsewhere."""

from worker import bounds, events
from worker.decisions import Person
from worker.decoding import Rewarded
from worker.events import Customer, Redemption, Reward, given

_LONGEST_NAME = 200
_LONGEST_EMAIL = 254  # RFC 5321, section 4.5.3.1.3, less the angle brackets


def person(content: Rewarded) -> Person:
    """Return who was rewarded: the event's own customer, or the reward's, or the one who redeemed."""
    redemption = content.data.redemption or Redemption()
    candidates = [
        candidate
        for candidate in (content.data.customer, customer_of(content.reward), events.customer(redemption.customer))
        if candidate is not None and (given(candidate.id) or given(candidate.source_id))
    ]
    if not candidates:
        return Person(customer=bounds.optional(events.text(redemption.customer_id)))
    same = [candidate for candidate in candidates if _is_same(candidates[0], candidate)]
    return Person(
        name=next((name for name in map(_name, same) if name), None),
        email=next((email for email in map(_email, same) if email), None),
        source_id=bounds.optional(next((each.source_id for each in same if given(each.source_id)), None)),
        customer=bounds.optional(next((each.id for each in same if given(each.id)), None)),
    )


def is_another_than_rewarded(content: Rewarded) -> bool:
    """Tell whether the reward names another customer than the event does."""
    named, rewarded = content.data.customer, customer_of(content.reward)
    return named is not None and rewarded is not None and _differ(named.id, rewarded.id)


def is_redeemed_by_another(content: Rewarded) -> bool:
    """Tell whether somebody else redeemed than is rewarded."""
    redemption = content.data.redemption or Redemption()
    rewarded = content.data.customer or customer_of(content.reward) or Customer()
    redeemer = events.customer(redemption.customer) or Customer()
    return _differ(rewarded.id, redeemer.id) or _differ(rewarded.id, events.text(redemption.customer_id))


def customer_of(reward: Reward | None) -> Customer | None:
    """Return the customer that a reward names."""
    return events.customer(reward.customer) if reward is not None else None


def _is_same(one: Customer, other: Customer) -> bool:
    """Tell whether two parts of the event mean one customer, so that what one lacks may be taken from the other."""
    if _differ(one.id, other.id):
        return False
    if given(one.id) is not None and one.id == other.id:
        return True
    return given(one.source_id) is not None and one.source_id == other.source_id


def _differ(one: str | None, other: str | None) -> bool:
    return given(one) is not None and given(other) is not None and one != other


def _name(customer: Customer) -> str:
    return bounds.label(events.label(customer.name), _LONGEST_NAME)


def _email(customer: Customer) -> str | None:
    # Never cut: a part of an address is somebody else's.
    email = events.text(customer.email)
    return email if email is not None and len(email) <= _LONGEST_EMAIL and bounds.is_plain(email) else None
