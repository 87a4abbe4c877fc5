"""What audits keep between their runs."""

import logging
from datetime import timedelta

import pytest
from arq.connections import ArqRedis
from prometheus_client import REGISTRY

from rewardpost import audits as module
from rewardpost.audits import Audits
from rewardpost.findings import Finding
from rewardpost.keys import Keys
from tests.voucherify_api import ago
from worker.reconcilers.protocol import Report, Scope
from worker.reconcilers.registry import Reconcilers


@pytest.fixture
def audits(redis: ArqRedis, keys: Keys) -> Audits:
    """The memory of an empty installation."""
    return Audits(redis, keys)


def finding(name: str, *, done: str = "") -> Finding:
    """Return a finding about a reward."""
    return Finding(kind="two_orders", reference=f"vfy-{name}", what="orders o1 and o2, both of them live", done=done)


async def test_a_finding_is_new_once(audits: Audits) -> None:
    """Seen again it stays the same one, with the time of its first sighting and what was done latest."""
    assert await audits.note([finding("r_1"), finding("r_2")]) == [finding("r_1"), finding("r_2")]
    (first,) = [each for each in await audits.findings() if each.finding.reference == "vfy-r_1"]
    assert await audits.note([finding("r_1", done="needs_attention"), finding("r_3")]) == [finding("r_3")]
    (again,) = [each for each in await audits.findings() if each.finding.reference == "vfy-r_1"]
    assert (again.first, again.finding.done) == (first.first, "needs_attention")
    assert again.latest > first.latest
    assert len(await audits.findings()) == 3
    assert set(await audits.known([finding("r_1"), finding("r_9")])) == {finding("r_1").id}


async def test_nothing_found_leaves_nothing(audits: Audits, redis: ArqRedis) -> None:
    """Not even an empty key."""
    assert await audits.note([]) == []
    assert (await audits.findings(), await redis.dbsize()) == ([], 0)


async def test_findings_expire(audits: Audits, redis: ArqRedis, keys: Keys, monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole key after the latest sighting, and each by itself after its own; then it is new again."""
    await audits.note([finding("r_1")])
    life = module.FINDING_LIFE // timedelta(milliseconds=1)
    assert life - 60_000 < await redis.pttl(keys.findings) <= life
    monkeypatch.setattr(module, "FINDING_LIFE", timedelta(0))
    assert await audits.findings() == []
    assert await audits.note([finding("r_1")]) == [finding("r_1")]


async def test_no_more_findings_are_kept_than_can_be_shown(audits: Audits, monkeypatch: pytest.MonkeyPatch) -> None:
    """The latest stay."""
    monkeypatch.setattr(module, "MOST_FINDINGS", 3)
    for number in range(5):
        await audits.note([finding(f"r_{number}")])
    assert [each.finding.reference for each in await audits.findings()] == ["vfy-r_4", "vfy-r_3", "vfy-r_2"]


async def test_positions_and_times_are_kept_apart(audits: Audits) -> None:
    """One for each audit and for each sender."""
    await audits.keep_position("voucherify", "here")
    await audits.keep_position("provider:karrio", "there")
    assert await audits.position("voucherify") == "here"
    assert await audits.position("sweep") is None
    at = ago(hours=1)
    await audits.note_heard("voucherify", at)
    assert (await audits.heard("voucherify"), await audits.heard("shipbob")) == (at, None)


def count(kind: str) -> float:
    """Return how many findings of a kind were counted."""
    return REGISTRY.get_sample_value("rewardpost_findings_total", {"kind": kind}) or 0.0


class Finds:
    """A reconciler that finds what it is told."""

    def __init__(self, report: Report) -> None:
        self.report = report
        self.scopes: list[Scope] = []

    async def run(self, scope: Scope) -> Report:
        """Find it."""
        self.scopes.append(scope)
        return self.report


async def test_on_schedule_a_finding_is_logged_and_counted_once(
    audits: Audits, caplog: pytest.LogCaptureFixture
) -> None:
    """And each run says why it did not come to its end; it may not take for ever."""
    part = Finds(Report(findings=(finding("r_1"),), failed="got 500", done=3))
    reconcilers = Reconcilers({"sweep": part}, audits)
    before = count("two_orders")
    with caplog.at_level(logging.INFO):
        await reconcilers.tick("sweep")
        await reconcilers.tick("sweep")
    assert count("two_orders") == before + 1
    events = [record.msg["event"] for record in caplog.records if isinstance(record.msg, dict)]
    assert events == ["audit_finding", "audit_failed", "audit_mended", "audit_failed", "audit_mended"]
    assert all(scope.is_bounded for scope in part.scopes)


async def test_a_dry_run_is_not_noted(audits: Audits) -> None:
    """It has changed nothing, and is as new the next time."""
    reconcilers = Reconcilers({"sweep": Finds(Report(findings=(finding("r_1"),)))}, audits)
    await reconcilers.run("sweep", Scope(dry_run=True))
    assert await audits.findings() == []
