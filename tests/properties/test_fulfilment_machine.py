"""A reward's whole life in any order of events: never two parcels, never off the diagram, never stuck without a reason.

The ledger is played by one variable that changes by compare-and-set; time is virtual; the provider is kept in memory,
loses requests and answers, takes a request late, shows an order only after its look-up lag, and sends parcels.
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
from worker import outcomes, shipping
from worker.providers.protocol import Cancellation, Guarantee, Order, Outcome, Progress
from worker.shipping import (
    Action,
    Adopt,
    AskStatus,
    Dispatch,
    FindAddress,
    LookUp,
    Policy,
    Rest,
    Wait,
)

START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
LAG = timedelta(seconds=10)
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
        self.taken_at: dict[str, datetime] = {}

    @initialize(
        guarantee=st.sampled_from(list(Guarantee)),
        comes_first=st.booleans(),
        has_one=st.booleans(),
        polled=st.booleans(),
    )
    def begin(self, *, guarantee: Guarantee, comes_first: bool, has_one: bool, polled: bool) -> None:
        """Choose how the provider keeps a reference unique, and what there is: the reward, an order from before."""
        self.provider = FakeProvider(guarantee)
        self.from_before = has_one and guarantee.can_be_asked
        if self.from_before:
            self.provider.act("ok", REFERENCE)
            self.taken_at = {order.id: START - LAG for order in self.provider.orders}
        self.policy = Policy(
            dispatch=True,
            ship_since=START + timedelta(seconds=1) if self.from_before else START - timedelta(days=1),
            holds=self.holds,
            provider="fake",
            guarantee=guarantee,
            quiet_time=QUIET,
            limit=LIMIT,
            watched_since=START - timedelta(days=1),
            poll=timedelta(minutes=15) if polled and guarantee.can_be_asked else None,
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
            self._act("lost answer", at=landing[0])

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
            case Rest() | Wait():
                pass
            case action:
                self._write(self._look(self.record, action, step))
        return None

    def _look(self, record: Fulfilment, action: Action, step: str) -> Change | None:
        match action:
            case Adopt(hold):
                return outcomes.after_first_look(record, self._found(), hold, now=self.now, policy=self.policy)
            case AskStatus():
                order = next(order for order in self.provider.orders if order.id == record.provider_order)
                return outcomes.after_status(record, order, now=self.now, policy=self.policy)
            case LookUp():
                return self._look_up(record)
            case _:
                return self._cancel(record, step)

    @rule(progress=st.sampled_from([Progress.SHIPPED, Progress.DELIVERED, Progress.LOST, Progress.EXCEPTION]))
    def the_provider_goes_on(self, progress: Progress) -> None:
        """Let the provider send what it has, or get stuck with it."""
        self.provider.orders = [
            replace(order, progress=progress) if order.live else order for order in self.provider.orders
        ]

    @rule(call=calls)
    def report(self, call: tuple[int, Outcome] | None) -> None:
        """Let a call's worker write its outcome down, in time, late, or more than once."""
        if call is None or self.record is None:
            return
        token, outcome = call
        back_off = timedelta(seconds=1)
        self._write(
            outcomes.after_call(self.record, token, outcome, now=self.now, back_off=back_off, policy=self.policy)
        )

    @rule(action=st.sampled_from(["cancel", "retry", "set_address", "shipped", "hold", "release", "discard"]))
    def operator(self, action: str) -> None:
        """Let a person do something, sensible or not."""
        record = self.record
        trusting = self.policy.guarantee in {Guarantee.NONE, Guarantee.LEDGER}
        if record is None or (action == "retry" and record.uncertain and trusting):
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
        if self.provider.live and record.state in BEFORE_DISPATCH | ENDS - {State.DELIVERED, State.LOST}:
            if self.from_before and record.attempts == 0:
                return  # an audit of the provider finds it
            if record.uncertain:
                return  # it is looked for before anything is sent
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
            assert self.record.state is not State.UNKNOWN
            resting = ENDS | {State.SUBMITTED, State.SHIPPED, State.NEEDS_ATTENTION}
            assert self.record.state in resting or self.record.hold is not None
            if self.record.state in {State.SUBMITTED, State.SHIPPED, State.DELIVERED} and not self._by_a_person():
                assert self.provider.live == [REFERENCE]

    def _dispatch(self, step: str) -> tuple[int, Outcome]:
        record = self.record
        assert record is not None
        assert record.cancelling is None
        assert record.hold is None
        assert not record.uncertain or self.policy.guarantee is Guarantee.IDEMPOTENT
        assert not self.from_before
        assert not self.holds
        self._write(transitions.begin_dispatch(record, "fake", deadline=self.now + CALL, now=self.now))
        token = self.record.token if self.record is not None else 0
        if step in {"late", "reset"}:
            self.late.append((self.now + CALL, REFERENCE))
            call = (token, self._act("lost request"))
            if step == "reset":  # the connection broke at once, and what was written to it arrives all the same
                self.report(call)
            return call
        return token, self._act(step)

    def _look_up(self, record: Fulfilment) -> Change:
        orders = self._found()
        if record.state is State.SUBMITTED:
            return outcomes.after_cancel_look_up(record, orders, now=self.now, policy=self.policy)
        assert record.refusal is not None or not self.late  # the quiet time outlasts whatever may still land
        back_off = timedelta(seconds=1)
        return outcomes.after_look_up(record, orders, now=self.now, back_off=back_off, policy=self.policy)

    def _cancel(self, record: Fulfilment, step: str) -> Change:
        has_left = any(order.progress not in {Progress.OPEN, Progress.EXCEPTION} for order in self.provider.orders)
        if not (self.policy.guarantee.can_be_asked or self.policy.guarantee is Guarantee.LEDGER):
            answer = Cancellation.UNSUPPORTED
        elif has_left and step != "lost answer":
            answer = Cancellation.TOO_LATE
        else:
            answer = Cancellation.UNKNOWN if step.startswith("lost") else Cancellation.CANCELLED
        if not has_left and (answer is Cancellation.CANCELLED or step == "lost answer"):
            self.provider.orders = [replace(order, progress=Progress.CANCELLED) for order in self.provider.orders]
        return outcomes.after_cancel(record, answer, now=self.now, policy=self.policy)

    def _act(self, step: str, *, at: datetime | None = None) -> Outcome:
        """Let the provider do what a step says, and note when it took what it took."""
        outcome = self.provider.act(step, REFERENCE)
        for order in self.provider.orders:
            self.taken_at.setdefault(order.id, at or self.now)
        return outcome

    def _found(self) -> list[Order]:
        """Return what the provider shows by now."""
        return [order for order in self.provider.orders if self.now >= self.taken_at[order.id] + LAG]

    def _by_a_person(self) -> bool:
        return any(entry.by == "tess" for entry in self.journal)

    def _write(self, change: Change | None) -> None:
        if change is not None:
            assert self.record is None or self.record.state not in ENDS
            self.record = change.record
            self.journal.extend(change.entries)


TestLife = Life.TestCase
TestLife.settings = settings(max_examples=1000, stateful_step_count=40, deadline=None)
