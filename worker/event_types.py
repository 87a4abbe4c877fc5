"""The event types that mean something here, and what tells the event type of a body.

An envelope names it in `event.type`. Where that is missing, `type` may name it, but in a distribution that is
free text which a marketer typed; then only the shape of the body is left.
"""

import re

import msgspec
from msgspec import Raw

from worker.events import NULL, Envelope, Origin, Part, given, is_given, is_object, lenient, text, word

REWARDED = "customer.rewarded"
DELETED = "customer.deleted"
ROLLED_BACK = frozenset({"redemption.rollback.succeeded", "customer.redemption.rollback.succeeded"})
"""From a project's webhook and from a distribution."""
ROLLBACK_FAILED = "redemption.rollback.failed"

_DECIDING = ROLLED_BACK | {REWARDED, DELETED}
_EVENT_NAME = re.compile(r"[a-z_]+(\.[a-z_]+)+", re.ASCII)
_DISTRIBUTION = "distribution"

FAILURES = frozenset({"FAILURE", "FAILED"})
SUCCESSES = frozenset({"SUCCESS", "SUCCEEDED"})


class _Outline(Part, frozen=True, kw_only=True):
    object: Raw = NULL
    customer: Raw = NULL
    redemption: Raw = NULL
    reward: Raw = NULL
    redemption_rollback: Raw = NULL
    reward_redemption: Raw = NULL
    reward_assignment: Raw = NULL


class _Result(Part, frozen=True, kw_only=True):
    result: Raw = NULL
    status: Raw = NULL


class _Source(Part, frozen=True, kw_only=True):
    object: Raw = NULL


def named(envelope: Envelope, origin: Origin) -> str | None:
    """Return the event type that the envelope states; None where it states none that can be relied on."""
    stated = given(origin.type)
    if stated is not None:
        return stated.strip().lower()
    typed = _typed(envelope)
    return typed if typed in _DECIDING or (typed and _sender(envelope) == "webhook") else None


def recognised(content: Raw) -> str | None:
    """Return the event type that the shape of a body without one tells; None where the shape is not safe to tell by.

    A body with `reward_redemption` or `reward_assignment` belongs to other events, some of which come before
    anything is redeemed; one that names its own kind as `object` is not an event's data but, say, a redemption.
    """
    outline = lenient(content, _OUTLINE)
    if outline is None or any(map(is_given, (outline.object, outline.reward_redemption, outline.reward_assignment))):
        return None
    if is_given(outline.redemption_rollback):
        return _rollback(outline.redemption_rollback)
    if is_object(outline.redemption):
        paid = lenient(outline.redemption, _OUTLINE)
        if paid is not None and is_object(paid.reward):
            return REWARDED
    return REWARDED if is_object(outline.reward) and is_object(outline.customer) else None


def presumed(envelope: Envelope) -> str | None:
    """Return the `type` of a body that nothing else tells of, if it reads like the name of an event."""
    return _typed(envelope) if is_object(envelope.data) and _sender(envelope) != _DISTRIBUTION else None


def _rollback(raw: Raw) -> str | None:
    rollback = lenient(raw, _RESULT)
    words = {word(text(rollback.result)), word(text(rollback.status))} if rollback is not None else set()
    if words & FAILURES:
        return ROLLBACK_FAILED
    return "redemption.rollback.succeeded" if words & SUCCESSES else None


def _typed(envelope: Envelope) -> str | None:
    typed = (text(envelope.type) or "").strip().lower()
    return typed if _EVENT_NAME.fullmatch(typed) else None


def _sender(envelope: Envelope) -> str | None:
    source = lenient(envelope.source, _SOURCE)
    return text(source.object) if source is not None else None


_OUTLINE = msgspec.json.Decoder(_Outline | None)
_RESULT = msgspec.json.Decoder(_Result | None)
_SOURCE = msgspec.json.Decoder(_Source | None)
