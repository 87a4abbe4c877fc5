"""What tests of audits share: a ledger with its queue, whose deliveries are opened as a worker opens them."""

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import aiohttp
from arq.connections import ArqRedis

from rewardpost import codec
from rewardpost.audits import Audits
from rewardpost.dead_letters import DeadLetters
from rewardpost.delivery import Delivery
from rewardpost.fulfilment import Fulfilment
from rewardpost.keys import Keys
from rewardpost.ledger import Ledger
from rewardpost.limits import Limits, voucherify_limit
from rewardpost.operations import Operations
from rewardpost.queue import Queue, Receipt
from rewardpost.settings import Settings
from rewardpost.states import State
from tests.fakes import FakeProvider
from tests.seeding import held
from tests.voucherify_api import APP_ID, APP_TOKEN
from worker import voucherify_api
from worker.budget import SharedBudget
from worker.composition import Workshop
from worker.engine import Engine
from worker.provider_calls import ProviderCalls
from worker.reconcilers.protocol import Report, Scope
from worker.reconcilers.provider_audit import ProviderAudit
from worker.reconcilers.registry import Reconcilers
from worker.reconcilers.silence import Silence
from worker.reconcilers.voucherify_audit import VoucherifyAudit
from worker.tasks import OpenDelivery

RETENTION = timedelta(days=30)


class House:
    """One installation without processes: a test does a worker's work step by step."""

    def __init__(self, redis: ArqRedis, keys: Keys, settings: Settings | None = None) -> None:
        self.redis = redis
        self.keys = keys
        self.settings = settings or Settings()
        self.audits = Audits(redis, keys)
        self.ledger = Ledger(redis, keys, retention=RETENTION)
        self.operations = Operations(redis, keys, retention=RETENTION, by="tess")
        self.letters = DeadLetters(redis, keys)
        self.queue = Queue(redis, keys)

    async def deliver(self, delivery: Delivery) -> Receipt:
        """Take a webhook in as the door does."""
        return await self.queue.store(delivery)

    async def open_all(self) -> list[str]:
        """Open every delivery on the queue, and return what became of each."""
        task = OpenDelivery(self.ledger, self.letters, self.operations, projects=self.settings.voucherify_project_ids)
        outcomes = []
        for member in await self.redis.zrange(self.keys.queue, 0, -1):
            job_id = member.decode()
            if job_id.startswith(self.keys.delivery_job("")):
                payload = await self.redis.get(self.keys.job(job_id))
                job = await held(self.redis, self.keys, job_id)
                outcomes.append(await task.run(job, *codec.decode(payload)["a"]))
        return outcomes

    async def record(self, reference: str) -> Fulfilment:
        """Return a record that is there."""
        record = (await self.ledger.load(reference)).record
        assert record is not None
        return record

    async def records(self) -> list[Fulfilment]:
        """Return all records."""
        return [record async for record in self.operations.in_states(*State)]


class VoucherifyHouse(House):
    """The same with Voucherify's API at some address."""

    def __init__(
        self,
        redis: ArqRedis,
        keys: Keys,
        session: aiohttp.ClientSession,
        settings: Settings,
        limits: Limits | None = None,
    ) -> None:
        super().__init__(redis, keys, settings)
        budget = SharedBudget(limits, voucherify_limit(settings)) if limits is not None else None
        self.session = session
        api = voucherify_api.build(settings, session, budget)
        self.audit = VoucherifyAudit(api, redis, keys, self.ledger, self.audits, self.queue)

    async def run(self, scope: Scope | None = None) -> Report:
        """Run the audit once, as on schedule unless said otherwise."""
        parts = Reconcilers({"voucherify": self.audit}, self.audits)
        return await parts.run("voucherify", scope or Scope(longest=timedelta(seconds=30)))


def settings_for(url: str, **changes: object) -> Settings:
    """Return settings by which Voucherify's API is asked there, without having to wait."""
    asked = Settings(
        voucherify_api_url=url,
        voucherify_app_id=APP_ID,
        voucherify_app_token=APP_TOKEN,
        voucherify_calls_per_minute=100_000,
    )
    return dataclasses.replace(asked, **changes)  # type: ignore[arg-type] # whatever a test says


def provider_audit(house: House, provider: FakeProvider) -> ProviderAudit:
    """Return the audit of a provider in memory."""
    return ProviderAudit(ProviderCalls(provider), house.ledger, house.audits)


def silence(house: House) -> Silence:
    """Return the watch over what is heard."""
    return Silence(house.audits, house.queue, longest=house.settings.voucherify_silence)


@asynccontextmanager
async def working(settings: Settings) -> AsyncIterator[Engine]:
    """Run a whole worker in this process as long as the context lasts."""
    workshop = Workshop(settings)
    engine = Engine(**workshop.arq_settings(), handle_signals=False)
    task = asyncio.create_task(engine.async_run())
    try:
        yield engine
        assert not task.done()
    finally:
        await engine.close()
        await asyncio.gather(task, return_exceptions=True)
