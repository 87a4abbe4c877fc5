"""What every provider has to do, scenario by scenario, and which guarantees each scenario is for.

A scenario takes a bed and asserts. It makes references of its own, so that many can share one bed, and skips with a
reason where the other side cannot be brought to what it is about.
"""

from collections.abc import Awaitable, Callable, Mapping

from tests.conformance import asking, submitting
from tests.conformance.bed import Bed
from worker.providers.protocol import Guarantee

Scenario = Callable[[Bed], Awaitable[None]]

_EVERY = frozenset(Guarantee)
_OUTSIDE = _EVERY - {Guarantee.LEDGER}
_ASKED = frozenset({Guarantee.UNIQUE_KEY, Guarantee.LOOK_UP})
_ONCE = frozenset({Guarantee.UNIQUE_KEY, Guarantee.IDEMPOTENT})

SCENARIOS: Mapping[Scenario, frozenset[Guarantee]] = {
    submitting.applied_once_and_found: _ASKED,
    submitting.applied_is_said: _EVERY,
    asking.never_seen_is_absent: _ASKED,
    submitting.same_reference_twice_is_one_order: _ONCE,
    submitting.all_orders_of_a_reference_are_found: frozenset({Guarantee.LOOK_UP}),
    submitting.answer_lost: _OUTSIDE,
    submitting.request_lost: _OUTSIDE,
    submitting.answer_after_the_deadline: _OUTSIDE,
    submitting.request_after_the_deadline: _OUTSIDE,
    submitting.nothing_is_sent_after_the_deadline: _OUTSIDE,
    submitting.limit_reached: _OUTSIDE,
    submitting.wrong_credentials: _OUTSIDE,
    submitting.server_error: _OUTSIDE,
    submitting.server_error_after_the_commit: _OUTSIDE,
    submitting.unreadable_success: _OUTSIDE,
    submitting.connection_refused: _OUTSIDE,
    asking.look_up_in_doubt: _ASKED,
    asking.nobody_to_ask: frozenset({Guarantee.IDEMPOTENT, Guarantee.NONE}),
    asking.cancelled: _ASKED,
    asking.cancel_answer_lost: _ASKED,
    asking.cancel_request_lost: _ASKED,
    asking.cancel_too_late: _ASKED,
    asking.cancel_unsupported: _OUTSIDE,
    asking.status_moves_on: _OUTSIDE,
    asking.unknown_order_has_no_status: _EVERY,
    asking.pages_list_our_orders: _OUTSIDE,
    submitting.refused_article: _OUTSIDE,
    asking.check_says_whether_it_could_be_used: _EVERY,
    asking.check_writes_nothing: _OUTSIDE,
    submitting.names_arrive_as_they_are: _OUTSIDE,
    submitting.text_that_cannot_be_written: _OUTSIDE,
    submitting.longest_reference_survives: _OUTSIDE,
    asking.nothing_is_outside_the_ledger: frozenset({Guarantee.LEDGER}),
    asking.call_ends_in_time: _EVERY,
}
"""Which guarantees each scenario is for."""
