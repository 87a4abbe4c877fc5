"""Several processes behind one port: they inherit one listening socket, and count into one directory.

When one of them ends unasked all are ended: whatever restarts the door then restarts it whole.
"""

import asyncio
import socket
import sys
import tempfile
from collections.abc import Mapping
from datetime import timedelta

from ingest.app import check_secrets
from ingest.serving import BACKLOG, not_free
from rewardpost.probes import SHARED_METRICS
from rewardpost.settings import Settings

_PATIENCE = timedelta(seconds=15)
"""Longer than a process needs to finish what is in hand."""


async def run_processes(settings: Settings, environ: Mapping[str, str], stop: asyncio.Event) -> int:
    """Run `settings.ingest_processes` doors until told to stop, and return the exit status.

    Raises:
        SettingsError: see `check_secrets`.
        PortTaken: the address is in use, or is none of this machine's.
    """
    check_secrets(settings)
    with _listen(settings) as listening, tempfile.TemporaryDirectory(prefix="rewardpost-metrics-") as directory:
        doors = [
            await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "ingest", str(listening.fileno())),
                env={**environ, SHARED_METRICS: directory},
                pass_fds=[listening.fileno()],
                start_new_session=True,  # a Ctrl-C reaches them once, from here
            )
            for _ in range(settings.ingest_processes)
        ]
        ends = [asyncio.create_task(door.wait()) for door in doors]
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait({stopping, *ends}, return_when=asyncio.FIRST_COMPLETED)
        ended = [door.returncode for door in doors if door.returncode is not None]
        await _end(doors, ends)
        stopping.cancel()
        return 0 if stop.is_set() else max(1, *ended)


def _listen(settings: Settings) -> socket.socket:
    host = settings.ingest_host
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, settings.ingest_port), family=family, backlog=BACKLOG)
    except OSError as exc:
        raise not_free(settings, exc) from exc


async def _end(doors: list[asyncio.subprocess.Process], ends: list[asyncio.Task[int]]) -> None:
    for door in doors:
        if door.returncode is None:
            door.terminate()
    await asyncio.wait(ends, timeout=_PATIENCE.total_seconds())
    for door in doors:
        if door.returncode is None:
            door.kill()
    await asyncio.wait(ends)
