"""The verb `audit` on a real server, with Voucherify's API beside it."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import redis

from cli.embedded_server import EmbeddedServer
from rewardpost.keys import DEFAULT_PREFIX, Keys
from rewardpost.settings import Settings
from rewardpost.states import State
from tests import seeding
from tests.auditing import House
from tests.builders import body, changed, delivery, rewarded
from tests.misbehaviours import answers
from tests.shell import Shell, fresh
from tests.voucherify_api import VoucherifyServer, ago, running_beside
from worker.reconcilers.registry import LONGEST

KEYS = Keys(DEFAULT_PREFIX)
NAME = "r_0000000000000001"
REFERENCE = f"vfy-{NAME}"


@pytest.fixture
def shell(server: EmbeddedServer) -> Shell:
    """The command on the session's server, which is empty."""
    return fresh(server.url)


@pytest.fixture
def voucherify() -> Iterator[VoucherifyServer]:
    """Voucherify, in a thread of its own."""
    with running_beside() as server:
        yield server


def installed(shell: Shell, at: datetime) -> None:
    """Note that the installation is so old."""
    with redis.Redis.from_url(shell.url) as client:
        client.set(KEYS.installed_at, at.isoformat())


def audited(shell: Shell, voucherify: VoucherifyServer, *arguments: str, **environ: str) -> Any:  # noqa: ANN401 - any JSON
    """Audit, and return what was printed as JSON; every part could be looked at."""
    environ = {**voucherify.environment, "VOUCHERIFY_CALLS_PER_MINUTE": "100000", **environ}
    return json.loads(shell.done("audit", "--json", *arguments, **environ))


def dump(client: redis.Redis) -> dict[bytes, object]:
    """Return all that is there, but for how the limit of the calls stands."""
    found = {key: client.dump(key) for key in client.scan_iter(count=1000)}
    return {key: value for key, value in found.items() if b":limit:" not in key and b":calls:" not in key}


def failed(shell: Shell, voucherify: VoucherifyServer, **environ: str) -> str:
    """Audit where a part cannot be looked at, and return what is said on standard error."""
    result = shell.call("audit", **{**voucherify.environment, **environ})
    assert result.exit_code == 1
    return result.stderr


def opened(shell: Shell) -> list[str]:
    """Open what lies on the queue, as a worker does."""
    return seeding.at(shell.url, lambda client: House(client, KEYS, Settings()).open_all())


def test_an_audit_tells_and_mends_what_is_amiss(shell: Shell, voucherify: VoucherifyServer) -> None:
    """A job that was lost, a webhook that never came; nothing is left to be done by a second one."""
    installed(shell, ago(hours=1))
    reward = seeding.reward(shell.url, "r_7", State.READY)
    with redis.Redis.from_url(shell.url) as client:
        client.delete(KEYS.queue)
    voucherify.redeem(NAME, ago(minutes=30))
    found = audited(shell, voucherify)
    assert (found["sweep"], found["taken_in"], found["failed"]) == (1, 1, {})
    assert [(each["kind"], each["reference"], each["done"]) for each in found["findings"]] == [
        ("missed_reward", REFERENCE, "taken in")
    ]
    assert found["checked"] == {"sweep": 1, "provider": 0, "voucherify": 1, "silence": 1}
    assert found["passed_over"] == {"provider": "the provider manual lists no orders"}
    assert opened(shell) == ["opened"]
    assert shell.state(REFERENCE) == "received"
    assert shell.state(reward) == "ready"
    again = audited(shell, voucherify)
    assert (again["sweep"], again["taken_in"], again["findings"]) == (0, 0, [])


def test_a_dry_run_mends_nothing(shell: Shell, voucherify: VoucherifyServer) -> None:
    """It tells the same, and the server is as before."""
    installed(shell, ago(hours=1))
    seeding.reward(shell.url, "r_7", State.READY)
    voucherify.redeem(NAME, ago(minutes=30))
    with redis.Redis.from_url(shell.url) as client:
        client.delete(KEYS.queue)
        before = dump(client)
        found = audited(shell, voucherify, "--dry-run")
        assert (found["sweep"], found["taken_in"], found["findings"][0]["done"]) == (1, 1, "")
        assert dump(client) == before


def test_after_the_loss_of_everything_an_audit_brings_the_rewards_back(
    shell: Shell, voucherify: VoucherifyServer
) -> None:
    """All since a time are there again, marked as found by an audit, so that none is sent a second time by itself."""
    names = [f"r_{number:04}" for number in range(120)]
    start = ago(days=20)
    for number, name in enumerate(names):
        voucherify.redeem(name, start + timedelta(hours=number))
    voucherify.roll_back(names[0], ago(days=1))
    installed(shell, ago(days=30))
    for name in names[:2]:
        content = body(changed(rewarded(), "data.redemption.id", name))
        seeding.at(shell.url, lambda client, each=content: House(client, KEYS).deliver(delivery(each)))  # type: ignore[misc] # mypy infers no type for its default
    assert opened(shell) == ["opened", "opened"]

    fresh(shell.url)
    installed(shell, datetime.now(UTC))
    assert audited(shell, voucherify)["taken_in"] == 0  # long before the installation
    found = audited(shell, voucherify, "--since", ago(days=21).isoformat())
    assert found["taken_in"] == len(names)
    assert len(opened(shell)) == len(names) + 1  # the rollback too leaves its mark
    listed = shell.done("list", "--json", "--state", "received")
    records = [json.loads(line) for line in listed.splitlines()]
    assert {record["reference"] for record in records} == {f"vfy-{name}" for name in names[1:]}
    assert shell.state(f"vfy-{names[0]}") == "not_applicable"
    assert audited(shell, voucherify, "--since", ago(days=21).isoformat())["taken_in"] == 0


def test_a_pipe_gets_one_finding_a_line(shell: Shell, voucherify: VoucherifyServer) -> None:
    """Separated by tabs, and nothing else on standard output; the parts are told on standard error."""
    installed(shell, ago(hours=1))
    voucherify.redeem(NAME, ago(minutes=30))
    result = shell.call("audit", **voucherify.environment)
    assert result.exit_code == 0
    (line,) = result.stdout.splitlines()
    assert line.split("\t")[:2] == ["missed_reward", REFERENCE]
    assert line.endswith("taken in")
    assert [told.partition(":")[0] for told in result.stderr.splitlines()] == list(LONGEST)
    assert "passed over" in result.stderr


def test_a_terminal_is_told_nothing_but_this(shell: Shell, voucherify: VoucherifyServer) -> None:
    """In a process of its own nothing is logged beside it."""
    installed(shell, ago(days=9))
    voucherify.redeem(NAME, ago(minutes=30))
    result = subprocess.run(
        [sys.executable, "-m", "cli", "audit"],
        env={"PATH": os.environ["PATH"], **shell.environ, **voucherify.environment},
        capture_output=True,
        text=True,
        check=True,
    )
    assert [line.partition("\t")[0] for line in result.stdout.splitlines()] == ["missed_reward", "silence"]
    assert [line.partition(":")[0] for line in result.stderr.splitlines()] == list(LONGEST)


def test_what_is_not_configured_is_passed_over(shell: Shell) -> None:
    """Without credentials and before the first worker there is little to look at, and nothing wrong."""
    result = shell.call("audit")
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr.count("passed over") == 3


def test_a_part_that_cannot_be_looked_at_does_not_stop_the_others(shell: Shell, voucherify: VoucherifyServer) -> None:
    """It is named with the reason, and the exit status says so."""
    seeding.reward(shell.url, "r_7", State.READY)
    installed(shell, ago(days=9))
    voucherify.misbehaviours = [answers(500)]
    refused = failed(shell, voucherify)
    assert "voucherify: 0 webhook(s) taken in" in refused
    assert "could not go on: expected 200" in refused
    assert "silence: 1 finding(s)" in refused


def test_wrong_credentials_are_told(shell: Shell, voucherify: VoucherifyServer) -> None:
    """By the names of their settings."""
    installed(shell, ago(hours=1))
    told = failed(shell, voucherify, VOUCHERIFY_APP_TOKEN="wrong")
    assert "VOUCHERIFY_APP_ID and VOUCHERIFY_APP_TOKEN" in told
    assert "wrong" not in told


def test_the_same_budget_holds_as_for_the_workers(shell: Shell, voucherify: VoucherifyServer) -> None:
    """The command waits for its turns: four pages at sixty calls a minute, some of which may be early."""
    installed(shell, ago(hours=1))
    for number in range(350):
        voucherify.redeem(f"r_{number:04}", ago(minutes=50) + timedelta(seconds=number))
    began = time.monotonic()
    found = audited(shell, voucherify, VOUCHERIFY_CALLS_PER_MINUTE="60")
    assert (found["taken_in"], len(voucherify.asked)) == (350, 4)
    assert time.monotonic() - began > 1.5


def test_a_server_out_of_reach_and_a_wrong_time_have_statuses_of_their_own(shell: Shell) -> None:
    """As with every verb."""
    assert "out of reach" in shell.refused("audit", status=3, REDIS_URL="redis://127.0.0.1:1")
    assert "ISO 8601" in shell.refused("audit", "--since", "yesterday", status=2)
    assert "PROVIDER" in shell.refused("audit", status=2, PROVIDER="pigeon")
