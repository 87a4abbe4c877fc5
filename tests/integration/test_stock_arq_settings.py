"""What stock arq does with settings and with the log: why ours have a codec, a log and a start of their own."""

from typing import Any, cast

import arq.worker
import pytest
from arq.connections import ArqRedis, RedisSettings
from arq.worker import Worker, create_worker

from tests.arq_workers import Tasks, enqueue, lines_of_log, run_all

STOCK = Worker


@pytest.fixture
def _stock_in_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stock arq's worker where ours may have been put; whatever was there comes back afterwards."""
    monkeypatch.setattr(arq.worker, "Worker", STOCK)


async def test_arguments_of_jobs_stand_in_the_log(stock: ArqRedis) -> None:
    """At the level of everyday operation, so that a customer's address would be kept with the logs."""
    await enqueue(stock, "works", "12 Example Lane")
    with lines_of_log("arq.worker") as said:
        await run_all(Worker, stock, Tasks())
    assert any(line.startswith("INFO") and "12 Example Lane" in line for line in said)


def test_the_settings_of_a_connection_print_its_password() -> None:
    """Whoever logs them or lets an exception show them has given it away."""
    assert "hunter2" in repr(RedisSettings(password="hunter2"))


@pytest.mark.usefixtures("_stock_in_place")
async def test_a_misspelt_attribute_of_the_settings_class_is_ignored() -> None:
    """In silence: the worker runs with the default."""

    class Settings:
        functions = Tasks().functions()
        max_job = 7

    assert create_worker(cast("Any", Settings)).max_jobs == 10


@pytest.mark.usefixtures("_stock_in_place")
async def test_an_inherited_attribute_of_the_settings_class_is_ignored() -> None:
    """Only what stands in the class itself is read."""

    class Shared:
        max_jobs = 7

    class Settings(Shared):
        functions = Tasks().functions()

    assert Settings.max_jobs == 7
    assert create_worker(cast("Any", Settings)).max_jobs == 10


@pytest.mark.usefixtures("_stock_in_place")
async def test_arqs_command_passes_on_what_the_signature_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that takes its options as `**options` gets none of them."""

    class Hiding(STOCK):
        def __init__(self, functions: Any = (), **options: Any) -> None:  # noqa: ANN401 - arq's own
            super().__init__(functions, **options)

    class Settings:
        functions = Tasks().functions()
        max_jobs = 7

    monkeypatch.setattr(arq.worker, "Worker", Hiding)
    assert create_worker(cast("Any", Settings)).max_jobs == 10
