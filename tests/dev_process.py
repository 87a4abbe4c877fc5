"""`rewardpost dev` as a process of a test, and who belongs to it."""

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

IN_TIME_SECONDS = 5.0
"""The longest that the end of everything may take."""


class Dev:
    """One `rewardpost dev` in a folder."""

    def __init__(self, folder: Path, *options: str, **environ: str) -> None:
        self._folder = folder
        self._environ = {"PATH": os.environ["PATH"], "INGEST_PORT": "0", "WORKER_PORT": "0", **environ}
        self._lines: queue.Queue[str | None] = queue.Queue()
        self.started_at = time.monotonic()
        self.process = subprocess.Popen(  # noqa: S603 - our own command
            [sys.executable, "-m", "cli", "dev", *options],
            cwd=folder,
            env=self._environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            process_group=0,
        )
        self._reading = threading.Thread(target=self._read)
        self._reading.start()

    def until(self, end: str, patience: float = 30) -> str:
        """Return what it printed up to a line that holds `end`."""
        seen = ""
        deadline = time.monotonic() + patience
        while end not in seen:
            try:
                line = self._lines.get(timeout=max(deadline - time.monotonic(), 0.01))
            except queue.Empty:
                raise AssertionError(f"expected {end!r} in time, got:\n{seen}") from None
            assert line is not None, f"expected {end!r}, it ended after:\n{seen}"
            seen += line
        return seen

    def call(self, *arguments: str) -> str:
        """Call another verb in the same folder, which finds this `dev` by itself, and return what it printed."""
        environ = {"PATH": os.environ["PATH"]}
        command = [sys.executable, "-m", "cli", *arguments]
        done = subprocess.run(  # noqa: S603 - our own command
            command, cwd=self._folder, env=environ, capture_output=True, text=True, timeout=30, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def json(self, *arguments: str) -> Any:  # noqa: ANN401 - any JSON
        """Call another verb with --json."""
        return json.loads(self.call(*arguments, "--json"))

    def descendants(self) -> set[int]:
        """Return the process ids of everything that it started."""
        return below(self.process.pid)

    def names(self) -> dict[int, str]:
        """Return the command of each of its descendants."""
        return {
            pid: Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode() for pid in self.descendants()
        }

    def end(self, number: int, *, group: bool = False, family: int = 3) -> tuple[int, float, set[int]]:
        """Send a signal; return the exit status, the seconds that it took, and who is left of so many at least."""
        children = self.descendants()
        assert len(children) >= family
        began = time.monotonic()
        if group:
            os.killpg(self.process.pid, number)
        else:
            self.process.send_signal(number)
        status = self.process.wait(20)
        while (left := children & running()) and time.monotonic() - began < IN_TIME_SECONDS:
            time.sleep(0.01)
        return status, time.monotonic() - began, left

    def destroy(self) -> None:
        """End it and all that it started, by force."""
        family = self.descendants()
        self.process.kill()
        self.process.wait()
        for pid in family:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._reading.join()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as lines:
            for line in lines:
                self._lines.put(line)
        self._lines.put(None)


def _parents() -> dict[int, int]:
    """Return who started whom, of all processes that run."""
    found = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, parent = path.read_text().rpartition(")")[2].split()[:2]
            if state != "Z":
                found[int(path.parent.name)] = int(parent)
    return found


def running() -> set[int]:
    """Return the ids of all processes that run."""
    return set(_parents())


def below(root: int) -> set[int]:
    """Return the ids of all processes that one has started, and those that these have."""
    parents = _parents()
    found: set[int] = set()
    while more := {pid for pid, parent in parents.items() if parent in found | {root}} - found:
        found |= more
    return found
