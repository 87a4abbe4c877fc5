"""A worker is stopped in the middle of a call to the provider, past its lease: nobody calls a second time."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import ClientSession

from cli.embedded_server import EmbeddedServer
from rewardpost.fulfilment import Fulfilment
from rewardpost.keys import DEFAULT_PREFIX, Keys
from rewardpost.queue import AGAIN_MS
from rewardpost.reference import for_redemption
from rewardpost.states import State
from tests.builders import REDEMPTION, body, rewarded
from tests.house import House, Process, Receiver, Sender, until

REFERENCE = for_redemption(REDEMPTION)
KEYS = Keys(DEFAULT_PREFIX)
JOB = KEYS.reward_job(REFERENCE)


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    """A receiver that keeps whoever calls waiting."""
    async with Receiver() as receiver:
        receiver.answering.clear()
        yield receiver
        receiver.answering.set()


@pytest.fixture
async def house(own_server: EmbeddedServer, tmp_path: Path, receiver: Receiver) -> AsyncIterator[House]:
    """A house with two workers and a short lease in front of the receiver."""
    house = House(own_server, tmp_path, **receiver.environment, WORKER_LEASE_SECONDS="1")
    await house.open(workers=2)
    yield house
    await house.close()


async def test_a_call_that_was_answered_is_written_down_whoever_has_the_job(house: House, receiver: Receiver) -> None:
    """A worker that goes on before its call's deadline still writes what the receiver said: submitted, seen once."""
    stopped = await _stop_in_the_call(house, receiver)
    receiver.answering.set()
    stopped.go_on()
    await until(lambda: _is_in(house, State.SUBMITTED))
    await until(house.drained)

    assert await _says(house, "late_change_written")
    assert (await _record(house)).state is State.SUBMITTED
    assert receiver.seen == {REFERENCE: 1}


async def test_a_call_that_outlasts_its_deadline_is_for_a_person(house: House, receiver: Receiver) -> None:
    """A worker that goes on after its call's deadline finds a person asked, and changes nothing: seen once."""
    stopped = await _stop_in_the_call(house, receiver)
    await until(lambda: _is_in(house, State.NEEDS_ATTENTION))
    before = await _record(house)
    receiver.answering.set()
    stopped.go_on()
    await until(lambda: _says(house, "late_outcome_refused"))
    await until(house.drained)

    assert before.uncertain
    assert await _record(house) == before
    assert receiver.seen == {REFERENCE: 1}


async def _stop_in_the_call(house: House, receiver: Receiver) -> Process:
    """Stop the worker that calls, wait until the other one has been given the job and has put it off."""
    async with ClientSession() as session:
        assert await Sender(house.url).send(session, body(rewarded())) == 202
    await until(lambda: _called(receiver))
    token = (await house.redis.get(KEYS.in_progress(JOB))).decode()
    stopped = next(worker for worker in house.workers if f":{worker.pid}:" in token)
    stopped.stop()
    await until(lambda: _is_put_off(house))
    return stopped


async def _called(receiver: Receiver) -> bool:
    return receiver.seen[REFERENCE] > 0


async def _is_put_off(house: House) -> bool:
    return (await house.redis.zscore(KEYS.queue, JOB) or 0) > AGAIN_MS


async def _is_in(house: House, state: State) -> bool:
    return (await _record(house)).state is state


async def _record(house: House) -> Fulfilment:
    return (await house.records())[REFERENCE]


async def _says(house: House, event: str) -> bool:
    lines = await asyncio.to_thread(house.log.read_text, encoding="utf-8")
    return any(json.loads(line)["event"] == event for line in lines.splitlines())
