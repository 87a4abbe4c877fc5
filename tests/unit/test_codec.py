"""Jobs and results as they lie in Redis: readable by arq's own functions, without arguments, never pickled."""

import asyncio
import pickle
from datetime import UTC, datetime

import msgspec
import pytest
from arq.jobs import deserialize_job, deserialize_job_raw, deserialize_result, serialize_job, serialize_result
from arq.worker import JobExecutionFailed
from hypothesis import given
from hypothesis import strategies as st

from rewardpost import codec
from rewardpost.delivery import Delivery
from rewardpost.queue import job_payload

AT = datetime(2026, 3, 1, 12, 0, 0, 123000, tzinfo=UTC)
DELIVERY = Delivery(id="d1", source="test", received_at=AT, body=b"\x00\xffbody", headers={"user-agent": "x"})


def result_of(result: object, *, success: bool = True) -> bytes:
    """Return the result of a job as arq stores it."""
    raw = serialize_result(
        "task", ("secret argument",), {"k": "secret too"}, 1, 0, success, result, 0, 0, "ref", "q", job_id="j",
        serializer=codec.encode,
    )  # fmt: skip
    assert raw is not None
    return raw


def test_a_delivery_comes_out_as_it_went_in() -> None:
    """Body, time and headers survive the way through a job's payload."""
    _, args, _, _, _ = deserialize_job_raw(job_payload("open_delivery", DELIVERY, at=AT), deserializer=codec.decode)
    assert msgspec.convert(args[0], Delivery) == DELIVERY


def test_arq_reads_our_jobs_and_we_read_what_arq_enqueues() -> None:
    """Both sides share one form, so that arq's own tools go on working."""
    ours = deserialize_job(job_payload("task", 1, at=AT), deserializer=codec.decode)
    theirs = codec.decode(serialize_job("task", (1,), {"k": 2}, None, 5, serializer=codec.encode))
    assert (ours.function, tuple(ours.args)) == ("task", (1,))
    assert (theirs["f"], list(theirs["a"]), theirs["k"]) == ("task", [1], {"k": 2})


def test_a_result_keeps_no_argument() -> None:
    """What the webhook said does not lie in Redis a second time."""
    raw = result_of("done")
    assert b"secret" not in raw
    assert deserialize_result(raw, deserializer=codec.decode).result == "done"


def test_an_exception_is_readable_but_for_its_message() -> None:
    """Its class is told, what it says may be personal."""
    info = deserialize_result(result_of(ValueError("personal"), success=False), deserializer=codec.decode)
    assert isinstance(info.result, codec.JobFailed)
    assert str(info.result) == "ValueError"
    assert b"personal" not in result_of(ValueError("personal"), success=False)


@pytest.mark.parametrize("exc", [JobExecutionFailed("job expired"), asyncio.CancelledError()])
def test_arqs_own_exceptions_come_back_as_themselves(exc: BaseException) -> None:
    """`Job.result()` and `Job.abort()` wait for exactly these."""
    info = deserialize_result(result_of(exc, success=False), deserializer=codec.decode)
    assert type(info.result) is type(exc)
    assert str(info.result) == str(exc)


def test_pickle_is_never_read() -> None:
    """A payload that would run code when it is unpickled is set aside like any other rubbish."""
    assert codec.decode(pickle.dumps({"f": "x", "a": (), "k": {}, "t": 1, "et": 1}))["f"] == codec.UNREADABLE


@given(st.binary(max_size=200))
def test_any_bytes_become_a_job(raw: bytes) -> None:
    """What cannot be read goes to the task that sets it aside whole; arq would delete it."""
    job = codec.decode(raw)
    assert isinstance(job["f"], str) or "r" in job
    if job["f"] == codec.UNREADABLE:
        assert job["a"] == (raw,)
