"""One stage for a reward that is shipped or cancelled: a shop, a worker process and keys of its own, and its ledger."""

import asyncio
import contextlib
import os
import sys
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Self

from cli.embedded_server import EmbeddedServer
from rewardpost import states
from rewardpost.connection import connect
from rewardpost.fulfilment import Entry, Fulfilment
from rewardpost.keys import Keys
from rewardpost.ledger import Ledger
from rewardpost.operations import Operations
from rewardpost.queue import AGAIN_MS, Queue
from rewardpost.reference import for_redemption
from rewardpost.states import State
from tests import builders
from tests.builders import REDEMPTION, SOURCE_ID
from tests.house import running
from tests.killed_worker import Points, variables
from tests.ledger_shop import LedgerShop

REFERENCE = for_redemption(REDEMPTION)

_FAR_AWAY_MS = 60_000
_RETENTION = timedelta(days=30)


class Scene:
    """A worker with a shop; `directory`, whose name no other scene has, takes its files and names its keys."""

    def __init__(
        self,
        server: EmbeddedServer,
        directory: Path,
        shop: LedgerShop | None = None,
        *,
        kill_at: str = "",
        **environment: str,
    ) -> None:
        self.shop = shop or LedgerShop()
        self.points = Points(directory / "points", kill_at)
        addresses = directory / "addresses.csv"
        addresses.write_text(
            "source_id,name,line_1,city,postal_code,country\n"
            f"{SOURCE_ID},Tess Testperson,Probestrasse 7,Musterstadt,10117,DE\n",
            encoding="utf-8",
        )
        self._kill_at = kill_at
        self._server = server
        self._directory = directory
        self._log = directory / "worker.log"
        self._environment = {
            "PATH": os.environ["PATH"],
            "REDIS_URL": server.url,
            "KEY_PREFIX": directory.name,
            "WORKER_PORT": "",
            "WORKER_LEASE_SECONDS": "1",
            "ADDRESS_FILE": str(addresses),
            "SHIP_SINCE": "2020-01-01T00:00:00Z",
            "PROVIDER": "shop",
            "PROVIDER_TIMEOUT_SECONDS": "1",
            "PROVIDER_QUIET_SECONDS": "1",
            **environment,
        }
        self._keys = Keys(directory.name)
        self._stack = contextlib.AsyncExitStack()

    async def __aenter__(self) -> Self:
        await self._stack.enter_async_context(self.shop)
        self.shop.on_commit = self._committed
        self._redis = connect(self._server.url, call_timeout=timedelta(seconds=30))
        self._stack.push_async_callback(self._redis.aclose)
        self._queue = Queue(self._redis, self._keys)
        self._ledger = Ledger(self._redis, self._keys, retention=_RETENTION)
        self.operations = Operations(self._redis, self._keys, retention=_RETENTION, by="tess")
        log = self._stack.enter_context(self._log.open("ab"))
        environment = {
            **self._environment,
            **variables(self._directory / "points", self._kill_at, self.shop.url),
        }
        self.worker = await self._stack.enter_async_context(running("tests.killed_worker", environment, log))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    @property
    def was_mended(self) -> bool:
        """Whether the sweep had to give a job back that was lost."""
        return "audit_mended" in self._log.read_text(encoding="utf-8")

    async def reward(self, redemption: str = REDEMPTION) -> None:
        """Put the webhook on the queue that says that a reward was redeemed."""
        await self._store(builders.changed(builders.rewarded(), "data.redemption.id", redemption))

    async def roll_back(self, redemption: str = REDEMPTION) -> None:
        """Put the webhook on the queue that takes it back."""
        await self._store(builders.rolled_back(redemption))

    async def retry(self) -> None:
        """Have the reward tried again, as an operator does."""
        await self.operations.retry(REFERENCE)

    async def command(self, *arguments: str) -> tuple[int, str]:
        """Call the command `rewardpost`; return its exit status and what it said on standard error."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "cli", *arguments),
            env=self._environment,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        _, said = await process.communicate()
        return process.returncode or 0, said.decode()

    async def record(self, redemption: str = REDEMPTION) -> Fulfilment | None:
        """Return the reward's record, where there is one."""
        return (await self._ledger.load(for_redemption(redemption))).record

    async def journal(self) -> Sequence[Entry]:
        """Return the reward's journal."""
        return await self._ledger.journal(REFERENCE)

    async def is_in(self, *wanted: State) -> bool:
        """Say whether the reward is in one of these states."""
        record = await self.record()
        return record is not None and record.state in wanted

    async def at_rest(self) -> bool:
        """Say whether no job is running, due, or due soon, and the worker was killed, if it was to be, and is back."""
        killings = 1 if self._kill_at else 0
        if self.points.killed != bool(killings) or self.worker.starts != 1 + killings:
            return False
        seconds, _ = await self._redis.time()
        soon = AGAIN_MS + seconds * 1000 + _FAR_AWAY_MS
        return int(await self._redis.zcount(self._keys.queue, "-inf", soon)) == 0

    async def _store(self, tree: builders.Tree) -> None:
        await self._queue.store(builders.delivery(tree))

    def _committed(self, call: str) -> bool:
        if not self.points.reach(f"during {call}"):
            return False
        self.worker.kill()
        return True


def is_unbroken(journal: Sequence[Entry], record: Fulfilment) -> bool:
    """Say whether the journal leads from nothing to the record along the edges of the diagram."""
    before: State | None = None
    for entry in journal:
        if entry.before is not before or (entry.after is not before and entry.after not in states.EDGES[before]):
            return False
        before = entry.after
    return before is record.state
