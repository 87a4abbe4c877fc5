"""The Voucherify audit: redemptions and rollbacks whose webhook never came, taken in as if it had."""

from collections.abc import Sequence
from datetime import datetime, timedelta

import msgspec
from msgspec import Raw
from redis.asyncio import Redis

from rewardpost import metrics
from rewardpost.audits import Audits
from rewardpost.delivery import Delivery, delivery_id
from rewardpost.findings import Finding
from rewardpost.keys import Keys
from rewardpost.ledger import Ledger
from rewardpost.queue import Queue, Receipt
from worker import routing
from worker.providers.protocol import CannotTell
from worker.reconcilers import redemptions
from worker.reconcilers.protocol import Report, Scope, Stop, stopped
from worker.reconcilers.redemptions import Listed
from worker.voucherify_api import LAST_PAGE, PAGE, VoucherifyApi

BEFORE_INSTALLATION = timedelta(hours=1)
"""How long before the moment of installation the first run begins."""
LATE_QUEUE = timedelta(minutes=2)
"""Webhooks that have waited longer on the queue would be taken for missing ones."""
WHO = "audit:voucherify"
"""The name in the line of those that wait for a turn."""

_NAME = "voucherify"


class _Tally(msgspec.Struct, kw_only=True):
    """What a run has come to so far."""

    start: datetime
    latest: datetime | None = None
    """The time of the latest entry that was dealt with."""
    findings: list[Finding] = msgspec.field(default_factory=list)
    taken_in: int = 0
    checked: int = 0


class VoucherifyAudit:
    """Compares Voucherify's redemptions with the ledger, oldest first, from where the run before ended."""

    def __init__(
        self, api: VoucherifyApi | None, redis: Redis, keys: Keys, ledger: Ledger, audits: Audits, queue: Queue
    ) -> None:
        self._api = api
        self._redis = redis
        self._keys = keys
        self._ledger = ledger
        self._audits = audits
        self._queue = queue

    async def run(self, scope: Scope) -> Report:
        """Read all pages that there is time for; where to go on is kept after each of them."""
        if self._api is None:
            return Report(passed_over="VOUCHERIFY_APP_ID is not set")
        if scope.is_bounded and await self._is_behind():
            return Report(unfinished="webhooks wait on the queue, and would be taken for missing ones")
        tally = _Tally(start=await self._start(scope))
        stop = await self._read_on(self._api, scope, tally)
        report = Report(findings=tuple(tally.findings), done=tally.taken_in, checked=tally.checked)
        return stopped(report, stop)

    async def _is_behind(self) -> bool:
        depth = await self._queue.depth()
        return await self._queue.paused() is not None or depth.oldest_seconds > LATE_QUEUE.total_seconds()

    async def _start(self, scope: Scope) -> datetime:
        if scope.since is not None:
            return scope.since
        kept = await self._audits.position(_NAME)
        if kept is not None:
            return datetime.fromisoformat(kept)
        return (await self._audits.installed() or await self._audits.now()) - BEFORE_INSTALLATION

    async def _read_on(self, api: VoucherifyApi, scope: Scope, tally: _Tally) -> Stop | None:
        start, page = tally.start, 1
        while True:
            entries = await _page(api, scope, start, page)
            if isinstance(entries, Stop):
                return entries
            read = [redemptions.read(entry) for entry in entries]
            disorder = redemptions.disorder([each.at for each in read if each is not None], start, tally.latest)
            if disorder:
                return Stop(disorder, failed=True)
            is_last = await self._deal_with(scope, tally, read) or len(entries) < PAGE
            if scope.keeps_position:
                position = redemptions.next_start(tally.start, tally.latest, finished=is_last)
                await self._audits.keep_position(_NAME, position.isoformat())
            if is_last:
                return None
            page += 1
            if page > LAST_PAGE:
                following = redemptions.next_start(start, tally.latest, finished=False)
                if following <= start:
                    return Stop("Voucherify has more redemptions of the same time than can be read", failed=True)
                start, page = following, 1

    async def _deal_with(self, scope: Scope, tally: _Tally, read: Sequence[Listed | None]) -> bool:
        """Take in what is missing of a page; return whether what follows is too young."""
        ready, is_young = redemptions.old_enough(read, await self._audits.now())
        tally.checked += len(ready)
        listed = [each for each in ready if each is not None]
        if len(listed) < len(ready):
            what = "an entry of Voucherify's list of redemptions names none"
            tally.findings.append(Finding(kind="unreadable_redemption", reference="", what=what))
        known = await self._ledger.known([each.reference for each in listed])
        for each, which in redemptions.missing(listed, known):
            finding = redemptions.finding(each, which, known[each.reference])
            stored = await self._take_in(redemptions.body(each, which), dry_run=scope.dry_run)
            if stored and finding is not None:
                done = "" if scope.dry_run else "taken in"
                tally.findings.append(msgspec.structs.replace(finding, done=done))
                tally.taken_in += 1
        times = [each.at for each in listed if each.at is not None]
        tally.latest = max([*times, *([tally.latest] if tally.latest is not None else [])], default=None)
        return is_young

    async def _take_in(self, body: bytes, *, dry_run: bool) -> bool:
        """Store a delivery as the door does; False where it has been stored before, whatever became of it."""
        id_, keys = delivery_id(body), self._keys
        if await self._redis.exists(keys.dead_letter(id_), keys.delivery(id_), keys.job(keys.delivery_job(id_))):
            return False
        if dry_run:
            return True
        now = await self._audits.now()
        delivery = Delivery(id=id_, source=routing.AUDIT, received_at=now, body=body)
        is_stored = await self._queue.store(delivery) is Receipt.STORED
        metrics.TAKEN_IN.inc(is_stored)
        return is_stored


async def _page(api: VoucherifyApi, scope: Scope, start: datetime, page: int) -> Sequence[Raw] | Stop:
    while True:
        turn = await scope.turn(lambda: api.turn(WHO))
        if turn is None:
            return Stop("there was no time left for another call to Voucherify", failed=False)
        try:
            return await api.redemptions(turn, start, page)
        except CannotTell as exc:
            if exc.retry_after is None:
                return Stop(str(exc), failed=True)
            if not await scope.wait(exc.retry_after):
                return Stop(str(exc), failed=False)
