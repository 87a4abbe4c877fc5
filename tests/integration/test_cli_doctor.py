"""The verb `doctor` on sound and unsound installations."""

import json

import pytest
import redis

from cli.embedded_server import EmbeddedServer
from rewardpost.keys import DEFAULT_PREFIX, Keys
from rewardpost.queue import Queue
from tests import seeding
from tests.shell import Shell, fresh

KEYS = Keys(DEFAULT_PREFIX)


@pytest.fixture
def shell(server: EmbeddedServer) -> Shell:
    """The command on the session's server, which is empty."""
    return fresh(server.url)


def test_doctor_is_content_with_a_sound_installation(shell: Shell) -> None:
    """With a secret, a worker and a durable server nothing is wrong, and no secret is printed."""
    seeding.at(shell.url, lambda client: Queue(client, KEYS).sign_of_life("worker-1"))
    printed = shell.done("doctor", VOUCHERIFY_WEBHOOK_SECRETS="s3cret,older")
    assert "s3cret" not in printed
    assert "VOUCHERIFY_WEBHOOK_SECRETS" in printed
    assert "problem" not in printed


def test_doctor_names_what_is_wrong(shell: Shell) -> None:
    """No secret and no worker are two problems, each with what to do."""
    result = shell.call("doctor", "--json")
    assert result.exit_code == 1
    report = json.loads(result.stdout)
    assert report["settings"]["PROVIDER"] == "manual"
    wrong = {finding["area"]: finding for finding in report["findings"] if not finding["ok"]}
    assert set(wrong) == {"webhooks", "work"}
    assert all(finding["todo"] for finding in wrong.values())


def test_doctor_sees_a_server_that_loses_webhooks(own_server: EmbeddedServer) -> None:
    """A server that syncs once a second is a problem."""
    with redis.Redis.from_url(own_server.url) as client:
        client.config_set("appendfsync", "everysec")
    assert "appendfsync is everysec, expected always" in Shell(own_server.url).call("doctor").stdout


def test_doctor_advises_a_hold_before_the_first_parcel(shell: Shell) -> None:
    """With a real provider and nothing dispatched yet, a hold is suggested; a hold in force is told."""
    real = {
        "PROVIDER": "webhook",
        "WEBHOOK_OUT_URL": "http://127.0.0.1:1/",
        "WEBHOOK_OUT_SECRET": "whsec_dGVzdHNlY3JldA==",
    }
    result = shell.call("doctor", **real)
    assert "rewardpost hold everything" in result.stdout
    assert "WEBHOOK_OUT_URL is out of reach" in result.stdout
    shell.done("hold", "provider", "webhook", "--reason", "look first")
    assert "provider webhook is held: look first" in shell.call("doctor", **real).stdout
