"""The worker is killed once at each point of each way of a reward: still one order at the shop, or none if cancelled.

All runs that the chosen tests ask for take place side by side, each with a shop, a worker and keys of its own, since
most of each is waiting for leases, deadlines and quiet times.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest
import pytest_asyncio

from cli.embedded_server import EmbeddedServer
from rewardpost.fulfilment import Entry, Fulfilment
from rewardpost.states import State
from tests.house import until
from tests.kill_points.scene import Scene, is_unbroken
from tests.kill_points.ways import WAYS, Way
from worker.providers.protocol import Order

AT_ONCE = 8
PATIENCE = 45.0
"""Seconds for each half of a run."""


class Case(NamedTuple):
    """One run of one way."""

    way: str
    kill_at: str = ""
    """Empty: the worker is not killed."""

    def __str__(self) -> str:
        return f"{self.way}: {self.kill_at}" if self.kill_at else self.way


class Result(NamedTuple):
    """How a run ended."""

    came_to_rest: bool
    record: Fulfilment | None
    journal: Sequence[Entry]
    orders: Sequence[Order]
    repeated: int
    was_mended: bool
    points: Sequence[str]


Runs = Mapping[Case, Awaitable[Result]]

UNDISTURBED = [Case(way) for way in WAYS]
KILLS = [Case(name, point) for name, way in WAYS.items() for point in way.kills]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def runs(
    request: pytest.FixtureRequest, server: EmbeddedServer, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Runs]:
    """The runs of the chosen tests, in the tests' order, each under way or over."""
    gate = asyncio.Semaphore(AT_ONCE)
    items = [item for item in request.session.items if isinstance(item, pytest.Function)]
    chosen = [item.callspec.params["case"] for item in items if item.module is request.module]
    cases = [case for case in chosen if isinstance(case, Case)]
    runs = {case: asyncio.create_task(_run(case, gate, server, tmp_path_factory.mktemp("kill"))) for case in cases}
    yield runs
    for run in runs.values():
        run.cancel()
    await asyncio.gather(*runs.values(), return_exceptions=True)


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("case", UNDISTURBED, ids=str)
async def test_every_point_of_a_way_is_known(runs: Runs, case: Case) -> None:
    """A new write or call is a new point at which a worker may die, and belongs on the list of its way."""
    way = WAYS[case.way]
    result = await runs[case]
    _expect_end(result, way)
    assert tuple(result.points) == way.points


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("case", KILLS, ids=str)
async def test_a_worker_killed_at_a_point_makes_no_second_order_and_loses_none(runs: Runs, case: Case) -> None:
    """The next worker takes the reward up where it stands, and it ends as if nothing had happened."""
    result = await runs[case]
    assert case.kill_at in result.points
    _expect_end(result, WAYS[case.way])


def _expect_end(result: Result, way: Way) -> None:
    assert result.came_to_rest
    record, live = result.record, [order.id for order in result.orders if order.live]
    assert record is not None
    assert record.state is way.end
    assert len(live) == way.live
    assert len(result.orders) <= 1
    assert live in ([], [record.provider_order])
    assert result.repeated == 0
    assert not result.was_mended
    assert is_unbroken(result.journal, record)


async def _run(case: Case, gate: asyncio.Semaphore, server: EmbeddedServer, directory: Path) -> Result:
    way = WAYS[case.way]
    async with gate, Scene(server, directory, way.shop(), kill_at=case.kill_at, **way.settings) as scene:
        came_to_rest = False
        with contextlib.suppress(TimeoutError):
            await _play(scene, way)
            came_to_rest = True
        return Result(
            came_to_rest=came_to_rest,
            record=await scene.record(),
            journal=await scene.journal(),
            orders=scene.shop.orders,
            repeated=scene.shop.repeated,
            was_mended=scene.was_mended,
            points=scene.points.passed,
        )


async def _play(scene: Scene, way: Way) -> None:
    happenings: list[tuple[Callable[[], Awaitable[None]], str | None]] = [
        (scene.reward, way.rewarded_after),
        (scene.roll_back, way.rolled_back_after),
        (scene.retry, way.retried_after),
    ]
    async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as group:
        for happen, point in happenings:
            if point is not None:
                group.create_task(_after(scene, point, happen))
    await until(lambda: _is_over(scene, way), patience=PATIENCE)


async def _after(scene: Scene, point: str, happen: Callable[[], Awaitable[None]]) -> None:
    while point and point not in scene.points.passed:
        await asyncio.sleep(0.05)
    await happen()


async def _is_over(scene: Scene, way: Way) -> bool:
    return await scene.is_in(way.end, State.NEEDS_ATTENTION) and await scene.at_rest()
