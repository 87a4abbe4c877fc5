"""All of rewardpost on one machine, behind `rewardpost dev`: an embedded server, one door and one worker."""

import asyncio
import dataclasses
import os
import socket
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from cli import sample, surroundings
from cli.embedded_server import EmbeddedServer, EmbeddedServerError
from cli.supervision import Child, Say, StartFailed, end_all, keep_running, keep_server_running, module, until_ready
from rewardpost.settings import Settings, load, variable

SECRET = "dev-secret"  # noqa: S105 - it guards nothing but a door that listens on this machine alone
"""What webhooks to `dev` are signed with unless the environment says otherwise."""

_HERE = "127.0.0.1"
_DOOR_PORT = 8080
_WORKER_PORT = 9090


class AlreadyOpen(Exception):  # noqa: N818 - named after what is the case
    """Another `dev` uses the folder; the message says what can be done."""


class House:
    """What `dev` runs, with its data in one folder.

    Raises:
        SettingsError: a variable of the user's is wrong.
    """

    def __init__(self, data: Path, environ: Mapping[str, str], say: Say, *, verbose: bool) -> None:
        self.data = data
        self._say = say
        self._server = EmbeddedServer(data)
        chosen = invented(redis_url=self._server.url)
        variables = variables_of(environ, chosen)
        self._note = noted(variables, chosen)
        self.settings: Settings = load(variables)
        data.mkdir(parents=True, exist_ok=True)
        self._children = [
            _child(name, folder, variables, None if verbose else data / f"{folder}.log")
            for name, folder in (("door", "ingest"), ("worker", "worker"))
        ]
        self._keeping: list[asyncio.Task[None]] = []

    async def open(self) -> None:
        """Start everything and wait until it is ready.

        Raises:
            AlreadyOpen: another `dev` uses the folder.
            EmbeddedServerError: the server cannot be started.
            StartFailed: a port is taken, or the door or the worker ended or was not ready in time.
        """
        try:
            self._server.start()
        except EmbeddedServerError as exc:
            if surroundings.read_note(self.data):
                raise AlreadyOpen(f"rewardpost dev runs on {self.data} already: end that one, or set --data") from exc
            raise
        for name, port in (("INGEST_PORT", self.settings.ingest_port), ("WORKER_PORT", self.settings.worker_port)):
            # Whoever listens there already could be taken for ours, and be sent the sample.
            if port is not None and free_port(port) != port:
                raise StartFailed(f"{name}: expected a free port, {port} is taken")
        for child in self._children:
            child.start()
        surroundings.write_note(self.data, self._note)
        await asyncio.gather(*map(until_ready, self._children, self._probes()))
        keeping = [keep_running(child, self._say) for child in self._children]
        self._keeping = [asyncio.create_task(task) for task in (keep_server_running(self._server, self._say), *keeping)]

    async def close(self, hurry: asyncio.Event) -> None:
        """End everything, the server last; processes that do not obey are killed, at once when `hurry` is set."""
        for task in self._keeping:
            task.cancel()
        await asyncio.gather(*self._keeping, return_exceptions=True)
        await end_all(self._children, hurry)
        with suppress(OSError):
            surroundings.remove_note(self.data)
        self._server.stop()

    async def worn_out(self) -> None:
        """Wait for ever, unless what keeps the processes running fails itself."""
        await asyncio.gather(*self._keeping)

    def _probes(self) -> list[str | None]:
        settings = self.settings
        worker = f"http://{_reached(settings.worker_host)}:{settings.worker_port}/readyz"
        return [f"{self.door}/readyz", worker if settings.worker_port is not None else None]

    @property
    def door(self) -> str:
        """Where the door is reached."""
        return f"http://{_reached(self.settings.ingest_host)}:{self.settings.ingest_port}"


def invented(*, redis_url: str) -> dict[str, str]:
    """Return the variables that `dev` chooses, ports that are free among them."""
    return {
        "REDIS_URL": redis_url,
        "VOUCHERIFY_WEBHOOK_SECRETS": SECRET,
        "ADDRESS_SOURCES": "file,voucherify",
        "ADDRESS_FILE": str(sample.addresses()),
        "SHIP_SINCE": "2024-01-01T00:00:00Z",
        "PROVIDER": "manual",
        "LOG_FORMAT": "console",
        "INGEST_HOST": _HERE,
        "INGEST_PORT": str(free_port(_DOOR_PORT)),
        "WORKER_HOST": _HERE,
        "WORKER_PORT": str(free_port(_WORKER_PORT)),
    }


def variables_of(environ: Mapping[str, str], chosen: Mapping[str, str]) -> dict[str, str]:
    """Return the variables for all processes: the user's own ones win, but for the server, which is always ours."""
    own = {name: value for name, value in environ.items() if name not in {"REDIS_URL", "REDIS_URL_FILE"}}
    for name in ("INGEST_PORT", "WORKER_PORT"):
        if own.get(name) == "0":
            del own[name]  # we chose a free one, and know which
    completed = surroundings.completed(own, chosen)
    if "WORKER_PORT" in own:
        completed["WORKER_PORT"] = own["WORKER_PORT"]  # empty means off
    return completed


def noted(variables: Mapping[str, str], chosen: Mapping[str, str]) -> dict[str, str]:
    """Return what other verbs must know of a running `dev`: no secret of the user's is among it."""
    names = {variable(field): field.metadata["secret"] for field in dataclasses.fields(Settings)}
    return {
        name: value
        for name, value in variables.items()
        if name in names and (not names[name] or chosen.get(name) == value)
    }


def free_port(preferred: int) -> int:
    """Return a port of this machine that nothing listens on: the preferred one if it can be had."""
    for port in (preferred, 0):
        with socket.socket() as probe, suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((_HERE, port))
            found: int = probe.getsockname()[1]
            return found
    raise OSError("expected a free port on this machine, there is none")


def _child(name: str, folder: str, variables: Mapping[str, str], log: Path | None) -> Child:
    command, path = module(folder)
    return Child(name, command, {**os.environ, **variables, **path}, log=log)


def _reached(host: str) -> str:
    return _HERE if host in {"", "0.0.0.0", "::"} else host  # noqa: S104 - where to connect, not where to listen
