"""The shapes in which the command prints what the ledger holds; pure."""

from collections.abc import Sequence
from typing import Any

import msgspec

from cli.output import moment
from rewardpost.dead_letters import DeadLetter
from rewardpost.fulfilment import Entry, Fulfilment, Personal

Data = dict[str, Any]


def story(record: Fulfilment, journal: Sequence[Entry]) -> Data:
    """Return what `show --json` prints."""
    return {**_reward(record), "journal": [entry(line) for line in journal]}


def line(record: Fulfilment) -> Data:
    """Return what `list --json` and the changing verbs print of one reward."""
    return {**_reward(record), "why": record.why, "changed_at": moment(record.changed_at)}


def entry(written: Entry) -> Data:
    """Return one line of a journal."""
    return {
        "at": moment(written.at),
        "from": written.before,
        "to": written.after,
        "why": written.why,
        "attempt": written.attempt,
        "by": written.by,
    }


def personal(known: Personal) -> Data:
    """Return what is personal about a reward."""
    return {
        "name": known.name,
        "email": known.email,
        "source_id": known.source_id,
        "address": msgspec.to_builtins(known.address),
    }


def dead_letter(letter: DeadLetter) -> Data:
    """Return what is known about a dead letter, without its body."""
    delivery = letter.delivery
    return {
        "id": letter.id,
        "code": letter.code,
        "why": letter.why,
        "at": moment(letter.at),
        "source": delivery.source if delivery else None,
        "received_at": moment(delivery.received_at) if delivery else None,
        "bytes": len(content(letter)),
    }


def content(letter: DeadLetter) -> bytes:
    """Return the body as it came; the payload where no delivery can be read in it."""
    delivery = letter.delivery
    return letter.payload if delivery is None else delivery.body


def _reward(record: Fulfilment) -> Data:
    return {
        "reference": record.reference,
        "redemption": record.redemption,
        "customer": record.customer,
        "state": record.state,
        "flags": record.flags,
        "article": record.article,
        "provider": record.provider,
        "provider_order": record.provider_order,
        "tracking": list(record.tracking),
        "generation": record.generation,
        "attempts": record.attempts,
    }
