"""`rewardpost dev` as a real process: the sample becomes a parcel, and nothing is left running, however it ends."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.dev_process import IN_TIME_SECONDS, Dev, below, running

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for processes in /proc")

REWARD = "vfy-r_0e2907cc52498573ee"
STARTED = "Ctrl-C stops everything."


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder with a path short enough for a Unix socket."""
    path = Path(tempfile.mkdtemp(prefix="rp-"))
    yield path
    shutil.rmtree(path)


@pytest.fixture
def devs() -> Iterator[list[Dev]]:
    """All that a test starts, and that must not outlive it."""
    started: list[Dev] = []
    yield started
    for dev in started:
        dev.destroy()


def test_sample_becomes_a_parcel_and_everything_ends(folder: Path, devs: list[Dev]) -> None:
    """From the command to the parcel in time; other verbs find it; Ctrl-C leaves nothing; a second start knows it."""
    devs.append(first := Dev(folder))
    printed = first.until(STARTED)
    assert time.monotonic() - first.started_at < IN_TIME_SECONDS
    for step in ("acknowledged", "queued", "opened", "ready", "submitted"):
        assert re.search(rf"^ +\d+\.\d+ s  {step}", printed, re.MULTILINE), printed
    assert "submitted     article star-th-bottle" in printed
    assert "Jack" not in printed
    assert first.json("show", REWARD)["article"] == "star-th-bottle"
    assert first.json("send", "--count", "100")["answers"] == {"duplicate": 100}
    assert first.json("stats")["fulfilments"]["submitted"] == 1
    status, seconds, left = first.end(signal.SIGINT)
    assert (status, left) == (0, set())
    assert seconds < IN_TIME_SECONDS
    assert "every process has ended" in first.until("every process has ended")

    devs.append(second := Dev(folder))
    printed = second.until(STARTED)
    assert "202 duplicate" in printed
    assert "submitted     article star-th-bottle" in printed
    assert second.json("stats")["fulfilments"]["submitted"] == 1
    second.call("shipped", REWARD, "--tracking", "T1")
    assert second.json("show", REWARD)["tracking"] == ["T1"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signal_to_the_group_ends_everything(folder: Path, devs: list[Dev], number: int) -> None:
    """A terminal signals the whole group: the end is the same."""
    devs.append(dev := Dev(folder))
    dev.until(STARTED)
    status, seconds, left = dev.end(number, group=True)
    assert (status, left) == (0, set())
    assert seconds < IN_TIME_SECONDS
    assert not (folder / "data" / "dev.json").exists()


def test_process_that_does_not_obey_is_ended_in_time(folder: Path, devs: list[Dev]) -> None:
    """A worker that hangs is killed, so that the end comes within five seconds all the same."""
    devs.append(dev := Dev(folder))
    dev.until(STARTED)
    os.kill(next(pid for pid, name in dev.names().items() if "-m worker" in name), signal.SIGSTOP)
    status, seconds, left = dev.end(signal.SIGINT)
    assert (status, left) == (0, set())
    assert seconds < IN_TIME_SECONDS


def test_second_signal_ends_it_at_once(folder: Path, devs: list[Dev]) -> None:
    """Whoever presses Ctrl-C again does not want to wait for what hangs."""
    devs.append(dev := Dev(folder))
    dev.until(STARTED)
    os.kill(next(pid for pid, name in dev.names().items() if "-m worker" in name), signal.SIGSTOP)
    dev.process.send_signal(signal.SIGINT)
    dev.until("stopping")
    status, seconds, left = dev.end(signal.SIGINT, family=2)
    assert (status, left) == (0, set())
    assert seconds < 2


def test_terminal_that_is_closed_leaves_nothing(folder: Path) -> None:
    """When nobody reads what it says any more, it goes on, and ends as always."""
    reader, writer = os.pipe()
    environ = {"PATH": os.environ["PATH"], "INGEST_PORT": "0", "WORKER_PORT": "0"}
    command = [sys.executable, "-m", "cli", "dev"]
    with subprocess.Popen(command, cwd=folder, env=environ, stdout=writer, stderr=writer) as process:  # noqa: S603 - our own command
        os.close(reader)
        os.close(writer)
        deadline = time.monotonic() + 20
        while not (folder / "data" / "dev.json").exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        family = below(process.pid)
        process.send_signal(signal.SIGHUP)
        process.wait(20)
    assert family
    assert not family & running()


def test_killed_dev_leaves_nothing_and_loses_nothing(folder: Path, devs: list[Dev]) -> None:
    """Without a chance to tidy up, no process stays behind, and the next start finds the parcel."""
    devs.append(dev := Dev(folder))
    dev.until(STARTED)
    _, seconds, left = dev.end(signal.SIGKILL)
    assert left == set()
    assert seconds < IN_TIME_SECONDS
    devs.append(again := Dev(folder))
    assert "submitted     article star-th-bottle" in again.until(STARTED)


def test_second_dev_on_the_same_folder_is_refused(folder: Path, devs: list[Dev]) -> None:
    """Two would share their data: the second says so, and the first goes on untouched."""
    devs.append(first := Dev(folder))
    first.until(STARTED)
    devs.append(second := Dev(folder))
    assert second.process.wait(20) == 1
    assert "rewardpost dev runs on data already" in second.until("already")
    assert first.json("show", REWARD)["state"] == "submitted"


def test_process_that_dies_is_started_again(folder: Path, devs: list[Dev]) -> None:
    """Door, worker and server come back by themselves, and the parcel is still there."""
    devs.append(dev := Dev(folder))
    dev.until(STARTED)
    names = dev.names()
    family = set(names)
    for word in ("-m worker", "-m ingest"):
        os.kill(next(pid for pid, name in names.items() if word in name), signal.SIGKILL)
        dev.until("it is started again")
    os.kill(next(pid for pid, name in names.items() if "-m " not in name), signal.SIGKILL)
    dev.until("the server ended; it is started again")
    deadline = time.monotonic() + 20
    while len(dev.descendants() - family) < 3 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not family & running()
    assert dev.json("show", REWARD)["state"] == "submitted"


def test_own_variables_win(folder: Path, devs: list[Dev]) -> None:
    """A shadow run holds the sample, and the end says why it did not become a parcel."""
    devs.append(dev := Dev(folder, DISPATCH="hold", REDIS_URL="redis://127.0.0.1:1/0"))
    printed = dev.until(STARTED)
    assert "it is ready now; hold: shadow run (DISPATCH=hold)" in printed
    assert "REDIS_URL is set, but not used here" in printed


def test_wrong_variable_stops_it_at_once(folder: Path, devs: list[Dev]) -> None:
    """Nothing is started with a setting that is wrong."""
    devs.append(dev := Dev(folder, WORKER_MAX_JOBS="many"))
    assert dev.process.wait(20) == 2
    assert "WORKER_MAX_JOBS: expected a whole number" in dev.until("WORKER_MAX_JOBS")


def test_port_that_is_taken_is_named(folder: Path, devs: list[Dev]) -> None:
    """A door that cannot open is not mistaken for the one that listens there, and nothing is left running."""
    devs.append(first := Dev(folder))
    first.until(STARTED)
    port = json.loads((folder / "data" / "dev.json").read_text())["environment"]["INGEST_PORT"]
    devs.append(second := Dev(folder, "--data", "other", INGEST_PORT=port))
    assert second.process.wait(20) == 1
    assert f"INGEST_PORT: expected a free port, {port} is taken" in second.until("is taken")
    assert second.descendants() == set()


def test_verbose_shows_the_logs(folder: Path, devs: list[Dev]) -> None:
    """With --verbose door and worker are heard on the terminal."""
    devs.append(dev := Dev(folder, "--verbose"))
    assert "delivery_handled" in dev.until(STARTED)
