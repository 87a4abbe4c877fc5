"""What deliveries of other sources than Voucherify lead to."""

import msgspec
import pytest

from tests.builders import delivery, rewarded
from worker import routing
from worker.decisions import Count, LookAgain, OpenReward, SetAside

OTHERS = frozenset({"proj_other"})


def test_a_hint_of_shipbob_names_rewards_to_look_at() -> None:
    """Whatever else it says is not believed, and a project does not matter."""
    hint = msgspec.structs.replace(
        delivery({"event": "shipped", "order": {"reference_id": "vfy-r_1-g2", "status": "Cancelled"}}), source="shipbob"
    )
    assert routing.decide(hint, projects=OTHERS) == LookAgain(references=("vfy-r_1",), event_type="shipbob_hint")


@pytest.mark.parametrize("content", [{"reference_id": "somebody-else"}, b"not JSON", []])
def test_a_hint_that_names_none_of_ours_is_counted(content: object) -> None:
    """It is no dead letter: nobody could do anything about it."""
    hint = msgspec.structs.replace(delivery(content), source="shipbob")
    assert routing.decide(hint, projects=OTHERS) == Count(event_type="shipbob_hint")


def test_only_an_audit_is_past_the_check_of_the_project() -> None:
    """The same body from the door is another project's."""
    found = msgspec.structs.replace(delivery(rewarded()), source=routing.AUDIT)
    decision = routing.decide(found, projects=OTHERS)
    assert isinstance(decision, OpenReward)
    assert decision.audited
    assert isinstance(routing.decide(delivery(rewarded()), projects=OTHERS), SetAside)
    ours = routing.decide(delivery(rewarded()), projects=frozenset())
    assert isinstance(ours, OpenReward)
    assert not ours.audited
