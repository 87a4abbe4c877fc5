"""From a sealed delivery to a decision; pure, total, and the only place that says what an event leads to."""

from collections.abc import Iterator
from datetime import datetime

from rewardpost import reference as references
from rewardpost.delivery import Delivery
from worker import bounds, event_types, events, hints, recipients, rewards
from worker.decisions import Count, Decision, EraseCustomer, LookAgain, OpenReward, RollBack, SetAside, Verdict
from worker.decoding import Deleted, Event, Irrelevant, Rewarded, RolledBack, Undecodable, decode
from worker.events import Customer, Redemption, given

AUDIT = "audit"
"""The source of what an audit found at Voucherify and put into the shape of a webhook."""
SHIPBOB = "shipbob"
"""The source of ShipBob's webhooks."""

_SHIPBOB_HINT = "shipbob_hint"  # as an event type: its topics are all the same here
_LONGEST_EVENT_TYPE = 100


def decide(delivery: Delivery, *, projects: frozenset[str]) -> Decision:
    """Say what a delivery means; never raises.

    Args:
        delivery: one webhook as received.
        projects: ids of the projects whose webhooks are ours; empty for all of them. What an audit found is ours.
    """
    if delivery.source == SHIPBOB:
        return _hint(delivery.body)
    event = decode(delivery.body)
    if isinstance(event, Undecodable):
        return SetAside(code=event.code, why=event.why)
    if projects and delivery.source != AUDIT and event.project not in projects:
        return SetAside(code="other_project", why="project_id: expected one of VOUCHERIFY_PROJECT_IDS")
    match event.content:
        case Undecodable(code=code, why=why):
            return SetAside(code=code, why=why)
        case Rewarded():
            return _reward(event, event.content, delivery)
        case RolledBack(redemption=redemption):
            reference = references.for_redemption(redemption)
            stored = bounds.identifier(redemption)
            return RollBack(reference=reference, redemption=stored, event_type=event.type)
        case Deleted(data=data):
            return _erase(data.customer or Customer(), event.type)
        case Irrelevant():
            return Count(event_type=bounds.label(event.type, _LONGEST_EVENT_TYPE))


def _hint(body: bytes) -> Decision:
    named = hints.references_in(body)
    if not named:
        return Count(event_type=_SHIPBOB_HINT)
    return LookAgain(references=named, event_type=_SHIPBOB_HINT)


def _erase(customer: Customer, event_type: str) -> Decision:
    own, shops = given(customer.id), given(customer.source_id)
    if own is None and shops is None:
        return SetAside(code="no_customer", why="expected the id of the deleted customer in data.customer.id")
    return EraseCustomer(customer=bounds.optional(own), source_id=bounds.optional(shops), event_type=event_type)


def _reward(event: Event, content: Rewarded, delivery: Delivery) -> Decision:
    redemption = content.data.redemption or Redemption()
    try:
        _expect_reward(content)
        reading = rewards.read(content.reward, is_paid=content.is_paid)
    except rewards.Contradiction as exc:
        return SetAside(code="contradiction", why=str(exc))
    verdict, why = _verdict(event, content, reading)
    person = recipients.person(content)
    return OpenReward(
        reference=_reference(event, redemption, delivery),
        redemption=bounds.optional(given(redemption.id)),
        customer=person.customer,
        event_type=event.type,
        redeemed_at=_redeemed_at(event, redemption),
        kind=reading.kind,
        article=reading.article,
        article_name=reading.article_name,
        verdict=verdict,
        why=why,
        person=person,
        audited=delivery.source == AUDIT,
    )


def _expect_reward(content: Rewarded) -> None:
    redemption = content.data.redemption or Redemption()
    if events.text(redemption.object) == "redemption_rollback" or events.is_object(content.data.redemption_rollback):
        raise rewards.Contradiction("expected no rollback in the event of a reward")
    if recipients.is_another_than_rewarded(content):
        raise rewards.Contradiction("expected customer.id to equal the id of the reward's own customer")


def _reference(event: Event, redemption: Redemption, delivery: Delivery) -> str:
    redemption_id = given(redemption.id)
    if redemption_id is not None:
        return references.for_redemption(redemption_id)
    if event.id is not None:
        return references.for_event(event.id)
    return references.for_delivery(delivery.id)


def _redeemed_at(event: Event, redemption: Redemption) -> datetime | None:
    # Never the envelope's own time: a repeat from last year's audit log may have a new one.
    return events.instant(redemption.date) or events.instant(redemption.created_at) or event.created_at


def _verdict(event: Event, content: Rewarded, reading: rewards.Reading) -> tuple[Verdict, str]:
    undone = _undone(content.data.redemption or Redemption())
    if undone is not None:
        return "not_applicable", undone
    if reading.is_clear and reading.kind in rewards.NO_PARCEL:
        return "not_applicable", reading.why
    doubt = next(_doubts(event, content, reading), None)
    if doubt is not None:
        return "needs_attention", doubt
    return "ship", reading.why


def _undone(redemption: Redemption) -> str | None:
    words = {events.word(redemption.result), events.word(redemption.status)}
    if words & event_types.FAILURES:
        return "the redemption failed"
    return "the redemption was rolled back" if words & {"ROLLED_BACK", "ROLLEDBACK"} else None


def _doubts(event: Event, content: Rewarded, reading: rewards.Reading) -> Iterator[str]:
    """Yield what a person has to look at before anything is shipped."""
    redemption = content.data.redemption or Redemption()
    if not reading.is_clear:
        yield reading.why
    if event.id is None and given(redemption.id) is None:
        yield "neither a redemption nor an event names it, so a second delivery of it would not be recognised"
    if content.data.redemption is not None and not content.is_paid:
        yield "the redemption names no reward"
    words = {events.word(redemption.result), events.word(redemption.status)} - {""}
    if words - event_types.SUCCESSES:
        yield "the result of the redemption is not known here"
    if not words and not content.is_named:
        yield "neither the event's type nor a redemption's result says that it succeeded"
    if events.has_rollbacks(redemption.related_redemptions):
        yield "the redemption names a rollback of its own"
    if recipients.is_redeemed_by_another(content):
        yield "the customer who redeemed is not the customer who was rewarded"
