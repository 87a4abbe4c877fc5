"""All reconcilers of one process, by name, and what every run of one leaves behind."""

from collections.abc import Mapping, Sequence
from datetime import timedelta

import aiohttp
from redis.asyncio import Redis

from rewardpost import logs, metrics
from rewardpost.audits import Audits
from rewardpost.findings import Finding
from rewardpost.keys import Keys
from rewardpost.ledger import Ledger
from rewardpost.limits import Limits, provider_limit, voucherify_limit
from rewardpost.missing_jobs import MissingJobs
from rewardpost.queue import Queue
from rewardpost.settings import Settings
from worker import voucherify_api
from worker.budget import SharedBudget
from worker.provider_calls import ProviderCalls
from worker.providers.protocol import Provider
from worker.reconcilers.protocol import Reconciler, Report, Scope
from worker.reconcilers.provider_audit import ProviderAudit
from worker.reconcilers.silence import Silence
from worker.reconcilers.sweep import Sweep
from worker.reconcilers.voucherify_audit import VoucherifyAudit

LONGEST: Mapping[str, timedelta] = {
    "sweep": timedelta(seconds=20),
    "provider": timedelta(minutes=10),
    "voucherify": timedelta(minutes=4),
    "silence": timedelta(seconds=20),
}
"""The names in the order in which a person sees them, and how long a run on schedule may take."""

log = logs.get(__name__)


class Reconcilers:
    """Runs reconcilers, and keeps and counts what they find."""

    def __init__(self, parts: Mapping[str, Reconciler], audits: Audits) -> None:
        self._parts = parts
        self._audits = audits

    async def tick(self, name: str) -> Report:
        """Run a reconciler on schedule, and log what it has come to; a finding is logged when it is new."""
        report, fresh = await self._run(name, Scope(longest=LONGEST[name]))
        for finding in fresh:
            log.warning(
                "audit_finding",
                kind=finding.kind,
                reference=finding.reference,
                reason=finding.what,
                outcome=finding.done,
            )
        if report.failed:
            log.warning("audit_failed", what=name, reason=report.failed)
        if report.unfinished:
            log.info("audit_unfinished", what=name, reason=report.unfinished, count=report.checked)
        if report.done:
            log.warning("audit_mended", what=name, count=report.done)
        return report

    async def run(self, name: str, scope: Scope) -> Report:
        """Run a reconciler for somebody who reads the report; a dry run leaves nothing behind.

        Raises:
            redis.exceptions.RedisError: the server did not answer.
        """
        report, _ = await self._run(name, scope)
        return report

    async def _run(self, name: str, scope: Scope) -> tuple[Report, Sequence[Finding]]:
        report = await self._parts[name].run(scope)
        if scope.dry_run:
            return report, ()
        fresh = await self._audits.note(report.findings)
        for finding in fresh:
            metrics.FINDINGS.labels(finding.kind).inc()
        return report, fresh


def build(
    settings: Settings, redis: Redis, keys: Keys, session: aiohttp.ClientSession, provider: Provider
) -> Reconcilers:
    """Return all reconcilers; the session and the provider stay the caller's."""
    audits, queue = Audits(redis, keys), Queue(redis, keys)
    ledger, limits = Ledger(redis, keys, retention=settings.retention), Limits(redis, keys)
    api = voucherify_api.build(settings, session, SharedBudget(limits, voucherify_limit(settings)))
    calls = ProviderCalls(provider, SharedBudget(limits, provider_limit(settings, provider.call_timeout)))
    return Reconcilers(
        {
            "sweep": Sweep(MissingJobs(redis, keys), audits, provider, poll=settings.provider_poll),
            "provider": ProviderAudit(calls, ledger, audits),
            "voucherify": VoucherifyAudit(api, redis, keys, ledger, audits, queue),
            "silence": Silence(audits, queue, longest=settings.voucherify_silence),
        },
        audits,
    )
