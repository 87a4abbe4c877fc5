"""What `doctor` makes of what it finds."""

import pytest

from cli import checks


@pytest.mark.parametrize(
    ("info", "ok"),
    [
        ({"redis_version": "7.0.15"}, True),
        ({"redis_version": "10.0.1"}, True),
        ({"redis_version": "6.2.14"}, False),
        ({}, False),
        ({"redis_version": "7.2.4", "valkey_version": "9.0.0"}, True),
    ],
)
def test_doctor_wants_redis_7_or_valkey(info: dict[str, object], *, ok: bool) -> None:
    """An older server is a problem, and what to do is said."""
    finding = checks.version(info)
    assert (finding.ok, bool(finding.todo)) == (ok, not ok)


@pytest.mark.parametrize(("ahead", "ok"), [(0.4, True), (-1.9, True), (2.1, False), (-3600.0, False)])
def test_doctor_compares_the_clocks(ahead: float, *, ok: bool) -> None:
    """Two seconds either way are the most that is right."""
    assert checks.clock(ahead).ok is ok


def test_doctor_names_each_setting_that_loses_webhooks() -> None:
    """A server that syncs once a second is told how to sync always."""
    found = {"appendonly": "yes", "appendfsync": "everysec", "maxmemory-policy": "noeviction"}
    wrong = [finding for finding in checks.kept(found, trust=False) if not finding.ok]
    assert [finding.what for finding in wrong] == ["appendfsync is everysec, expected always"]
    assert "CONFIG SET appendfsync always" in wrong[0].todo


@pytest.mark.parametrize(("used", "most", "ok"), [(900, 0, True), (700, 1000, True), (900, 1000, False)])
def test_doctor_warns_before_the_server_is_full(used: int, most: int, *, ok: bool) -> None:
    """More than four fifths of the memory is a problem; without a limit there is none."""
    assert checks.memory(used, most).ok is ok
