"""The composition root of a worker: settings in, arq's settings out, everything connected at start-up."""

import asyncio
import contextlib
import sys
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import arq.worker
from aiohttp import ClientSession, DummyCookieJar, TCPConnector, web
from arq.connections import ArqRedis
from arq.cron import CronJob, cron
from prometheus_client import REGISTRY

from rewardpost import codec, connection, logs, probes
from rewardpost.audits import Audits
from rewardpost.changes import WORKER
from rewardpost.client import SharingRedis
from rewardpost.connection import UNREACHABLE
from rewardpost.dead_letters import DeadLetters
from rewardpost.keys import Keys
from rewardpost.ledger import Ledger
from rewardpost.limits import Limits, provider_limit, voucherify_limit
from rewardpost.operations import Operations
from rewardpost.queue import OPEN_DELIVERY, SHIP_REWARD, Queue
from rewardpost.settings import Settings, SettingsError, load
from worker.address_sources import registry as address_sources
from worker.budget import SharedBudget
from worker.edge import JOB_TIMEOUT, Edge, Task
from worker.engine import Engine
from worker.gauges import Gauges
from worker.heartbeat import Heartbeat
from worker.provider_calls import ProviderCalls
from worker.providers import registry as providers
from worker.providers.protocol import Provider
from worker.reconcilers import registry as reconcilers
from worker.reconcilers.registry import Reconcilers
from worker.ship_reward import ShipReward
from worker.tasks import OpenDelivery, SetUnreadableAside

CALL_TIMEOUT = timedelta(seconds=5)
"""How long a worker waits for an answer of Redis."""
HEALTH_RECORD = timedelta(seconds=10)
"""How often arq writes the record that `arq --check` reads."""

_TICKS: Mapping[str, Mapping[str, Any]] = {
    "sweep": {"second": 7},
    "provider": {"minute": 17, "second": 23},
    "voucherify": {"minute": {3, 13, 23, 33, 43, 53}, "second": 37},
    "silence": {"minute": 47, "second": 53},
}
# When each reconciler runs; apart from one another, and from what others do at the full minute.
_SPARE = timedelta(seconds=30)
_CANCEL_PATIENCE_SECONDS = 0.1
_REDIS_PAUSE_SECONDS = 0.5

log = logs.get(__name__)


class CannotStart(Exception):  # noqa: N818 - named after what it says to the operator
    """The worker cannot start here; the message says what was expected."""


class Workshop:
    """All that one worker process holds; connects nothing before `open`.

    Raises:
        SettingsError: `REDIS_URL` is none, or `PROVIDER` names none.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._make_provider = providers.factory(settings.provider)
        self.keys = Keys(settings.key_prefix)
        self.redis = SharingRedis(_connect(settings))
        self.heartbeat = Heartbeat(Queue(self.redis, self.keys), Audits(self.redis, self.keys))
        self.ledger = Ledger(self.redis, self.keys, retention=settings.retention)
        self._edge = Edge(limit=settings.worker_max_attempts)
        self._reconcilers: Reconcilers | None = None
        self._closing = contextlib.AsyncExitStack()
        self._opened = False

    def arq_settings(self) -> dict[str, Any]:
        """Return the keyword arguments of arq's worker."""
        names = (OPEN_DELIVERY, SHIP_REWARD, codec.UNREADABLE)
        return {
            "functions": [self._edge.function(name) for name in names],
            "cron_jobs": [self._cron_job(name) for name in _TICKS],
            "queue_name": self.keys.queue,
            "redis_pool": self.redis,
            "redis_settings": connection.arq_settings(self.settings.redis_url),  # only `arq --check` reads it
            "on_startup": self._on_startup,
            "on_shutdown": self._on_shutdown,
            "lease": self.settings.worker_lease,
            "connect": lambda: _connect(self.settings),
            "max_jobs": self.settings.worker_max_jobs,
            "job_timeout": JOB_TIMEOUT,
            "health_check_interval": HEALTH_RECORD,
            "job_serializer": codec.encode,
            "job_deserializer": codec.decode,
            "log_results": False,
        }

    async def open(self) -> None:
        """Open the health routes and everything that the tasks call; once is enough, further calls do nothing.

        Raises:
            CannotStart: the port of the health routes is taken.
        """
        if self._opened:
            return
        self._opened = True
        session = await self._closing.enter_async_context(_session(self.settings))
        provider = self._make_provider(self.settings, session)
        self._closing.push_async_callback(provider.close)
        self._edge.tasks = {task.name: task for task in self._tasks(provider, session)}
        self._reconcilers = reconcilers.build(self.settings, self.redis, self.keys, session, provider)
        if self.settings.worker_port is not None:
            self._show_gauges()
        await self._serve()
        beating = asyncio.create_task(self.heartbeat.run())
        self._closing.push_async_callback(_cancel, beating)

    async def close(self) -> None:
        """Say farewell and give back connections."""
        with contextlib.suppress(*UNREACHABLE):
            await Queue(self.redis, self.keys).farewell(self.heartbeat.worker)
        await self._closing.aclose()

    def _tasks(self, provider: Provider, session: ClientSession) -> list[Task]:
        letters = DeadLetters(self.redis, self.keys)
        operations = Operations(self.redis, self.keys, retention=self.settings.retention, by=WORKER)
        limits = Limits(self.redis, self.keys)
        sources = address_sources.build(self.settings, session, SharedBudget(limits, voucherify_limit(self.settings)))
        calls = ProviderCalls(provider, SharedBudget(limits, provider_limit(self.settings, provider.call_timeout)))
        return [
            OpenDelivery(
                self.ledger,
                letters,
                operations,
                projects=self.settings.voucherify_project_ids,
                heard=self.heartbeat.heard,
            ),
            ShipReward(self.ledger, calls, sources, self.settings),
            SetUnreadableAside(self.ledger, letters),
        ]

    def _cron_job(self, name: str) -> CronJob:
        """Return a reconciler as a job that one of all workers runs at each of its times."""

        async def tick(_ctx: dict[Any, Any]) -> None:
            if self._reconcilers is not None:
                await self._reconcilers.tick(name)

        # With the tag in their ids, jobs of another installation on the same server are no duplicates of these.
        timeout = reconcilers.LONGEST[name] + _SPARE
        return cron(tick, name=f"{self.keys.tag}:{name}", timeout=timeout.total_seconds(), **_TICKS[name])  # type: ignore[arg-type] # arq asks for a protocol that names `__qualname__`

    def _show_gauges(self) -> None:
        gauges = Gauges(self.redis, self.keys, [voucherify_limit(self.settings), provider_limit(self.settings)])
        REGISTRY.register(gauges)
        self._closing.callback(REGISTRY.unregister, gauges)
        self._closing.push_async_callback(_cancel, asyncio.create_task(gauges.run()))

    async def _serve(self) -> None:
        if self.settings.worker_port is None:
            return
        app = web.Application()
        app.add_routes(probes.routes(lambda: self.heartbeat.problem))
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        self._closing.push_async_callback(runner.cleanup)
        site = web.TCPSite(runner, self.settings.worker_host, self.settings.worker_port)
        try:
            await site.start()
        except OSError as exc:
            raise CannotStart(
                f"WORKER_PORT: expected a port that is free, {self.settings.worker_port} is taken; "
                "0 takes a free one, empty switches the health routes off"
            ) from exc
        host, port = runner.addresses[0][:2]
        log.info("worker_probes_opened", host=host, port=port)

    async def _on_startup(self, _ctx: dict[Any, Any]) -> None:
        logs.configure(self.settings.log_format, stream=sys.stdout)  # the `arq` command has configured its own
        await self.open()
        await self._reach_redis()
        log.info("worker_started", worker=self.heartbeat.worker, provider=self.settings.provider)

    async def _reach_redis(self) -> None:
        while True:
            try:
                await self.ledger.installed()
            except UNREACHABLE:
                await asyncio.sleep(_REDIS_PAUSE_SECONDS)
            else:
                return await self.heartbeat.beat()

    async def _on_shutdown(self, _ctx: dict[Any, Any]) -> None:
        await self.close()
        log.info("worker_stopped", worker=self.heartbeat.worker)


def worker_settings(environ: Mapping[str, str]) -> type:
    """Return the class that `arq worker.WorkerSettings` asks for, and have arq start our worker with it.

    Raises:
        SystemExit: a setting is wrong; the message names it.
    """
    try:
        workshop = Workshop(load(environ))
    except SettingsError as exc:
        raise SystemExit(str(exc)) from None
    # arq's command names its own class; there is no setting for it. A test pins that this still works.
    arq.worker.Worker = Engine  # type: ignore[misc] # the one thing of arq that is replaced
    return type("WorkerSettings", (), workshop.arq_settings())


def _connect(settings: Settings) -> ArqRedis:
    try:
        return connection.connect(settings.redis_url, call_timeout=CALL_TIMEOUT)
    except ValueError as exc:
        raise SettingsError(f"REDIS_URL: expected {exc}") from exc


def _session(settings: Settings) -> ClientSession:
    # A job that waits for a connection would spend its call's deadline, so there are enough for all of them.
    connector = TCPConnector(limit=2 * settings.worker_max_jobs)
    return ClientSession(connector=connector, cookie_jar=DummyCookieJar())


async def _cancel(task: asyncio.Task[None]) -> None:
    while not task.done():  # redis-py can swallow a cancelling on Python 3.11
        task.cancel()
        await asyncio.wait({task}, timeout=_CANCEL_PATIENCE_SECONDS)
