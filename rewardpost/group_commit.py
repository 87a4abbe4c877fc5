"""Group commit: callers that wait at the same moment share one call to the server.

There is no timer: a call that finds none in flight leaves at once, alone; while it is in flight the next one fills.
So an idle process has no added delay and a busy one pays one round trip, and one sync to disk, for many callers.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

Item = TypeVar("Item")
Answer = TypeVar("Answer")


class GroupCommit(Generic[Item, Answer]):
    """Passes items on in groups of at most `most`, in the order in which they came, one group at a time.

    `write` takes a group and returns an answer for each item, in order; an exception among the answers is raised
    for its item alone, one that `write` raises is raised for the whole group. With `size`, the sizes of a group sum up
    to `most_size` at the most; an item that is larger than that goes alone.
    """

    def __init__(
        self,
        write: Callable[[Sequence[Item]], Awaitable[Sequence[Answer | Exception]]],
        *,
        most: int,
        size: Callable[[Item], int] = lambda _: 0,
        most_size: int = 0,
    ) -> None:
        self._write = write
        self._most = most
        self._size = size
        self._most_size = most_size
        self._waiting: deque[tuple[Item, asyncio.Future[Answer]]] = deque()
        self._flight: asyncio.Task[None] | None = None

    def put(self, item: Item) -> asyncio.Future[Answer]:
        """Add an item to the next group; the future is the item's answer.

        Whoever gives the future up (cancels it) takes back nothing: the item is written all the same.
        """
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, answer))
        if self._flight is None:
            self._take_off()
        return answer

    async def settle(self) -> None:
        """Wait until nothing is waiting or in flight."""
        while self._flight is not None:
            await asyncio.wait({self._flight})

    async def abandon(self) -> None:
        """Drop what is waiting and break off what is in flight; its callers are told by a cancelled future."""
        self._drop_waiting()
        if self._flight is not None:
            self._flight.cancel()
            await asyncio.wait({self._flight})

    def _take_off(self) -> None:
        self._flight = asyncio.create_task(self._fly())
        self._flight.add_done_callback(self._land)

    def _land(self, flight: asyncio.Task[None]) -> None:
        # A callback and no `finally`: a task that is cancelled before its first step never gets there.
        self._flight = None
        if flight.cancelled():
            self._drop_waiting()
        elif self._waiting:
            self._take_off()

    def _drop_waiting(self) -> None:
        while self._waiting:
            self._waiting.popleft()[1].cancel()

    async def _fly(self) -> None:
        while self._waiting:
            await self._write_group(self._next_group())

    def _next_group(self) -> list[tuple[Item, asyncio.Future[Answer]]]:
        group = [self._waiting.popleft()]
        room = self._most_size - self._size(group[0][0])
        while self._waiting and len(group) < self._most:
            room -= self._size(self._waiting[0][0])
            if room < 0:
                break
            group.append(self._waiting.popleft())
        return group

    async def _write_group(self, group: Sequence[tuple[Item, asyncio.Future[Answer]]]) -> None:
        try:
            answers = await self._write([item for item, _ in group])
        except Exception as exc:  # noqa: BLE001 - whatever it is belongs to those who wait
            answers = [exc] * len(group)
        except asyncio.CancelledError:
            for _, future in group:
                future.cancel()
            raise
        if len(answers) != len(group):
            answers = [RuntimeError(f"expected {len(group)} answers, got {len(answers)}")] * len(group)
        for (_, future), answer in zip(group, answers, strict=True):
            if future.done():
                continue  # its caller has given up
            if isinstance(answer, Exception):
                future.set_exception(answer)
            else:
                future.set_result(answer)
