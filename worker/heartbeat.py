"""A worker's sign of life, and the watch whether it can do its work."""

import asyncio
import os
import socket

from rewardpost.connection import UNREACHABLE
from rewardpost.queue import LIFE_SIGN_SECONDS, Queue


class Heartbeat:
    """Shows a sign of life every few seconds; `problem` is None while Redis takes it."""

    def __init__(self, queue: Queue) -> None:
        self.problem: str | None = "the worker has not reached Redis yet"
        self.worker = f"{socket.gethostname()}:{os.getpid()}"
        self._queue = queue

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
