"""A whole house for tests: server, door and workers as real processes, a sender that repeats, a receiver."""

import asyncio
import base64
import contextlib
import hmac
import itertools
import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import IO, Self

from aiohttp import ClientError, ClientSession, ClientTimeout, web
from arq.connections import ArqRedis

from cli.embedded_server import EmbeddedServer
from rewardpost.connection import connect
from rewardpost.fulfilment import Fulfilment
from rewardpost.keys import DEFAULT_PREFIX, Keys
from rewardpost.operations import Operations
from rewardpost.reference import for_redemption
from rewardpost.states import State
from tests.builders import SOURCE_ID, body, changed, rewarded

SECRET = "house-secret"
_POLL_SECONDS = 0.1


class House:
    """One server, one door, some workers; each can be killed, and a killed door or worker is started anew."""

    def __init__(self, server: EmbeddedServer, directory: Path, **environment: str) -> None:
        self.server = server
        self.port = _free_port()
        self.log = directory / "house.log"
        addresses = directory / "addresses.csv"
        addresses.write_text(
            "source_id,name,line_1,city,postal_code,country\n"
            f"{SOURCE_ID},Tess Testperson,Probestrasse 7,Musterstadt,10117,DE\n",
            encoding="utf-8",
        )
        self._environment = {
            "PATH": os.environ["PATH"],
            "REDIS_URL": server.tcp_url,
            "INGEST_HOST": "127.0.0.1",
            "INGEST_PORT": str(self.port),
            "VOUCHERIFY_WEBHOOK_SECRETS": SECRET,
            "WORKER_PORT": "",
            "ADDRESS_FILE": str(addresses),
            "SHIP_SINCE": "2020-01-01T00:00:00Z",
            **environment,
        }
        self._stack = contextlib.AsyncExitStack()
        self.door: Process
        self.workers: list[Process] = []

    async def open(self, *, workers: int = 1) -> None:
        """Start the processes and wait until the door takes webhooks in."""
        self._stream = self._stack.enter_context(self.log.open("ab"))
        self.door = await self._stack.enter_async_context(running("ingest", self._environment, self._stream))
        for _ in range(workers):
            await self.add_worker()
        self.redis = connect(self.server.tcp_url, call_timeout=timedelta(seconds=30))
        self._stack.push_async_callback(self.redis.aclose)
        await until(self.ready)

    async def add_worker(self) -> None:
        """Start one more worker."""
        worker = await self._stack.enter_async_context(running("worker", self._environment, self._stream))
        self.workers.append(worker)

    async def close(self) -> None:
        """End all processes."""
        await self._stack.aclose()

    @property
    def processes(self) -> list[tuple[int, int]]:
        """The process id of the door and of each worker, each with how often it was started."""
        return [(process.pid, process.starts) for process in (self.door, *self.workers)]

    @property
    def url(self) -> str:
        """Where webhooks go."""
        return f"http://127.0.0.1:{self.port}/webhooks/voucherify"

    async def command(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Call the command `rewardpost` in this house, and return how it ended."""
        call = [sys.executable, "-m", "cli", *arguments]
        return await asyncio.to_thread(
            subprocess.run, call, env=self._environment, capture_output=True, text=True, check=False
        )

    async def ready(self) -> bool:
        """Say whether the door is ready."""
        try:
            async with ClientSession() as session, session.get(f"http://127.0.0.1:{self.port}/readyz") as answer:
                return answer.status == 200
        except ClientError:
            return False

    async def records(self) -> dict[str, Fulfilment]:
        """Return all fulfilments by reference."""
        operations = operations_of(self.redis)
        return {record.reference: record async for record in operations.in_states(*State)}

    async def drained(self) -> bool:
        """Say whether nothing is left on the queue."""
        return int(await self.redis.zcard(Keys(DEFAULT_PREFIX).queue)) == 0


def operations_of(redis: ArqRedis) -> Operations:
    """Return an operator's hands on the default installation."""
    return Operations(redis, Keys(DEFAULT_PREFIX), retention=timedelta(days=30), by="operator:test")


class Process:
    """A process of ours that is started again when it ends, as compose does."""

    def __init__(self, module: str, environment: dict[str, str], log: IO[bytes]) -> None:
        self.starts = 0
        self._module = module
        self._environment = environment
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None
        self._ending = False

    @property
    def pid(self) -> int:
        """The process id as it is now."""
        if self._process is None:
            raise RuntimeError("expected a started process")
        return self._process.pid

    def start(self) -> None:
        """Start it."""
        self.starts += 1
        self._process = subprocess.Popen(  # noqa: S603 - our own module, no shell
            [sys.executable, "-m", self._module],
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
        )

    def kill(self) -> None:
        """End it at once; whoever keeps it starts it anew."""
        os.kill(self.pid, signal.SIGKILL)

    def stop(self) -> None:
        """Stop it where it stands."""
        os.kill(self.pid, signal.SIGSTOP)

    def go_on(self) -> None:
        """Let it go on after `stop`."""
        os.kill(self.pid, signal.SIGCONT)

    def terminate(self, patience: float = 30) -> int:
        """End it as an operator would, and return its exit status."""
        self._ending = True
        if self._process is None:
            raise RuntimeError("expected a started process")
        self._process.terminate()
        self._process.send_signal(signal.SIGCONT)  # a test that fails may leave it stopped
        return self._process.wait(patience)

    async def keep(self) -> None:
        """Start it again whenever it has ended."""
        while not self._ending:
            if self._process is None or self._process.poll() is not None:
                self.start()
            await asyncio.sleep(_POLL_SECONDS)


@contextlib.asynccontextmanager
async def running(module: str, environment: dict[str, str], log: IO[bytes]) -> AsyncIterator[Process]:
    """Keep a process running as long as the context lasts."""
    process = Process(module, environment, log)
    process.start()
    keeping = asyncio.create_task(process.keep())
    try:
        yield process
    finally:
        keeping.cancel()
        await asyncio.to_thread(process.terminate)


@dataclass
class Sender:
    """Sends as Voucherify does, only faster: what was not acknowledged is sent again."""

    url: str
    answers: Counter[int] = field(default_factory=Counter)
    slowest: float = 0.0

    async def send(self, session: ClientSession, content: bytes) -> int | None:
        """Send once; return the status, or None where there was no answer."""
        headers = {"X-Voucherify-Signature": hmac.digest(SECRET.encode(), content, "sha256").hex()}
        started = time.monotonic()
        try:
            async with session.post(self.url, data=content, headers=headers) as answer:
                await answer.read()
        except (ClientError, OSError, TimeoutError):
            return None
        self.slowest = max(self.slowest, time.monotonic() - started)
        self.answers[answer.status] += 1
        return answer.status

    async def deliver(self, bodies: list[bytes], *, at_once: int) -> None:
        """Send all of them until each has been acknowledged."""
        waiting = iter(bodies)
        async with ClientSession(timeout=ClientTimeout(total=10)) as session:

            async def work() -> None:
                for content in waiting:
                    while await self.send(session, content) != 202:
                        await asyncio.sleep(_POLL_SECONDS)

            await asyncio.gather(*(work() for _ in range(at_once)))

    async def send_steadily(self, acknowledged: dict[str, float], *, every: float) -> None:
        """Start a reward of its own every so many seconds, whatever became of those before, until cancelled.

        `acknowledged` takes the reference of each that was acknowledged, with the time at which its sending began.
        """

        async def send(session: ClientSession, number: int) -> None:
            redemption, began = f"r_steady{number:06d}", time.monotonic()
            if await self.send(session, body(changed(rewarded(), "data.redemption.id", redemption))) == 202:
                acknowledged[for_redemption(redemption)] = began

        async with ClientSession(timeout=ClientTimeout(total=30)) as session, asyncio.TaskGroup() as group:
            for number in itertools.count():
                group.create_task(send(session, number))
                await asyncio.sleep(every)


class Receiver:
    """The operator's own system behind the `webhook` provider: counts what it is sent by reference."""

    def __init__(self) -> None:
        self.seen: Counter[str] = Counter()
        self.answering = asyncio.Event()
        """Cleared, it keeps whoever calls waiting for the answer."""
        self.answering.set()
        self.url = ""

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_post("/orders", self._take)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}/orders"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    @property
    def environment(self) -> dict[str, str]:
        """Settings by which it is the provider."""
        secret = "whsec_" + base64.b64encode(b"a secret of the receiver").decode()
        return {"PROVIDER": "webhook", "WEBHOOK_OUT_URL": self.url, "WEBHOOK_OUT_SECRET": secret}

    async def _take(self, request: web.Request) -> web.Response:
        self.seen[request.headers["webhook-id"]] += 1
        await request.read()
        await self.answering.wait()
        return web.Response(status=204)


async def until(condition: object, *, patience: float = 60.0) -> None:
    """Wait until an asynchronous condition holds.

    Raises:
        TimeoutError: it did not hold in time.
    """
    async with asyncio.timeout(patience):
        while not await condition():  # type: ignore[operator] # any coroutine function without arguments
            await asyncio.sleep(_POLL_SECONDS)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
