"""Sentinels and TLS for tests: bare processes of the server's own executable, and certificates made by openssl."""

import asyncio
import contextlib
import shutil
import socket
import subprocess
from collections.abc import AsyncIterator, Mapping
from datetime import timedelta
from pathlib import Path

import pytest

from cli.embedded_server import EmbeddedServer
from rewardpost.connection import connect
from tests.house import until

_PATIENCE = 10.0
_CALL_TIMEOUT = timedelta(seconds=2)


def free_port() -> int:
    """Return a port that nobody listens at."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
    return port


@contextlib.asynccontextmanager
async def listening(executable: Path, port: int, *arguments: str | Path) -> AsyncIterator[subprocess.Popen[bytes]]:
    """Run a server or a sentinel until the context ends; it listens when this yields, or has ended."""
    process = subprocess.Popen([executable, *arguments], stdout=subprocess.DEVNULL)  # noqa: S603, ASYNC220 - the server under test; starting it does not wait

    async def settled() -> bool:
        if process.poll() is not None:
            return True
        with contextlib.suppress(OSError):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.close()
            return True
        return False

    try:
        await until(settled, patience=_PATIENCE)
        yield process
    finally:
        process.kill()
        process.wait()


@contextlib.asynccontextmanager
async def sentinel_of(
    executable: Path, master_port: int, directory: Path, options: Mapping[str, str] | None = None
) -> AsyncIterator[int]:
    """A sentinel that watches the server at a port as `main` and soon takes it for dead; yields its own port."""
    port = free_port()
    # Without options it listens as it is; options that name another port do it instead.
    lines = {"port": str(port), "bind": "127.0.0.1", **(options or {})}
    if "tls-port" in lines:
        lines |= {"port": "0", "tls-port": str(port)}
    configuration = directory / f"sentinel-{port}.conf"
    configuration.write_text(
        "".join(f"{name} {value}\n" for name, value in lines.items())
        + f"sentinel monitor main 127.0.0.1 {master_port} 1\n"
        + "sentinel down-after-milliseconds main 300\nsentinel failover-timeout main 3000\n"
    )
    async with listening(executable, port, configuration, "--sentinel"):
        yield port


async def follow(replica: EmbeddedServer, master: EmbeddedServer) -> None:
    """Make one server the replica of another and wait until it has all of its data."""
    leading, following = (connect(server.url, call_timeout=_CALL_TIMEOUT) for server in (master, replica))
    delay = (await leading.config_get("repl-diskless-sync-delay"))["repl-diskless-sync-delay"]
    await leading.config_set("repl-diskless-sync-delay", 0)
    await following.replicaof("127.0.0.1", str(master.port))

    async def linked() -> bool:
        return bool((await following.info("replication"))["master_link_status"] == "up")

    await until(linked, patience=_PATIENCE)
    await leading.config_set("repl-diskless-sync-delay", delay)
    await leading.aclose()
    await following.aclose()


def certificate_in(directory: Path) -> tuple[Path, Path]:
    """Make a certificate for 127.0.0.1 alone, which vouches for itself, and its key."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("TLS IS NOT TESTED: expected openssl on the PATH, to make a certificate")
    certificate, key = directory / "certificate.pem", directory / "key.pem"
    request = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=test"
    files = ["-keyout", str(key), "-out", str(certificate)]
    names = ["-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run([openssl, *request.split(), *names, *files], check=True, capture_output=True)  # noqa: S603 - no shell
    return certificate, key
