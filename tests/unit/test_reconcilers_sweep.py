"""Which rewards need a job, and when it should run."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from rewardpost.fulfilment import Fulfilment, Hold
from rewardpost.states import State
from tests.fakes import FakeProvider
from worker.reconcilers.sweep import STATES, job_due, polling_policy
from worker.shipping import POLL_LIMIT

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
LATER = NOW + timedelta(minutes=5)
POLL = timedelta(minutes=15)
HOLD = Hold(source="everything", why="stock-taking")
WITH_ORDER: Mapping[str, Any] = {"provider": "fake", "provider_order": "o1", "changed_at": NOW}


def due(state: State, *, reports_status: bool = True, **changes: Any) -> datetime | None:  # noqa: ANN401 - fields of a record
    """Return when the job of a reward in this state is due."""
    provider = FakeProvider()
    provider.reports_status = reports_status
    record = msgspec.structs.replace(Fulfilment(reference="vfy-r_1", state=state), **changes)
    return job_due(record, now=NOW, policy=polling_policy(provider, POLL))


@pytest.mark.parametrize(
    ("state", "changes", "expected"),
    [
        (State.RECEIVED, {}, NOW),
        (State.READY, {}, NOW),
        (State.READY, {"due": LATER}, LATER),
        (State.READY, {"due": NOW - timedelta(days=1)}, NOW),
        (State.READY, {"hold": HOLD}, None),
        (State.READY, {"hold": HOLD, "cancelling": "changed his mind"}, NOW),
        (State.NEEDS_ADDRESS, {}, None),
        (State.NEEDS_ADDRESS, {"cancelling": "changed his mind"}, NOW),
        (State.DISPATCHING, {}, NOW),
        (State.UNKNOWN, {"due": LATER}, LATER),
        (State.SUBMITTED, {**WITH_ORDER, "cancelling": "rolled back", "due": LATER}, LATER),
        (State.SUBMITTED, WITH_ORDER, NOW + POLL),
        (State.SHIPPED, WITH_ORDER, NOW + POLL),
        (State.SHIPPED, {**WITH_ORDER, "changed_at": NOW - POLL_LIMIT - timedelta(days=1)}, None),
        (State.SUBMITTED, {**WITH_ORDER, "provider": "other"}, None),
        (State.NEEDS_ATTENTION, {}, None),
        (State.NEEDS_ATTENTION, {"cancelling": "rolled back"}, None),
        (State.DELIVERED, WITH_ORDER, None),
        (State.CANCELLED, {}, None),
    ],
)
def test_when_a_missing_job_is_due(state: State, changes: Mapping[str, Any], expected: datetime | None) -> None:
    """Where something is to be done, and not before its time; nowhere else."""
    assert due(state, **changes) == expected


def test_nobody_asks_a_provider_that_cannot_say() -> None:
    """Then an order that is out needs no job, unless it is to be cancelled."""
    assert due(State.SUBMITTED, reports_status=False, **WITH_ORDER) is None
    assert due(State.SUBMITTED, reports_status=False, cancelling="rolled back", **WITH_ORDER) == NOW


def test_every_state_that_may_need_a_job_is_looked_at() -> None:
    """What is not looked at never needs one, unless a flag is set that its state does not live with."""
    needing = {state for state in State if due(state, **WITH_ORDER) is not None}
    assert needing == set(STATES)
