"""Several processes behind one port: each listens on it for itself, and all count into one directory.

The kernel spreads new connections over them (SO_REUSEPORT): with one socket for all, whoever wakes first takes most.
When one of them ends unasked all are ended: whatever restarts the door then restarts it whole.
"""

import asyncio
import socket
import sys
import tempfile
from collections.abc import Mapping
from datetime import timedelta

from ingest.app import check_secrets
from ingest.serving import listening_socket
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
    with _reserve(settings) as reserved, tempfile.TemporaryDirectory(prefix="rewardpost-metrics-") as directory:
        doors = [
            await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "ingest", str(reserved.getsockname()[1])),
                env={**environ, SHARED_METRICS: directory},
                stdin=asyncio.subprocess.PIPE,  # closes when this process ends, however it ends
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


def _reserve(settings: Settings) -> socket.socket:
    """Take the address, with port 0 resolved, so that only our own processes can listen on it."""
    # A socket that shares could join somebody else's that shares too. So the address is taken for ourselves alone
    # first, and opened to sharing then: at no time is it free.
    with listening_socket(settings, settings.ingest_port, shared=False) as alone:
        alone.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        reserved = socket.socket(alone.family)
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if alone.family == socket.AF_INET6:
            reserved.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)  # as `alone` is
        reserved.bind(alone.getsockname())  # and never listens: no connection waits here
        return reserved


async def _end(doors: list[asyncio.subprocess.Process], ends: list[asyncio.Task[int]]) -> None:
    for door in doors:
        if door.returncode is None:
            door.terminate()
    await asyncio.wait(ends, timeout=_PATIENCE.total_seconds())
    for door in doors:
        if door.returncode is None:
            door.kill()
    await asyncio.wait(ends)
