"""Which variables a verb goes by, and what a running `dev` leaves for the others."""

import json
import os
from pathlib import Path

import pytest

from cli import house, surroundings


def test_note_stands_in_where_no_server_is_named(tmp_path: Path) -> None:
    """A running `dev` gives its variables to verbs in its folder, but what is set wins."""
    surroundings.write_note(tmp_path, {"REDIS_URL": "unix:///x", "INGEST_PORT": "8081"})
    found = surroundings.environment({"INGEST_PORT": "9999", "REDIS_URL": ""}, tmp_path)
    assert found == {"REDIS_URL": "unix:///x", "INGEST_PORT": "9999"}
    assert (tmp_path / "dev.json").stat().st_mode & 0o077 == 0


def test_note_is_not_read_where_a_server_is_named(tmp_path: Path) -> None:
    """With REDIS_URL set, nothing of a `dev` is mixed in."""
    surroundings.write_note(tmp_path, {"REDIS_URL": "unix:///x", "PROVIDER": "manual"})
    assert surroundings.environment({"REDIS_URL": "redis://a"}, tmp_path) == {"REDIS_URL": "redis://a"}


def test_note_of_a_killed_dev_is_not_read(tmp_path: Path) -> None:
    """A `dev` that was killed could not take its word back; nobody believes it."""
    pid = os.posix_spawn("/bin/true", ["true"], {})
    os.waitpid(pid, 0)
    (tmp_path / "dev.json").write_text(json.dumps({"pid": pid, "environment": {"REDIS_URL": "unix:///x"}}))
    assert surroundings.environment({}, tmp_path) == {}


@pytest.mark.parametrize("text", ["", "[]", "{}", "no json", '{"pid": 1}'])
def test_broken_note_is_no_note(tmp_path: Path, text: str) -> None:
    """A note that cannot be read never stops a verb."""
    (tmp_path / "dev.json").write_text(text)
    assert surroundings.read_note(tmp_path) == {}


def test_own_variables_win_in_dev_but_for_the_server() -> None:
    """`dev` leaves alone what the user has set; the server is always its own."""
    chosen = house.invented(redis_url="unix:///ours")
    own = {"REDIS_URL": "redis://theirs", "SHIP_SINCE": "2026-01-01T00:00:00Z", "WORKER_PORT": "", "INGEST_PORT": "0"}
    variables = house.variables_of(own, chosen)
    assert variables["REDIS_URL"] == "unix:///ours"
    assert variables["SHIP_SINCE"] == "2026-01-01T00:00:00Z"
    assert variables["WORKER_PORT"] == ""
    assert int(variables["INGEST_PORT"]) > 0


def test_secrets_of_the_user_are_not_noted() -> None:
    """What `dev` leaves on disk for other verbs holds no secret but its own."""
    chosen = house.invented(redis_url="unix:///ours")
    own = {"VOUCHERIFY_WEBHOOK_SECRETS": "theirs", "VOUCHERIFY_APP_TOKEN": "theirs", "KEY_PREFIX": "mine", "HOME": "/h"}
    noted = house.noted(house.variables_of(own, chosen), chosen)
    assert "theirs" not in noted.values()
    assert "HOME" not in noted
    assert (noted["REDIS_URL"], noted["KEY_PREFIX"]) == ("unix:///ours", "mine")
