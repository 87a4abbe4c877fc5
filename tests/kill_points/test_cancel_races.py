"""Cancellings that race the order they are about: however they meet, no order stays live that nobody wants."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from cli.embedded_server import EmbeddedServer
from rewardpost.states import State
from tests.house import until
from tests.kill_points.scene import REFERENCE, Scene, is_unbroken
from tests.ledger_shop import LedgerShop
from worker.providers.protocol import Progress

LOOK_UPS = ["find"] * 20
"""Held back, so that however slow a test is, it is through with what has to come before a look-up."""
TOGETHER = 25

Cancel = Callable[[Scene], Awaitable[None]]


async def _operator(scene: Scene) -> None:
    await scene.operations.cancel(REFERENCE, "changed mind")


async def _rollback(scene: Scene) -> None:
    await scene.roll_back()


async def _both(scene: Scene) -> None:
    await asyncio.gather(_operator(scene), _rollback(scene))


by_anyone = pytest.mark.parametrize("cancel", [_operator, _rollback], ids=["operator", "rollback"])


@pytest.fixture
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory whose name no other test has."""
    return tmp_path_factory.mktemp("race")


@by_anyone
async def test_an_order_that_lands_after_its_deadline_is_cancelled(
    server: EmbeddedServer, directory: Path, cancel: Cancel
) -> None:
    """Cancelled while the call is under way; the request comes in when the worker has given it up."""
    async with Scene(server, directory) as scene:
        scene.shop.hold_back += ["submit", *LOOK_UPS]
        await scene.reward()
        await until(lambda: _held_back(scene))
        await cancel(scene)
        await until(lambda: scene.is_in(State.UNKNOWN))
        assert scene.shop.orders == []
        scene.shop.let_in.set()
        await _expect_cancelled(scene)
        assert (len(scene.shop.orders), scene.shop.committed["cancel"]) == (1, 1)


@by_anyone
async def test_an_order_that_lands_after_the_cancelling_is_cancelled_too(
    server: EmbeddedServer, directory: Path, cancel: Cancel
) -> None:
    """The first request was given up and sent again; it lands when cancelling has freed its reference."""
    async with Scene(server, directory, LedgerShop(frees_references=True)) as scene:
        scene.shop.hold_back.append("submit")
        await scene.reward()
        await until(lambda: scene.is_in(State.SUBMITTED))
        assert len(scene.shop.orders) == 1
        scene.shop.hold_back += LOOK_UPS
        await cancel(scene)
        await until(lambda: _cancel_sent(scene))
        scene.shop.let_in.set()
        await _expect_cancelled(scene)
        assert (len(scene.shop.orders), scene.shop.committed["cancel"]) == (2, 2)


@pytest.mark.parametrize("cancel", [_operator, _rollback, _both], ids=["operator", "rollback", "both"])
async def test_an_order_whose_answer_was_lost_is_cancelled(
    server: EmbeddedServer, directory: Path, cancel: Cancel
) -> None:
    """Its id is not known when it is cancelled; it is looked up first."""
    async with Scene(server, directory) as scene:
        scene.shop.lose_answers.append("submit")
        await scene.reward()
        await until(lambda: scene.is_in(State.UNKNOWN))
        await cancel(scene)
        await _expect_cancelled(scene)
        assert (len(scene.shop.orders), scene.shop.committed["cancel"]) == (1, 1)


@by_anyone
async def test_a_request_that_was_lost_is_not_sent_again(
    server: EmbeddedServer, directory: Path, cancel: Cancel
) -> None:
    """Cancelled before it is known that nothing came of the call: then there is nothing left to do."""
    async with Scene(server, directory) as scene:
        scene.shop.lose_requests.append("submit")
        scene.shop.hold_back += LOOK_UPS
        await scene.reward()
        await until(lambda: scene.is_in(State.UNKNOWN))
        await cancel(scene)
        await until(lambda: _is_cancelling(scene))
        scene.shop.let_in.set()
        await _expect_cancelled(scene)
        assert scene.shop.committed["submit"] == 0


@by_anyone
async def test_a_cancelling_during_the_look_up_is_heard(
    server: EmbeddedServer, directory: Path, cancel: Cancel
) -> None:
    """What was found is decided anew on the record as it is by then."""
    async with Scene(server, directory) as scene:
        scene.shop.lose_answers.append("submit")
        scene.shop.hold_back += LOOK_UPS
        await scene.reward()
        await until(lambda: _held_back(scene))
        await cancel(scene)
        await until(lambda: _is_cancelling(scene))
        scene.shop.let_in.set()
        await _expect_cancelled(scene)
        assert (len(scene.shop.orders), scene.shop.committed["cancel"]) == (1, 1)


@by_anyone
@pytest.mark.parametrize("lost", ["request", "answer"])
async def test_a_cancelling_that_is_lost_is_looked_after(
    server: EmbeddedServer, directory: Path, cancel: Cancel, lost: str
) -> None:
    """The order is looked for after the quiet time, and cancelled again if it is live."""
    async with Scene(server, directory) as scene:
        plan = scene.shop.lose_requests if lost == "request" else scene.shop.lose_answers
        plan.append("cancel")
        await scene.reward()
        await until(lambda: scene.is_in(State.SUBMITTED))
        await cancel(scene)
        await _expect_cancelled(scene)
        assert (len(scene.shop.orders), scene.shop.committed["cancel"]) == (1, 1)


async def test_a_rollback_that_comes_first_leaves_nothing_to_ship(server: EmbeddedServer, directory: Path) -> None:
    """The reward finds the tombstone, and the shop never hears of it."""
    async with Scene(server, directory) as scene:
        await scene.roll_back()
        await until(lambda: scene.is_in(State.TOMBSTONE))
        await scene.reward()
        await until(scene.at_rest)
        assert await scene.is_in(State.TOMBSTONE)
        assert not scene.shop.committed


async def test_rollbacks_that_come_with_their_rewards_leave_no_live_order(
    server: EmbeddedServer, directory: Path
) -> None:
    """Which of the two is opened first, and how far the other has come by then, is left to chance."""
    redemptions = [f"r_race{number:04d}" for number in range(TOGETHER)]
    async with Scene(server, directory) as scene:
        await asyncio.gather(
            *(send(redemption) for redemption in redemptions for send in (scene.reward, scene.roll_back))
        )
        await until(scene.at_rest)
        for redemption in redemptions:
            record = await scene.record(redemption)
            assert record is not None
            assert record.state in {State.CANCELLED, State.TOMBSTONE}
        assert scene.shop.live == []


async def test_what_has_been_shipped_cannot_be_cancelled(server: EmbeddedServer, directory: Path) -> None:
    """The command refuses; the order stays, and nobody tries to cancel it."""
    async with Scene(server, directory) as scene:
        await scene.reward()
        await until(lambda: scene.is_in(State.SUBMITTED))
        await scene.operations.shipped(REFERENCE, "T1")
        before = await scene.record()
        status, said = await scene.command("cancel", REFERENCE)
        assert (status, "it has been shipped" in said) == (1, True)
        assert await scene.record() == before
        await scene.roll_back()
        await until(scene.at_rest)
        assert await scene.is_in(State.SHIPPED)
        assert (len(scene.shop.live), scene.shop.committed["cancel"]) == (1, 0)


@by_anyone
async def test_a_cancelling_that_comes_too_late_for_the_shop_is_for_a_person(
    server: EmbeddedServer, directory: Path, cancel: Cancel
) -> None:
    """The shop has sent it before the ledger knows: that cannot be undone, and must not look as if it were."""
    async with Scene(server, directory) as scene:
        await scene.reward()
        await until(lambda: scene.is_in(State.SUBMITTED))
        scene.shop.move(Progress.SHIPPED)
        await cancel(scene)
        await until(lambda: scene.is_in(State.NEEDS_ATTENTION))
        await until(scene.at_rest)
        assert len(scene.shop.live) == 1


async def _expect_cancelled(scene: Scene) -> None:
    await until(lambda: scene.is_in(State.CANCELLED))
    await until(scene.at_rest)
    record = await scene.record()
    assert record is not None
    assert record.state is State.CANCELLED
    assert is_unbroken(await scene.journal(), record)
    assert scene.shop.live == []
    assert not scene.was_mended


async def _held_back(scene: Scene) -> bool:
    return scene.shop.held_back > 0


async def _is_cancelling(scene: Scene) -> bool:
    record = await scene.record()
    return record is not None and record.cancelling is not None


async def _cancel_sent(scene: Scene) -> bool:
    record = await scene.record()
    return record is not None and record.cancel_sent
