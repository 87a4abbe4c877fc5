"""The verb `dead-letters` on a real server."""

import pytest

from cli.embedded_server import EmbeddedServer
from tests import seeding
from tests.shell import Shell, fresh


@pytest.fixture
def shell(server: EmbeddedServer) -> Shell:
    """The command on the session's server, which is empty."""
    return fresh(server.url)


def test_dead_letters_are_listed_and_filtered(shell: Shell) -> None:
    """Each has its id, code and reason; filters by code and by time."""
    first = seeding.dead_letter(shell.url, b"rubbish")
    second = seeding.dead_letter(shell.url, b"[]", code="not_an_object")
    assert [line.split("\t")[0] for line in shell.done("dead-letters", "list").splitlines()] == [first, second]
    assert shell.json("dead-letters", "list", "--reason", "not_an_object")["id"] == second
    assert shell.done("dead-letters", "list", "--since", "2100-01-01") == ""
    assert len(shell.done("dead-letters", "list", "--since", "2020-01-01").splitlines()) == 2


def test_dead_letter_is_shown_so_that_it_does_nothing(shell: Shell) -> None:
    """What a body holds is escaped in text, and comes as it was with --raw."""
    body = b'{"x": "\x1b[2J"}\n\xff second'
    letter = seeding.dead_letter(shell.url, body)
    printed = shell.done("dead-letters", "show", letter)
    assert "\x1b" not in printed
    assert '{"x": "\\x1b[2J"}\n\\xff second' in printed
    assert shell.call("dead-letters", "show", letter, "--raw").stdout_bytes == body
    assert shell.json("dead-letters", "show", letter)["code"] == "not_json"


def test_dead_letters_go_back_on_the_queue(shell: Shell) -> None:
    """A replayed one waits again and is a dead letter no more."""
    first = seeding.dead_letter(shell.url, b"rubbish")
    seeding.dead_letter(shell.url, b"[]", code="not_an_object")
    assert shell.done("dead-letters", "replay", first, "--dry-run") == f"{first}\n"
    assert shell.done("dead-letters", "replay", first) == "1 replayed\n"
    stats = shell.json("stats")
    assert (stats["dead_letters"], stats["queue"]["queued"]) == (1, 1)
    assert "there is no dead letter" in shell.refused("dead-letters", "replay", first)


def test_dead_letters_are_dropped_by_reason(shell: Shell) -> None:
    """Only those of the reason go, and none of them comes back to the queue."""
    for number in range(3):
        seeding.dead_letter(shell.url, b"rubbish %d" % number)
    seeding.dead_letter(shell.url, b"[]", code="not_an_object")
    assert shell.done("dead-letters", "discard", "--reason", "not_json") == "3 discarded\n"
    stats = shell.json("stats")
    assert (stats["dead_letters"], stats["queue"]["queued"]) == (1, 0)
    assert shell.done("dead-letters", "replay", "--all", "--yes") == "1 replayed\n"
