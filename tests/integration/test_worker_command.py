"""The worker as a process: by its own command and by arq's, how it starts, waits, refuses to, and ends."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from cli.embedded_server import EmbeddedServer

PATIENCE = 20
OWN = [sys.executable, "-m", "worker"]
ARQ = [str(Path(sys.executable).with_name("arq")), "worker.WorkerSettings"]


def environ(server: EmbeddedServer, **changes: str) -> dict[str, str]:
    """Return the environment of a worker on this server."""
    return {
        "PATH": os.environ["PATH"],
        "REDIS_URL": server.url,
        "WORKER_HOST": "127.0.0.1",
        "WORKER_PORT": "0",
        **changes,
    }


class Started:
    """A worker's process and what it logs."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process

    def line(self, event: str) -> dict[str, Any]:
        """Wait for a line with this event."""
        assert self.process.stdout is not None
        for text in self.process.stdout:
            found: dict[str, Any] = json.loads(text)
            if found["event"] == event:
                return found
        raise AssertionError(f"expected a line {event}, the process has ended")

    def ended(self, number: signal.Signals) -> int:
        """Send a signal and return the exit status."""
        self.process.send_signal(number)
        return self.process.wait(PATIENCE)


@contextmanager
def running(command: list[str], environment: dict[str, str]) -> Iterator[Started]:
    """Run a worker as long as the context lasts."""
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603 - our own module, or arq
        try:
            yield Started(process)
        finally:
            process.kill()


def refused(command: list[str], environment: dict[str, str]) -> "subprocess.CompletedProcess[str]":
    """Run a worker that is to end by itself."""
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PATIENCE, check=False)  # noqa: S603 - the same


def status(port: int, path: str) -> int:
    """Return the status of one of the health routes."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=PATIENCE) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as exc:
        with exc:
            return exc.code


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("command", [OWN, ARQ], ids=["own", "arq"])
def test_starts_is_ready_and_ends(server: EmbeddedServer, command: list[str], number: signal.Signals) -> None:
    """Both commands give the same worker: it serves its health routes, and ends with 0 when it is told to."""
    with running(command, environ(server)) as worker:
        port = worker.line("worker_probes_opened")["port"]
        worker.line("worker_started")
        assert (status(port, "/livez"), status(port, "/readyz"), status(port, "/metrics")) == (200, 200, 200)
        assert worker.ended(number) == 0


def test_arqs_own_check_finds_the_worker(own_server: EmbeddedServer) -> None:
    """`arq --check` says 1 while no worker runs and 0 while one does."""
    check = [*ARQ, "--check"]
    assert refused(check, environ(own_server)).returncode == 1
    with running(ARQ, environ(own_server)) as worker:
        worker.line("worker_started")
        deadline = time.monotonic() + PATIENCE
        while refused(check, environ(own_server)).returncode != 0:
            assert time.monotonic() < deadline


def test_waits_for_a_server_that_is_away_at_the_start(own_server: EmbeddedServer) -> None:
    """It starts, is not ready, and becomes ready by itself once Redis is there."""
    own_server.kill()
    with running(OWN, environ(own_server)) as worker:
        port = worker.line("worker_probes_opened")["port"]
        assert (status(port, "/livez"), status(port, "/readyz")) == (200, 503)
        own_server.start()
        worker.line("worker_started")
        assert status(port, "/readyz") == 200
        assert worker.ended(signal.SIGTERM) == 0


def test_ends_while_it_waits_for_the_server(own_server: EmbeddedServer) -> None:
    """A worker that has never reached Redis obeys all the same."""
    own_server.kill()
    with running(OWN, environ(own_server)) as worker:
        worker.line("worker_probes_opened")
        assert worker.ended(signal.SIGTERM) == 0


def test_ends_with_0_when_the_server_has_gone(own_server: EmbeddedServer) -> None:
    """Being told to end while Redis is away is no failure."""
    with running(OWN, environ(own_server)) as worker:
        worker.line("worker_started")
        own_server.kill()
        worker.line("redis_out_of_reach")
        assert worker.ended(signal.SIGTERM) == 0


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"WORKER_MAX_JOBS": "many"}, "WORKER_MAX_JOBS"),
        ({"PROVIDER": "pigeon"}, "PROVIDER"),
        ({"REDIS_URL": "redis+sentinel://nobody"}, "REDIS_URL"),
    ],
)
def test_a_wrong_setting_ends_it_at_once(server: EmbeddedServer, changes: dict[str, str], named: str) -> None:
    """The process ends with 2 and one line that names the variable; arq's command says the same."""
    ended = refused(OWN, environ(server, **changes))
    assert (ended.returncode, len(ended.stderr.splitlines())) == (2, 1)
    assert named in ended.stderr
    by_arq = refused(ARQ, environ(server, **changes))
    assert by_arq.returncode != 0
    assert named in by_arq.stderr
    assert "Traceback" not in by_arq.stderr


def test_says_that_its_port_is_taken(server: EmbeddedServer) -> None:
    """A port in use ends the process with 1 and one line that names the setting and a way out."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ended = refused(OWN, environ(server, WORKER_PORT=str(taken.getsockname()[1])))
    assert (ended.returncode, len(ended.stderr.splitlines())) == (1, 1)
    assert "WORKER_PORT" in ended.stderr
    assert "0 takes a free one" in ended.stderr
