"""Prism between adapter and fake: it answers 500 or 422 in the place of whatever breaks ShipBob's own document."""

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.shipbob.prepare import EXECUTABLE

DOCUMENT = "SHIPBOB_OPENAPI"
"""The environment variable that names ShipBob's OpenAPI document, which is not ours to give away."""

_PATIENCE_SECONDS = 30


def missing() -> str:
    """Say why there can be no prism here, nothing where there can."""
    if not EXECUTABLE.exists():
        return "prism is not installed: python -m tests.shipbob.prepare"
    if not Path(os.environ.get(DOCUMENT, "")).is_file():
        return f"{DOCUMENT} names no OpenAPI document of ShipBob's: https://developer.shipbob.com has it"
    return ""


@contextmanager
def running(upstream_port: int, log: Path) -> Iterator[str]:
    """Run prism before a port of this machine and yield its URL; what it says goes to `log`."""
    port = free_port()
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603 - whoever runs the tests names the document
            [
                str(EXECUTABLE),
                *("proxy", "--errors", "--host", "127.0.0.1", "--port", str(port)),
                *(os.environ[DOCUMENT], f"http://127.0.0.1:{upstream_port}"),
            ],
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            _wait_for(port, process, log)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait()


def free_port() -> int:
    """Return a port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait_for(port: int, process: "subprocess.Popen[bytes]", log: Path) -> None:
    until = time.monotonic() + _PATIENCE_SECONDS
    while time.monotonic() < until and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise RuntimeError(f"expected prism to listen, it said: {log.read_text()[-2000:]}")
