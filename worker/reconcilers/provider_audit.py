"""The provider audit: orders that the ledger does not know, or that are there twice, page by page at the provider."""

from collections.abc import Sequence
from datetime import datetime, timedelta

import msgspec

from rewardpost import reference as references
from rewardpost.audits import Audits
from rewardpost.findings import Finding, Known
from rewardpost.ledger import Ledger, Stale
from worker.provider_calls import ProviderCalls
from worker.providers.protocol import CannotTell, Order
from worker.reconcilers import orders as judging
from worker.reconcilers.protocol import Report, Scope, Stop, stopped

LOOK_BACK = timedelta(days=30)
"""How far the first run looks back, and none further unless it is told to."""
OVERLAP = timedelta(days=1)
"""How much of what was read before is read again: two orders for one reward are found together."""
WHO = "audit:provider"
"""The name in the line of those that wait for a turn."""

_CHUNK = 500

Orders = dict[str, dict[str, Order]]
"""Live orders by the ledger's reference and by their own id."""


class _Position(msgspec.Struct, frozen=True, kw_only=True):
    since: datetime
    begun: datetime
    """When the run began that reads from `since` on."""
    after: str | None = None
    """The page where that run was broken off; None once it was through."""


class ProviderAudit:
    """Compares the provider's orders with the ledger."""

    def __init__(self, calls: ProviderCalls, ledger: Ledger, audits: Audits) -> None:
        self._calls = calls
        self._provider = calls.provider
        self._ledger = ledger
        self._audits = audits
        self._name = f"provider:{calls.provider.name}"

    async def run(self, scope: Scope) -> Report:
        """Read all pages that there is time for, then judge what they say of each reward."""
        if not self._provider.lists_orders:
            return Report(passed_over=f"the provider {self._provider.name} lists no orders")
        start, found = await self._start(scope), Orders()
        position, stop = await self._read(scope, start, found)
        findings, in_doubt = await self._judge_all(scope, found)
        if scope.keeps_position:
            kept = start if in_doubt is not None else position
            await self._audits.keep_position(self._name, msgspec.json.encode(kept).decode())
        report = Report(findings=tuple(findings), checked=sum(map(len, found.values())))
        return stopped(report, in_doubt or stop)

    async def _start(self, scope: Scope) -> _Position:
        now = await self._audits.now()
        if scope.since is not None:
            return _Position(since=scope.since, begun=now)
        raw = await self._audits.position(self._name)
        if raw is None:
            return _Position(since=now - LOOK_BACK, begun=now)
        kept = msgspec.json.decode(raw, type=_Position)
        if kept.after is not None:
            return kept
        return _Position(since=max(kept.since, now - LOOK_BACK), begun=now)

    async def _read(self, scope: Scope, start: _Position, found: Orders) -> tuple[_Position, Stop | None]:
        """Collect live orders; return where the next run goes on, and why this one stopped, if it did."""
        after, pages = start.after, 0
        while True:
            turn = await scope.turn(lambda: self._calls.turn(WHO))
            if turn is None:
                return msgspec.structs.replace(start, after=after), _NO_TURN
            try:
                page = await self._calls.page(turn, start.since, after)
            except CannotTell as exc:
                if exc.retry_after is not None and await scope.wait(exc.retry_after):
                    continue
                # The name of a page that an earlier run has left behind may not be good any more.
                kept = msgspec.structs.replace(start, after=after if pages else None)
                return kept, Stop(str(exc), failed=exc.retry_after is None)
            pages += 1
            for order in page.orders:
                if order.live:
                    found.setdefault(references.split(order.reference)[0], {})[order.id] = order
            if page.next is None:
                return _Position(since=start.begun - OVERLAP, begun=start.begun), None
            after = page.next

    async def _judge_all(self, scope: Scope, found: Orders) -> tuple[list[Finding], Stop | None]:
        findings: list[Finding] = []
        in_doubt: Stop | None = None
        names = list(found)
        for first in range(0, len(names), _CHUNK):
            chunk = names[first : first + _CHUNK]
            for reference, known in (await self._ledger.known(chunk)).items():
                orders = tuple(found[reference].values())
                if not self._is_worth_asking(reference, orders, known):
                    finding = self._judge(reference, orders, known)
                else:
                    asked = await self._ask(scope, orders)
                    if isinstance(asked, Stop):
                        in_doubt = asked
                        continue
                    finding = await self._settle(scope, reference, asked)
                findings += [finding] if finding is not None else []
        return findings, in_doubt

    def _is_worth_asking(self, reference: str, orders: Sequence[Order], known: Known) -> bool:
        finding = self._judge(reference, orders, known)
        if finding is not None:
            return finding.kind != judging.UNKNOWN_ORDER
        return judging.is_suspicious(orders, known, provider=self._provider.name)

    def _judge(self, reference: str, orders: Sequence[Order], known: Known) -> Finding | None:
        provider = self._provider
        return judging.judge(reference, orders, known, provider=provider.name, guarantee=provider.guarantee)

    async def _ask(self, scope: Scope, orders: Sequence[Order]) -> Sequence[Order] | Stop:
        """Return the orders as they stand now: what a page said may have changed since."""
        if not self._provider.guarantee.can_be_asked:
            return orders
        asked: list[Order] = []
        for reference in sorted({order.reference for order in orders}):
            turn = await scope.turn(lambda: self._calls.turn(WHO))
            if turn is None:
                return _NO_TURN
            try:
                asked += await self._calls.find(turn, reference)
            except CannotTell as exc:
                return Stop(str(exc), failed=exc.retry_after is None)
        return asked

    async def _settle(self, scope: Scope, reference: str, orders: Sequence[Order]) -> Finding | None:
        """Judge by the latest record, and have a person asked, once for each finding."""
        while True:
            view = await self._ledger.load(reference)
            finding = self._judge(reference, orders, Known(record=view.record, done=view.done))
            if finding is None or view.record is None or scope.dry_run:
                return finding
            earlier = (await self._audits.known([finding])).get(finding.id)
            if earlier is not None and earlier.finding.done:
                return earlier.finding  # a person has been asked, whatever came of it
            change = judging.attention(view.record, finding, orders, now=view.now)
            if change is None:
                return finding
            try:
                await self._ledger.apply(change, before=view.record)
            except Stale:
                continue
            return msgspec.structs.replace(finding, done="needs_attention")


_NO_TURN = Stop("there was no time left for another call to the provider", failed=False)
