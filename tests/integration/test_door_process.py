"""The door as a process: how it starts, how it refuses to, and how it ends."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from cli.embedded_server import EmbeddedServer

PATIENCE = 10


def _environ(server: EmbeddedServer, **changes: str) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "REDIS_URL": server.url,
        "INGEST_HOST": "127.0.0.1",
        "INGEST_PORT": "0",
        "VOUCHERIFY_ALLOW_UNSIGNED": "1",
        **changes,
    }


@contextmanager
def running(environ: dict[str, str]) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    """Run the door and wait for its opening line."""
    command = [sys.executable, "-m", "ingest"]
    with subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603 - our own module
        try:
            assert process.stdout is not None
            line = json.loads(process.stdout.readline())
            yield process, line
        finally:
            process.kill()


def _refused(environ: dict[str, str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "ingest"]
    return subprocess.run(command, env=environ, capture_output=True, text=True, timeout=PATIENCE, check=False)  # noqa: S603 - our own module


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_starts_answers_and_ends(server: EmbeddedServer, number: signal.Signals) -> None:
    """It says where it listens, takes a webhook in, and ends with 0 when it is told to."""
    with running(_environ(server)) as (process, line):
        assert (line["event"], line["host"]) == ("door_opened", "127.0.0.1")
        url = f"http://127.0.0.1:{line['port']}/webhooks/voucherify"
        with urllib.request.urlopen(url, data=str(time.time()).encode(), timeout=PATIENCE) as answer:
            assert (answer.status, json.load(answer)["status"]) == (202, "stored")
        process.send_signal(number)
        assert process.wait(PATIENCE) == 0


def test_ends_soon_while_redis_hangs(own_server: EmbeddedServer) -> None:
    """A frozen Redis does not keep the process from ending in time."""
    with running(_environ(own_server)) as (process, _):
        own_server.freeze()
        before = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0
        assert time.monotonic() - before < 5


def test_says_that_its_address_is_taken(server: EmbeddedServer) -> None:
    """A port in use ends the process with 1 and one line that names the setting."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ended = _refused(_environ(server, INGEST_PORT=str(taken.getsockname()[1])))
    assert ended.returncode == 1
    assert "INGEST_PORT" in ended.stderr
    assert len(ended.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"VOUCHERIFY_ALLOW_UNSIGNED": "0"}, ["VOUCHERIFY_WEBHOOK_SECRETS", "VOUCHERIFY_ALLOW_UNSIGNED"]),
        ({"INGEST_MAX_BODY_BYTES": "lots"}, ["INGEST_MAX_BODY_BYTES"]),
        ({"REDIS_URL": "redis+sentinel://nobody"}, ["REDIS_URL"]),
    ],
)
def test_a_wrong_setting_ends_it_at_once(server: EmbeddedServer, changes: dict[str, str], named: list[str]) -> None:
    """A wrong or missing setting ends the process with 2 and one line that names it."""
    ended = _refused(_environ(server, **changes))
    assert ended.returncode == 2
    assert all(name in ended.stderr for name in named)
    assert len(ended.stderr.splitlines()) == 1


def _post(port: int, body: bytes) -> int:
    url = f"http://127.0.0.1:{port}/webhooks/voucherify"
    with urllib.request.urlopen(url, data=body, timeout=PATIENCE) as answer:
        return int(answer.status)


def test_several_processes_share_a_port_and_their_metrics(server: EmbeddedServer) -> None:
    """Behind one port any of them answers, all count together, and all end with the first."""
    with running(_environ(server, INGEST_PROCESSES="3")) as (process, line):
        for number in range(20):
            assert _post(line["port"], f"{time.time()} {number}".encode()) == 202
        with urllib.request.urlopen(f"http://127.0.0.1:{line['port']}/metrics", timeout=PATIENCE) as answer:
            assert 'rewardpost_webhooks_total{answer="stored"} 20.0' in answer.read().decode()
        process.terminate()
        assert process.wait(PATIENCE) == 0
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", line["port"]), timeout=PATIENCE)


def _children(process: subprocess.Popen[str]) -> list[int]:
    return [int(pid) for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text("ascii").split()]


def _sockets(pid: int) -> int:
    return sum(str(path.readlink()).startswith("socket:") for path in Path(f"/proc/{pid}/fd").iterdir())


@pytest.mark.skipif(not Path("/proc").exists(), reason="looks at the child processes in /proc")
def test_each_of_several_processes_gets_connections(server: EmbeddedServer) -> None:
    """The kernel spreads them: no process takes all, none is left out, and each connection is somebody's."""
    with running(_environ(server, INGEST_PROCESSES="2")) as (process, line), ExitStack() as stack:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["port"] == line["port"]
        children = _children(process)
        before = [_sockets(pid) for pid in children]
        for _ in range(64):
            stack.enter_context(socket.create_connection(("127.0.0.1", line["port"]), timeout=PATIENCE))
        deadline = time.monotonic() + PATIENCE
        while sum(taken := [_sockets(pid) - count for pid, count in zip(children, before, strict=True)]) < 64:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert min(taken) > 0


@pytest.mark.skipif(not Path("/proc").exists(), reason="finds the child processes in /proc")
def test_no_process_outlives_the_one_that_started_it(server: EmbeddedServer) -> None:
    """When that one is killed the others end by themselves, and the port is free for the next door."""
    with running(_environ(server, INGEST_PROCESSES="2")) as (process, line):
        children = _children(process)
        process.kill()
        deadline = time.monotonic() + PATIENCE
        while any(Path(f"/proc/{pid}/fd/0").exists() for pid in children):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        socket.create_server(("127.0.0.1", line["port"])).close()


@pytest.mark.parametrize("first", ["1", "2"])
@pytest.mark.parametrize("second", ["1", "2"])
def test_no_door_joins_another_ones_port(server: EmbeddedServer, first: str, second: str) -> None:
    """Sharing is for the processes of one door: a second door is refused, however many they are."""
    with running(_environ(server, INGEST_PROCESSES=first)) as (_, line):
        ended = _refused(_environ(server, INGEST_PROCESSES=second, INGEST_PORT=str(line["port"])))
    assert ended.returncode == 1
    assert "INGEST_PORT" in ended.stderr


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="needs IPv6")
def test_several_processes_share_a_port_of_ipv6(server: EmbeddedServer) -> None:
    """An address of IPv6 is shared like any other."""
    with running(_environ(server, INGEST_PROCESSES="2", INGEST_HOST="::1")) as (process, line):
        url = f"http://[::1]:{line['port']}/livez"
        with urllib.request.urlopen(url, timeout=PATIENCE) as answer:
            assert answer.status == 200
        process.terminate()
        assert process.wait(PATIENCE) == 0


def test_several_processes_refuse_a_wrong_setting_once(server: EmbeddedServer) -> None:
    """What is wrong for all of them is said by one."""
    ended = _refused(_environ(server, INGEST_PROCESSES="3", VOUCHERIFY_ALLOW_UNSIGNED="0"))
    assert (ended.returncode, len(ended.stderr.splitlines())) == (2, 1)


@pytest.mark.skipif(not Path("/proc").exists(), reason="finds the child processes in /proc")
def test_several_processes_end_together(server: EmbeddedServer) -> None:
    """When one of them dies the whole door ends with an error, for whatever restarts it."""
    with running(_environ(server, INGEST_PROCESSES="2")) as (process, _):
        children = _children(process)
        assert len(children) == 2
        os.kill(children[0], signal.SIGKILL)
        assert process.wait(PATIENCE) == 1
        assert not Path(f"/proc/{children[1]}").exists()
