"""The real worker as a process that ends itself with SIGKILL at one named point, once; started again, it just works.

Run as `python -m tests.killed_worker` with the worker's own settings, `PROVIDER=shop` and the variables of `variables`.
Its points are `before …` and `after …` for each write to the ledger (`write ready + dispatching`, `defer job`,
`end job`) and each call to the provider (`submit`, `find`, `cancel`, `status`). Between these two the shop adds its
own `during …`, once it has done what the call asks for.
"""

import functools
import os
import signal
import sys
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import datetime
from pathlib import Path
from types import ModuleType
from typing import ParamSpec, TypeVar

import aiohttp

import worker.__main__
import worker.composition
from rewardpost.changes import Change
from rewardpost.fulfilment import Fulfilment
from rewardpost.ledger import Ledger, SettledDelivery
from rewardpost.settings import Settings
from tests.conformance.fifth import Shop
from worker import providers

_CALLS = ("submit", "find", "cancel", "status")
_DEFER = "defer job"

P = ParamSpec("P")
T = TypeVar("T")


class Points:
    """The points that a worker passes, as they are noted in a file; at the armed one its process has to end."""

    def __init__(self, file: Path, armed: str = "") -> None:
        self.last = ""
        """The latest point that was noted by this process."""
        self._file = file
        self._armed = armed
        self._mark = file.with_suffix(".killed")
        self._seen: Counter[str] = Counter()

    @property
    def killed(self) -> bool:
        """Whether a process has ended at the armed point."""
        return self._mark.exists()

    @property
    def passed(self) -> list[str]:
        """The points passed so far, by whatever process."""
        return self._file.read_text(encoding="utf-8").splitlines() if self._file.exists() else []

    def reach(self, point: str) -> bool:
        """Note a point, the second time as `… 2`; say whether the process has to end here, which is true only once."""
        self._seen[point] += 1
        name = point if self._seen[point] == 1 else f"{point} {self._seen[point]}"
        with self._file.open("a", encoding="utf-8") as stream:
            stream.write(f"{name}\n")
        self.last = name
        if name != self._armed or self.killed:
            return False
        self._mark.touch()
        return True


def variables(points: Path, armed: str, shop_url: str) -> dict[str, str]:
    """Return what a worker's environment needs besides its settings."""
    return {"POINTS": str(points), "KILL_AT": armed, "SHOP_URL": shop_url}


def written(change: Change) -> str:
    """Name a write by the states that it goes through, and by the notes that leave the state as it is."""
    parts = [
        entry.after.value if entry.before is not entry.after else f"{entry.after} ({entry.why})"
        for entry in change.entries
    ]
    return f"write {' + '.join(parts)}"


def main() -> int:
    """Run the worker; return its exit status."""
    points = Points(Path(os.environ["POINTS"]), os.environ["KILL_AT"])
    module = ModuleType(f"{providers.__name__}.shop")
    module.build = functools.partial(_build, points)  # type: ignore[attr-defined] # what the registry looks for
    sys.modules[module.__name__] = module
    worker.composition.Ledger = _ledger(points)  # type: ignore[attr-defined] # the same ledger, with points around its writes
    return worker.__main__.main()


def _build(points: Points, settings: Settings, session: aiohttp.ClientSession) -> Shop:
    shop = Shop(session, os.environ["SHOP_URL"], settings.provider_timeout)
    for call in _CALLS:
        setattr(shop, call, _between(points, call, getattr(shop, call)))
    return shop


def _ledger(points: Points) -> type[Ledger]:
    class PointedLedger(Ledger):
        async def apply(
            self,
            change: Change,
            *,
            before: Fulfilment | None,
            delivery: SettledDelivery | None = None,
            token: str = "",
        ) -> Fulfilment:
            apply = _between(points, written(change), super().apply)
            return await apply(change, before=before, delivery=delivery, token=token)

        async def end_job(self, record: Fulfilment, token: str) -> None:
            await _between(points, "end job", super().end_job)(record, token)

        async def defer_job(self, record: Fulfilment, due: datetime, token: str) -> None:
            defer = super().defer_job
            # A job may run within the millisecond before its record is due, and then waits once more.
            if points.last.startswith(f"after {_DEFER}"):
                await defer(record, due, token)
            else:
                await _between(points, _DEFER, defer)(record, due, token)

    return PointedLedger


def _between(points: Points, name: str, act: Callable[P, Awaitable[T]]) -> Callable[P, Awaitable[T]]:
    async def acted(*args: P.args, **kwargs: P.kwargs) -> T:
        _pass(points, f"before {name}")
        result = await act(*args, **kwargs)
        _pass(points, f"after {name}")
        return result

    return acted


def _pass(points: Points, point: str) -> None:
    if points.reach(point):
        os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main())
