"""The processes behind `rewardpost dev`: started together, started again when one ends, ended together."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path

import aiohttp

import cli
from cli import end_with_parent
from cli.embedded_server import EmbeddedServer, EmbeddedServerError

START_TIMEOUT = timedelta(seconds=20)
"""How long a process may take until it is ready."""
GRACE = timedelta(seconds=3)
"""How long a process may take to end before it is killed; with the server's own end after it, under 5 s in all."""

_POLL_SECONDS = 0.02
_FIRST_PAUSE_SECONDS = 0.25
_LONGEST_PAUSE_SECONDS = 8.0
_STEADY_SECONDS = 30.0
_TAIL_LINES = 12

Say = Callable[[str], None]


class StartFailed(Exception):  # noqa: N818 - named after what happened
    """A process ended before it was ready, or was not ready in time; the message says which, and what it said."""


class Child:
    """One process of ours; `command` is what follows the interpreter, `log` where its output goes, if anywhere."""

    def __init__(self, name: str, command: Sequence[str], environ: Mapping[str, str], *, log: Path | None) -> None:
        self.name = name
        self._command = [sys.executable, *command]
        self._environ = environ
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the process, in a group of its own: Ctrl-C is for its parent, who ends it in order."""
        stub = [sys.executable, "-I", "-S", end_with_parent.__file__, str(os.getpid())]
        # What an earlier `dev` logged is of no use; what the process wrote before it was started again is.
        output = self._log.open("wb" if self._process is None else "ab") if self._log is not None else None
        try:
            self._process = subprocess.Popen(  # noqa: S603 - our own modules, no shell
                [*stub, *self._command],
                env=self._environ,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT if output is not None else None,
                process_group=0,
            )
        finally:
            if output is not None:
                output.close()

    @property
    def status(self) -> int | None:
        """The exit status, negative for a signal; None while it runs or before it was started."""
        return None if self._process is None else self._process.poll()

    @property
    def running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    @property
    def tail(self) -> str:
        """The last lines that it wrote."""
        if self._log is None:
            return ""
        return "\n".join(self._log.read_text(encoding="utf-8", errors="replace").splitlines()[-_TAIL_LINES:])

    def terminate(self) -> None:
        """Ask it to end."""
        if self._process is not None:
            self._process.terminate()  # of one that has ended already, nothing comes

    def kill(self) -> None:
        """End it, and wait until it has."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()


def module(name: str, *, parent: Path = Path(cli.__file__).parent.parent) -> tuple[list[str], dict[str, str]]:
    """Return how a module of ours is run, and the variables for it.

    Never the one of the same name in the user's folder: the folder is kept out of the path (`-P`).
    """
    path = os.pathsep.join(filter(None, [str(parent), os.environ.get("PYTHONPATH", "")]))
    return ["-P", "-m", name], {"PYTHONPATH": path}


async def until_ready(child: Child, url: str | None) -> None:
    """Wait until a process answers that it is ready; without a URL it counts as ready.

    Raises:
        StartFailed: it ended, or took too long.
    """
    if url is None:
        return
    try:
        async with asyncio.timeout(START_TIMEOUT.total_seconds()), aiohttp.ClientSession() as session:
            while not await _answers(session, url):
                if child.status is not None:
                    raise StartFailed(f"the {child.name} ended with status {child.status}\n{child.tail}".rstrip())
                await asyncio.sleep(_POLL_SECONDS)
    except TimeoutError:
        raise StartFailed(
            f"the {child.name} was not ready within {START_TIMEOUT.total_seconds():g} s\n{child.tail}".rstrip()
        ) from None


async def keep_running(child: Child, say: Say) -> None:
    """Start a process again whenever it ends, after a pause that grows while it ends soon after its start."""
    loop = asyncio.get_running_loop()
    pause, started = _FIRST_PAUSE_SECONDS, loop.time()
    while True:
        await asyncio.sleep(_POLL_SECONDS)
        if child.status is None:
            continue
        if loop.time() - started > _STEADY_SECONDS:
            pause = _FIRST_PAUSE_SECONDS
        say(f"the {child.name} ended with status {child.status}; it is started again in {pause:g} s")
        await asyncio.sleep(pause)
        child.start()
        pause, started = min(2 * pause, _LONGEST_PAUSE_SECONDS), loop.time()


async def keep_server_running(server: EmbeddedServer, say: Say) -> None:
    """Start the server again whenever it ends; its data is on disk."""
    while True:
        await asyncio.sleep(_FIRST_PAUSE_SECONDS)
        if not _has_ended(server.pid):
            continue
        say("the server ended; it is started again with its data")
        server.kill()  # only tidies up after it
        while True:
            try:
                server.start()
                break
            except EmbeddedServerError as exc:
                say(f"the server does not start: {exc}")
                await asyncio.sleep(_LONGEST_PAUSE_SECONDS)


async def end_all(children: Iterable[Child], hurry: asyncio.Event) -> None:
    """End processes: by asking, and by force once the grace is over or `hurry` is set."""
    running = list(children)
    for child in running:
        child.terminate()
    deadline = asyncio.get_running_loop().time() + GRACE.total_seconds()
    while any(child.running for child in running):
        if hurry.is_set() or asyncio.get_running_loop().time() > deadline:
            break
        await asyncio.sleep(_POLL_SECONDS)
    for child in running:
        child.kill()


def _has_ended(pid: int) -> bool:
    if not hasattr(os, "waitid"):
        return False  # such a system cannot tell without taking the status away from the server's own object
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


async def _answers(session: aiohttp.ClientSession, url: str) -> bool:
    try:
        async with session.get(url) as response:
            return response.status == 200  # noqa: PLR2004 - ready
    except (aiohttp.ClientError, OSError):
        return False
