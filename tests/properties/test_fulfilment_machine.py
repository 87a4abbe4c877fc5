"""A reward's whole life in any order of events: never two parcels, never off the diagram, never stuck without a reason.

The ledger is played by one variable that changes by compare-and-set; time is virtual; the provider is kept in memory
and loses requests and answers, or takes a request late, within its look-up lag.
"""

import contextlib
from datetime import UTC, datetime, timedelta

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, precondition, rule
from msgspec.structs import replace

from rewardpost import interventions, transitions
from rewardpost.addresses import PostalAddress
from rewardpost.changes import Change
from rewardpost.fulfilment import Entry, Fulfilment, Opening, Personal
from rewardpost.interventions import Refused
from rewardpost.states import BEFORE_DISPATCH, EDGES, ENDS, State
from tests.fakes import FakeProvider
from worker import shipping
from worker.providers.protocol import Cancellation, Guarantee, Outcome, Progress
from worker.shipping import CancelOrder, Dispatch, FindAddress, LookUp, Policy, Rest, Wait

START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
QUIET = timedelta(seconds=30)
CALL = timedelta(seconds=5)
LIMIT = 4
REFERENCE = "vfy-r_1"
ADDRESS = PostalAddress(name="Tess", line_1="Probestrasse 7", city="Musterstadt", country="DE")


class Life(RuleBasedStateMachine):
    """One reward, its record and journal, its provider, and calls whose end is still to come."""

    calls = Bundle("calls")

    def __init__(self) -> None:
        super().__init__()
        self.now = START
        self.record: Fulfilment | None = None
        self.journal: list[Entry] = []
        self.late: list[tuple[datetime, str]] = []
        self.holds: dict[str, str] = {}

    @initialize(guarantee=st.sampled_from(list(Guarantee)), comes_first=st.booleans())
    def begin(self, guarantee: Guarantee, comes_first: bool) -> None:  # noqa: FBT001 - drawn by Hypothesis
        """Choose how the provider keeps a reference unique, and whether the reward comes first of all."""
        self.provider = FakeProvider(guarantee)
        self.policy = Policy(
            dispatch=True,
            ship_since=START - timedelta(days=1),
            holds=self.holds,
            provider="fake",
            guarantee=guarantee,
            quiet_time=QUIET,
        )
        if comes_first:
            self.webhook(State.RECEIVED)

    @rule(state=st.sampled_from([State.RECEIVED, State.NOT_APPLICABLE, State.NEEDS_ATTENTION]))
    def webhook(self, state: State) -> None:
        """Deliver the reward, for the first time or again."""
        if self.record is None:
            opening = Opening(
                reference=REFERENCE,
                redemption="r_1",
                customer="cust_1",
                kind="material",
                article="mug",
                article_name="",
                redeemed_at=START,
                received_at=self.now,
                personal=Personal(),
                state=state,
                why="because",
            )
            self._write(transitions.receive(opening, now=self.now))

    @rule(target=calls, step=st.sampled_from(["ok", "lost answer", "late"]))
    def time_passes_and_work(self, step: str) -> tuple[int, Outcome] | None:
        """Do what happens most often: a call's time is over, and a worker goes on."""
        self.time_passes(6)
        return self._work(step)

    @rule()
    def rollback(self) -> None:
        """Deliver the rollback, before or after the reward."""
        if self.record is None:
            self._write(transitions.roll_back_unknown(REFERENCE, "r_1", now=self.now))
        else:
            self._write(transitions.roll_back(self.record, now=self.now))

    @rule(seconds=st.sampled_from([1, 4, 6, 31, 4000]))
    def time_passes(self, seconds: int) -> None:
        """Let time pass; what was on its way to the provider lands within its deadline."""
        self.now += timedelta(seconds=seconds)
        for landing in [landing for landing in self.late if landing[0] <= self.now]:
            self.late.remove(landing)
            self.provider.act("lost answer", landing[1])

    @rule(target=calls, step=st.sampled_from(["ok", "lost request", "lost answer", "late", "reset", "busy", "refuse"]))
    def work(self, step: str) -> tuple[int, Outcome] | None:
        """Let a worker take one step; a call's outcome is written down later, or never."""
        return self._work(step)

    def _work(self, step: str) -> tuple[int, Outcome] | None:
        if self.record is None:
            return None
        match shipping.next_action(self.record, now=self.now, policy=self.policy):
            case Change() as change:
                self._write(change)
            case FindAddress():
                personal = Personal(address=ADDRESS)
                self._write(transitions.address_found(self.record, personal, by="worker", now=self.now))
            case Dispatch():
                return self._dispatch(step)
            case LookUp():
                self._look_up()
            case CancelOrder():
                self._cancel(step)
            case Rest() | Wait():
                pass
        return None

    @rule(call=calls)
    def report(self, call: tuple[int, Outcome] | None) -> None:
        """Let a call's worker write its outcome down, in time, late, or more than once."""
        if call is None or self.record is None:
            return
        token, outcome = call
        back_off = timedelta(seconds=1)
        self._write(shipping.after_call(self.record, token, outcome, now=self.now, limit=LIMIT, back_off=back_off))

    @rule(action=st.sampled_from(["cancel", "retry", "set_address", "shipped", "hold", "release", "discard"]))
    def operator(self, action: str) -> None:
        """Let a person do something, sensible or not."""
        record = self.record
        if record is None or (action == "retry" and record.uncertain):
            return  # sending again what may have been sent is a person's own decision, and may well be a second parcel
        with contextlib.suppress(Refused):
            match action:
                case "cancel":
                    self._write(interventions.cancel(record, "x", by="tess", now=self.now))
                case "retry":
                    self._write(interventions.retry(record, has_address=True, by="tess", now=self.now))
                case "set_address":
                    self._write(interventions.set_address(record, Personal(), ADDRESS, by="tess", now=self.now))
                case "shipped":
                    self._write(interventions.shipped(record, "T1", by="tess", now=self.now))
                case "hold":
                    self._write(interventions.hold(record, "x", by="tess", now=self.now))
                case "release":
                    self._write(interventions.release(record, "x", by="tess", now=self.now, for_good=True))
                case "discard":
                    self._write(interventions.discard(record, "x", by="tess", now=self.now))

    @rule(held=st.booleans())
    def hold_everything(self, held: bool) -> None:  # noqa: FBT001 - drawn by Hypothesis
        """Stop all dispatching, or resume it."""
        self.holds.clear()
        if held:
            self.holds["everything"] = "stock-taking"

    @invariant()
    def never_two_live_orders(self) -> None:
        """One reference, at most one live order."""
        if self.record is not None:
            assert len(self.provider.live) <= 1

    @invariant()
    def the_journal_is_unbroken_and_on_the_diagram(self) -> None:
        """Each line begins where the one before ended, and each move is an edge."""
        state: State | None = None
        for entry in self.journal:
            assert entry.before is state
            if entry.after is not state:
                assert entry.after in EDGES[state]
            state = entry.after
        assert self.record is None or self.record.state is state

    @precondition(lambda self: self.record is not None)
    @invariant()
    def a_live_order_is_known_or_asked_about(self) -> None:
        """Where the provider holds a live order, the ledger has it, is finding out, or a person is asked."""
        record = self.record
        assert record is not None
        if self.provider.live and record.state in BEFORE_DISPATCH | ENDS:
            assert record.state in {State.CANCELLED, State.DISCARDED}
            assert any(entry.by == "tess" for entry in self.journal)  # only a person may close it like that

    def teardown(self) -> None:
        """In the end, left alone, it rests: with the provider, with a person, or held."""
        self.holds.clear()
        for _ in range(60):
            self.time_passes(4000)
            call = self._work("ok")
            self.report(call)
        if self.record is not None:
            resting = ENDS | {State.SUBMITTED, State.SHIPPED, State.NEEDS_ATTENTION}
            assert self.record.state in resting or self.record.hold is not None
            if self.record.state is State.SUBMITTED:
                assert self.provider.live == [REFERENCE]

    def _dispatch(self, step: str) -> tuple[int, Outcome]:
        record = self.record
        assert record is not None
        assert record.cancelling is None
        assert record.hold is None
        assert not record.uncertain
        assert not self.holds
        self._write(transitions.begin_dispatch(record, "fake", deadline=self.now + CALL, now=self.now))
        token = self.record.token if self.record is not None else 0
        if step in {"late", "reset"}:
            self.late.append((self.now + CALL, REFERENCE))
            call = (token, self.provider.act("lost request", REFERENCE))
            if step == "reset":  # the connection broke at once, and what was written to it arrives all the same
                self.report(call)
            return call
        return token, self.provider.act(step, REFERENCE)

    def _look_up(self) -> None:
        record = self.record
        assert record is not None
        orders = list(self.provider.orders)
        if record.state is State.SUBMITTED:
            self._write(shipping.after_cancel_look_up(record, orders, now=self.now))
            return
        assert not self.late  # the quiet time outlasts whatever may still land
        back_off = timedelta(seconds=1)
        self._write(shipping.after_look_up(record, orders, now=self.now, limit=LIMIT, back_off=back_off))

    def _cancel(self, step: str) -> None:
        record = self.record
        assert record is not None
        answer = Cancellation.UNKNOWN if step.startswith("lost") else Cancellation.CANCELLED
        if self.provider.guarantee is Guarantee.NONE:
            answer = Cancellation.UNSUPPORTED
        if answer is Cancellation.CANCELLED:
            self.provider.orders = [replace(order, progress=Progress.CANCELLED) for order in self.provider.orders]
        self._write(shipping.after_cancel(record, answer, now=self.now, policy=self.policy))

    def _write(self, change: Change | None) -> None:
        if change is not None:
            assert self.record is None or self.record.state not in ENDS
            self.record = change.record
            self.journal.extend(change.entries)


TestLife = Life.TestCase
TestLife.settings = settings(max_examples=1000, stateful_step_count=40, deadline=None)
