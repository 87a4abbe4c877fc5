"""The command as a real process: in a terminal, in a pipe, with a reader that goes away."""

import os
import pty
import re
import subprocess
import sys
from typing import Any

import pytest

from cli.embedded_server import EmbeddedServer
from rewardpost.states import State
from tests import seeding
from tests.shell import Shell, fresh


@pytest.fixture
def shell(server: EmbeddedServer) -> Shell:
    """The command on the session's server, which is empty."""
    return fresh(server.url)


def _process(shell: Shell, *arguments: str, **options: Any) -> "subprocess.Popen[bytes]":  # noqa: ANN401 - Popen's own
    environ = {"PATH": os.environ["PATH"], "TERM": "xterm-256color", "COLUMNS": "200", **shell.environ}
    return subprocess.Popen([sys.executable, "-m", "cli", *arguments], env=environ, **options)  # noqa: S603 - our own


def _in_a_terminal(shell: Shell, *arguments: str, typed: bytes = b"") -> tuple[int, str]:
    """Call the command in a terminal of its own and return its exit status and what a person saw."""
    master, slave = pty.openpty()
    process = _process(shell, *arguments, stdin=slave, stdout=slave, stderr=slave)
    os.close(slave)
    os.write(master, typed)
    seen = b""
    try:
        while chunk := os.read(master, 65536):
            seen += chunk
    except OSError:  # how Linux says that the last one has closed the other end
        pass
    finally:
        os.close(master)
    return process.wait(20), seen.decode()


def test_terminal_gets_colour_and_a_pipe_does_not(shell: Shell) -> None:
    """The same list is a table with headings in a terminal and bare lines in a pipe."""
    reference = seeding.reward(shell.url, "r_1")
    status, seen = _in_a_terminal(shell, "list")
    assert status == 0
    assert "\x1b[" in seen
    assert re.search(r"reference.*state.*article", seen)
    process = _process(shell, "list", stdout=subprocess.PIPE)
    piped, _ = process.communicate(timeout=20)
    assert b"\x1b" not in piped
    assert piped.startswith(f"{reference}\tsubmitted\tmug\t".encode())


def test_terminal_is_asked_before_many_are_dropped(shell: Shell) -> None:
    """A no leaves everything where it is; a yes does it."""
    for number in range(2):
        seeding.dead_letter(shell.url, b"rubbish %d" % number)
    status, seen = _in_a_terminal(shell, "dead-letters", "discard", "--all", typed=b"n\n")
    assert (status, "2 dead letters would be discarded. Go on?" in seen) == (1, True)
    assert shell.json("stats")["dead_letters"] == 2
    status, seen = _in_a_terminal(shell, "dead-letters", "discard", "--all", typed=b"y\n")
    assert (status, "2 discarded" in seen) == (0, True)


def test_reader_that_goes_away_is_no_fault_of_the_server(shell: Shell) -> None:
    """`list | head` ends quietly."""
    for number in range(50):
        seeding.reward(shell.url, f"r_{number}", State.RECEIVED)
    process = _process(shell, "list", "--json", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.close()
    _, said = process.communicate(timeout=20)
    assert said == b""
    assert process.returncode != 3


def test_help_is_quick_and_imports_little(shell: Shell) -> None:
    """`--help` imports neither arq nor aiohttp nor redis."""
    code = "import sys; from cli.__main__ import rewardpost; rewardpost(['--help'], standalone_mode=False);"
    code += " sys.exit(bool({'arq', 'aiohttp', 'redis', 'rich'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], env=shell.environ, capture_output=True, timeout=20, check=False)  # noqa: S603 - our own code
    assert done.returncode == 0
    assert b"dead-letters" in done.stdout
