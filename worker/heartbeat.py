"""A worker's sign of life, and the watch whether it can do its work."""

import asyncio
import os
import socket
from datetime import datetime

from rewardpost.audits import Audits
from rewardpost.connection import UNREACHABLE
from rewardpost.queue import LIFE_SIGN_SECONDS, Queue


class Heartbeat:
    """Shows a sign of life every few seconds; `problem` is None while Redis takes it."""

    def __init__(self, queue: Queue, audits: Audits) -> None:
        self.problem: str | None = "the worker has not reached Redis yet"
        self.worker = f"{socket.gethostname()}:{os.getpid()}"
        self._queue = queue
        self._audits = audits
        self._heard: dict[str, datetime] = {}

    def heard(self, source: str, at: datetime) -> None:
        """Have the next sign of life say that a sender was heard."""
        self._heard[source] = max(at, self._heard.get(source, at))

    async def run(self) -> None:
        """Go on for ever."""
        while True:
            await self.beat()
            await asyncio.sleep(LIFE_SIGN_SECONDS)

    async def beat(self) -> None:
        """Show one sign of life."""
        try:
            await self._queue.sign_of_life(self.worker)
        except UNREACHABLE as exc:
            self.problem = f"Redis is out of reach ({type(exc).__name__})"
        else:
            self.problem = None
            await self._note_heard()

    async def _note_heard(self) -> None:
        heard, self._heard = self._heard, {}
        try:
            for source, at in heard.items():
                await self._audits.note_heard(source, at)
        except UNREACHABLE:  # a full server refuses it
            for source, at in heard.items():
                self.heard(source, at)
