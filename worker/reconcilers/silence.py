"""Silence: a warning when no webhook of Voucherify's has come for long, for it switches off what fails for a day."""

from datetime import timedelta

from rewardpost.audits import Audits
from rewardpost.findings import Finding
from rewardpost.queue import Queue
from worker.reconcilers.protocol import Report, Scope

VOUCHERIFY = "voucherify"
"""The source of Voucherify's webhooks."""


class Silence:
    """Watches when Voucherify was last heard."""

    def __init__(self, audits: Audits, queue: Queue, *, longest: timedelta) -> None:
        self._audits = audits
        self._queue = queue
        self._longest = longest

    async def run(self, scope: Scope) -> Report:
        """Compare the time since the latest webhook, or since the installation, with the longest that is expected."""
        del scope
        if await self._queue.paused() is not None:
            return Report(passed_over="the queue is paused, so that nobody opens what comes")
        heard, installed = await self._audits.heard(VOUCHERIFY), await self._audits.installed()
        if heard is None and installed is None:
            return Report(passed_over="no worker has run here yet")
        since = max(moment for moment in (heard, installed) if moment is not None)
        if await self._audits.now() - since <= self._longest:
            return Report(checked=1)
        what = f"no webhook since {since:%Y-%m-%d %H:%M} UTC: see whether Voucherify has disabled it"
        return Report(checked=1, findings=(Finding(kind="silence", reference="", what=what),))
