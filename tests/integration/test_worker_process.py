"""The worker as a process of its own: started by hand or by arq's command, stopped by a signal, wrongly configured."""

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from aiohttp import ClientError, ClientSession

from cli.embedded_server import EmbeddedServer
from tests.house import until

PYTHON = Path(sys.executable)


def environment(redis_url: str, **changes: str) -> dict[str, str]:
    """Return the environment of a worker."""
    return {"PATH": os.environ["PATH"], "REDIS_URL": redis_url, "WORKER_HOST": "127.0.0.1", **changes}


def free_port() -> int:
    """Return a port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextlib.contextmanager
def started(*command: str, environ: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    """Start a process, and leave none behind."""
    with subprocess.Popen(  # noqa: S603 - our own command, no shell
        [*command], env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


async def status(port: int, path: str) -> int | None:
    """Return the status of a probe; None while nobody listens."""
    try:
        async with ClientSession() as session, session.get(f"http://127.0.0.1:{port}{path}") as answer:
            return answer.status
    except ClientError:
        return None


async def answers(port: int, path: str, expected: int) -> bool:
    """Say whether a probe gives this status."""
    return await status(port, path) == expected


async def test_it_becomes_ready_and_ends_cleanly_at_a_signal(server: EmbeddedServer) -> None:
    """`python -m worker` is ready once Redis takes its sign of life, and exits with 0 at SIGTERM."""
    port = free_port()
    environ = environment(server.url, WORKER_PORT=str(port))
    with started(str(PYTHON), "-m", "worker", environ=environ) as process:
        await until(lambda: answers(port, "/readyz", 200))
        assert await status(port, "/metrics") == 200
        process.terminate()
        assert await asyncio.to_thread(process.wait, 10) == 0


async def test_it_starts_while_the_server_is_away_and_is_ready_when_it_comes(own_server: EmbeddedServer) -> None:
    """Alive but not ready at first; nothing has to be restarted."""
    own_server.stop()
    port = free_port()
    environ = environment(own_server.url, WORKER_PORT=str(port))
    with started(str(PYTHON), "-m", "worker", environ=environ) as process:
        await until(lambda: answers(port, "/livez", 200))
        assert await status(port, "/readyz") == 503
        await asyncio.to_thread(own_server.start)
        await until(lambda: answers(port, "/readyz", 200))
        process.terminate()
        assert await asyncio.to_thread(process.wait, 10) == 0


async def test_arqs_command_starts_our_worker_and_checks_it(server: EmbeddedServer) -> None:
    """`arq worker.WorkerSettings` runs it, and `--check` finds it healthy."""
    port = free_port()
    command = (str(PYTHON.parent / "arq"), "worker.WorkerSettings")
    environ = environment(server.tcp_url, WORKER_PORT=str(port))
    with started(*command, environ=environ) as process:
        await until(lambda: answers(port, "/readyz", 200))
        with started(*command, "--check", environ=environ) as check:
            assert await asyncio.to_thread(check.wait, 10) == 0
        process.terminate()
        output, _ = await asyncio.to_thread(process.communicate, None, 10)
    assert '"worker_started"' in output


def test_a_wrong_setting_is_named() -> None:
    """The process ends with 2 and says which variable it is and what was expected."""
    environ = environment("redis://127.0.0.1:1/0", WORKER_MAX_JOBS="many")
    with started(str(PYTHON), "-m", "worker", environ=environ) as process:
        _, said = process.communicate(timeout=10)
    assert process.returncode == 2
    assert said.startswith("WORKER_MAX_JOBS: expected a whole number")


def test_a_taken_port_is_named() -> None:
    """The process ends with 1 and says what to do."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        environ = environment("redis://127.0.0.1:1/0", WORKER_PORT=str(taken.getsockname()[1]))
        with started(str(PYTHON), "-m", "worker", environ=environ) as process:
            _, said = process.communicate(timeout=10)
    assert process.returncode == 1
    assert said.startswith("WORKER_PORT: expected a port that is free")
