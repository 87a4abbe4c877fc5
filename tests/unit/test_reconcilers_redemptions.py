"""What an entry of Voucherify's list leads to, and where the next run begins."""

from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from msgspec import Raw

from rewardpost.delivery import Delivery, delivery_id
from rewardpost.findings import Known
from rewardpost.fulfilment import Fulfilment
from rewardpost.states import ENDS, State
from tests.builders import CUSTOMER, DROP, REDEMPTION, Tree, body, changed, customer, material_sku, redemption
from worker import routing
from worker.decisions import OpenReward, RollBack
from worker.reconcilers import redemptions
from worker.reconcilers.redemptions import MINIMUM_AGE, OVERLAP, Listed, disorder, missed, next_start, old_enough

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
REFERENCE = f"vfy-{REDEMPTION}"
ROLLBACK: Tree = {
    "id": "rr_1",
    "object": "redemption_rollback",
    "date": "2026-02-28T16:00:00Z",
    "redemption": REDEMPTION,
    "result": "SUCCESS",
    "status": "SUCCEEDED",
}


def listed(entry: object) -> Listed:
    """Read an entry that names a redemption."""
    found = redemptions.read(Raw(body(entry)))
    assert found is not None
    return found


def known(state: State, **changes: object) -> Known:
    """Return a reward in a state, as the ledger knows it."""
    record = Fulfilment(reference=REFERENCE, state=state)
    return Known(record=msgspec.structs.replace(record, **changes))


UNKNOWN = Known()


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        (redemption(), "reward"),
        (changed(redemption(), "status", "ROLLED_BACK"), "reward"),
        (changed(redemption(), "status", DROP), "reward"),
        (changed(redemption(), "object", None), "reward"),
        (changed(redemption(), "reward", None), None),
        (changed(redemption(), "reward", []), None),
        (changed(redemption(), "result", "FAILURE"), None),
        (changed(redemption(), "status", "FAILED"), None),
        (changed(redemption(), "related_object_type", "redemption"), None),
        (changed(redemption(), "related_object_type", "voucher"), "reward"),
        (ROLLBACK, "rollback"),
        (changed(ROLLBACK, "redemption", {"id": REDEMPTION}), "rollback"),
        (changed(ROLLBACK, "status", "FAILED"), None),
        (changed(ROLLBACK, "result", "FAILURE"), None),
    ],
)
def test_what_is_missing_of_a_reward_that_nobody_knows(entry: object, expected: str | None) -> None:
    """A reward that was paid for, or its undoing; nothing else."""
    assert missed(listed(entry), UNKNOWN) == expected


@pytest.mark.parametrize("state", list(State))
@pytest.mark.parametrize("entry", [changed(redemption(), "status", "ROLLED_BACK"), ROLLBACK])
def test_an_undoing_is_missing_as_long_as_the_reward_is_under_way(entry: object, state: State) -> None:
    """Once it has ended, is being cancelled, or only its end is known, nothing is missing."""
    assert missed(listed(entry), known(state)) == (None if state in ENDS else "rollback")
    assert missed(listed(entry), known(state, cancelling="rolled back")) is None
    assert missed(listed(entry), Known(done=state)) is None
    assert missed(listed(redemption()), known(state)) is None


@pytest.mark.parametrize(
    "entry",
    [
        changed(redemption(), "id", None),
        changed(redemption(), "id", " "),
        changed(redemption(), "id", 7),
        changed(ROLLBACK, "redemption", DROP),
        changed(ROLLBACK, "redemption", {"id": None}),
        [],
        "r_1",
        None,
    ],
)
def test_an_entry_that_names_no_redemption_is_told_apart(entry: object) -> None:
    """Nothing can be done with it but to say so."""
    assert redemptions.read(Raw(body(entry))) is None


def sealed(entry: object) -> Delivery:
    """Return the delivery of what is missing of an entry."""
    read = listed(entry)
    which = missed(read, UNKNOWN)
    assert which is not None
    content = redemptions.body(read, which)
    return Delivery(id=delivery_id(content), source=routing.AUDIT, received_at=NOW, body=content)


def test_a_redemption_opens_the_reward_that_its_webhook_would_have_opened() -> None:
    """The same article, customer and time, for the same reference; that an audit found it is noted."""
    decision = routing.decide(sealed(redemption(material_sku())), projects=frozenset({"proj_other"}))
    assert isinstance(decision, OpenReward)
    assert (decision.reference, decision.verdict, decision.article) == (REFERENCE, "ship", "mug-blue-xl")
    assert (decision.customer, decision.person.source_id) == (CUSTOMER, customer()["source_id"])
    assert decision.redeemed_at == datetime(2026, 2, 28, 15, 27, 56, 234000, tzinfo=UTC)
    assert decision.audited


def test_a_rollback_leads_to_a_rollback() -> None:
    """By the redemption that it undid."""
    decision = routing.decide(sealed(ROLLBACK), projects=frozenset())
    assert isinstance(decision, RollBack)
    assert (decision.reference, decision.redemption) == (REFERENCE, REDEMPTION)


def test_nothing_is_kept_of_order_and_voucher() -> None:
    """They hold more about a person than is needed, and decide nothing."""
    entry = {**redemption(), "voucher": {"code": "TEST-CARD-1"}, "tracking_id": "track_1"}
    content = sealed(entry).body
    assert b"TEST-CARD-1" not in content
    assert b"ord_1" not in content
    assert b"track_1" not in content


def test_the_same_entry_gives_the_same_body() -> None:
    """So that it is one delivery, however often it is found."""
    assert sealed(redemption()) == sealed(redemption())


def test_what_was_rolled_back_on_the_same_page_is_not_opened() -> None:
    """Only its undoing is taken in, whatever its own status says."""
    page = [listed(redemption()), listed(ROLLBACK)]
    assert [which for _, which in redemptions.missing(page, {REFERENCE: UNKNOWN})] == ["rollback"]


def at(*minutes: float) -> list[Listed | None]:
    """Return entries of so many minutes ago."""
    return [listed(changed(redemption(), "date", (NOW - timedelta(minutes=each)).isoformat())) for each in minutes]


def test_what_follows_something_too_young_waits_too() -> None:
    """Otherwise the next run would begin behind it."""
    page = at(9, 3, 1, 5)
    assert old_enough(page, NOW) == (page[:2], True)
    assert old_enough(page[:2], NOW) == (page[:2], False)
    assert old_enough([None, *page[:2]], NOW)[1] is False
    assert old_enough(at(MINIMUM_AGE / timedelta(minutes=1)), NOW)[1] is False


def test_a_page_has_to_be_in_order() -> None:
    """As far as the overlap makes up for, entries may stand beside their place."""
    start = NOW - timedelta(minutes=30)
    times = [NOW - timedelta(minutes=each) for each in (20, 24, 10, 5)]
    assert disorder([*times, None], start, None) == ""
    assert "oldest" in disorder([times[0], times[3], times[2] - OVERLAP], start, None)
    assert "oldest" in disorder([times[2]], start, NOW)
    assert "earlier" in disorder([start - timedelta(minutes=6)], start, None)


@pytest.mark.parametrize(
    ("latest", "finished", "expected"),
    [
        (None, True, NOW),
        (None, False, NOW),
        (NOW + timedelta(hours=1), True, NOW + timedelta(hours=1) - OVERLAP),
        (NOW + timedelta(hours=1), False, NOW + timedelta(hours=1) - timedelta(milliseconds=1)),
        (NOW + timedelta(seconds=1), False, NOW + timedelta(seconds=1) - timedelta(milliseconds=1)),
    ],
)
def test_where_the_next_run_begins(latest: datetime | None, *, finished: bool, expected: datetime) -> None:
    """With an overlap at the end of the list, and further than before where it was broken off."""
    assert next_start(NOW, latest, finished=finished) == expected
