"""Starting and ending what is measured: servers, doors, workers, each a process of its own that ends with this one."""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import redis

from bench.environment import CACHE, ROOT
from cli.embedded_server import EmbeddedServer

HOST = "127.0.0.1"
PATIENCE_SECONDS = 120.0
_POLL_SECONDS = 0.01
_END_WITH_PARENT = ROOT / "cli" / "end_with_parent.py"


class Broken(Exception):  # noqa: N818 - named after what it says
    """Something that is measured did not do what it is there for; the message says what."""


@contextlib.contextmanager
def fresh_server(*, durable: bool) -> Iterator[EmbeddedServer]:
    """Run an empty server; durable: a sync to disk for each write, otherwise no persistence at all."""
    CACHE.mkdir(parents=True, exist_ok=True)
    directory = Path(tempfile.mkdtemp(prefix="server-", dir=CACHE))
    try:
        with EmbeddedServer(directory) as server, redis.Redis.from_url(server.url) as client:
            client.config_set("auto-aof-rewrite-percentage", 0)  # a rewrite would fall into whichever round it likes
            if not durable:
                client.config_set("appendonly", "no")
            yield server
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@contextlib.contextmanager
def running(
    command: Sequence[str | Path],
    environment: Mapping[str, str],
    *,
    cwd: Path = ROOT,
    log: Path | None = None,
) -> Iterator[subprocess.Popen[bytes]]:
    """Keep a process for as long as the context lasts; what it prints goes to `log`."""
    wrapped = [
        sys.executable,
        "-S",
        str(_END_WITH_PARENT),
        str(os.getpid()),
        str(shutil.which(command[0])),
        *command[1:],
    ]
    with (log or _log(command)).open("wb") as output:
        process = subprocess.Popen(  # noqa: S603 - our own command, no shell
            wrapped,
            cwd=cwd,
            env={"PATH": os.environ["PATH"], **environment},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
        try:
            yield process
        finally:
            end(process)


def end(process: subprocess.Popen[bytes]) -> None:
    """End a process, by force where it does not obey."""
    process.terminate()
    try:
        process.wait(timeout=5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@dataclass(frozen=True)
class Counted:
    """What a worker under measurement has counted."""

    first: float
    ends: Sequence[float]
    waits: Sequence[float]

    @property
    def rate(self) -> float:
        """Jobs a second, from the first one's start to the last one's end."""
        return len(self.ends) / (self.ends[-1] - self.first)


class CountingWorker:
    """A worker of `bench.peers`, which tells when its first job starts and what it has counted at its end."""

    def __init__(self, module: str, python: Path, url: str, **told: float) -> None:
        options = [f"--{name}={value}" for name, value in told.items()]
        self._module = module
        with _log([python, "-m", module]).open("wb") as log:
            self._process = subprocess.Popen(  # noqa: S603 - our own script, no shell
                [python, "-m", f"bench.peers.{module}", f"--url={url}", *options],
                cwd=ROOT,
                env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def first(self) -> float:
        """Wait for its first job and return when it started."""
        return float(self._line()["first"])

    def counted(self, *, at_once: bool = False) -> Counted:
        """Wait for its end, or make it end, and return what it has counted."""
        if at_once and self._process.stdin:
            self._process.stdin.close()
            self._process.stdin = None
        return Counted(**self._line())

    def _line(self) -> dict[str, Any]:
        assert self._process.stdout is not None  # noqa: S101 - it is a pipe, see above
        with _alarm(self._process, PATIENCE_SECONDS):
            line = self._process.stdout.readline()
        if not line:
            raise Broken(f"expected figures from {self._module}, it ended without")
        told: dict[str, Any] = json.loads(line)
        return told


@contextlib.contextmanager
def _alarm(process: subprocess.Popen[bytes], seconds: float) -> Iterator[None]:
    """End a process that takes longer, so that reading from it ends too."""
    from threading import Timer  # noqa: PLC0415 - here alone

    timer = Timer(seconds, process.kill)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def until_open(port: int, process: subprocess.Popen[bytes]) -> None:
    """Wait until something listens.

    Raises:
        Broken: the process ended, or nothing listened in time.
    """
    deadline = time.monotonic() + PATIENCE_SECONDS / 4
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise Broken(f"expected a process that listens, it ended with {process.returncode}")
        with contextlib.suppress(OSError), socket.create_connection((HOST, port), timeout=1):
            return
        time.sleep(_POLL_SECONDS)
    raise Broken("expected a process that listens, nothing did")


def free_port() -> int:
    """Return a port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def resident_mb(pid: int) -> float:
    """Return a process's resident memory, in millions of bytes as `VmRSS` has it in KiB."""
    for line in Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise Broken("expected VmRSS of a running process, there is none")


def _log(command: Sequence[str | Path]) -> Path:
    name = "-".join(Path(str(word)).name.strip("-") for word in command[:3])
    logs = CACHE / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    return logs / f"{name}.log"
