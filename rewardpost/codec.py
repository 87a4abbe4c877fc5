"""The one codec of jobs and their results: msgpack by msgspec, on both sides, never pickle.

Three things that arq's own serialiser does are done otherwise here:

* a result keeps no arguments, since they hold what the webhook said;
* an exception becomes its name (and its message only where the class promises that it is harmless), so that
  `Job.result_info()` shows what happened without what it happened to;
* a payload that cannot be read becomes a job for `UNREADABLE`, which sets it aside whole: arq would delete it.
"""

import asyncio
from typing import Any

import msgspec
from arq.worker import JobExecutionFailed

UNREADABLE = "set_unreadable_aside"
"""Name of the task that is given payloads which cannot be decoded."""

_EXCEPTION = 1  # msgpack extension type of (class name, message)
_LIST = (list, tuple)  # made once: a union is made anew whenever it is written down
_COUNT = (int, type(None))
_RESULT_ONLY = "r"  # arq: only the dictionary of a result has it


class JobFailed(RuntimeError):  # noqa: N818 - named after what happened, as arq's own exceptions are
    """A job's exception as a result keeps it: the name of its class and, where harmless, its message."""


def encode(data: dict[str, Any]) -> bytes:
    """Encode the dictionary that arq makes of a job or of its result.

    Raises:
        TypeError: it holds something other than plain data, msgspec structs and exceptions.
    """
    if _RESULT_ONLY in data:
        data = {**data, "a": (), "k": {}}
    return _ENCODER.encode(data)


def decode(raw: bytes) -> dict[str, Any]:
    """Decode what `encode` made; never raises, see `UNREADABLE`."""
    try:
        data = _DECODER.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError, OverflowError):
        data = None
    # A result has all that a job has. arq deletes, as broken, a job that lacks any of it.
    if isinstance(data, dict) and _is_job(data):
        return data
    return {"t": None, "f": UNREADABLE, "a": (raw,), "k": {}, "et": 0}


def _is_job(data: dict[str, Any]) -> bool:
    return (
        isinstance(data.get("f"), str)
        and isinstance(data.get("a"), _LIST)
        and isinstance(data.get("k"), dict)
        and isinstance(data.get("t"), _COUNT)
        and isinstance(data.get("et"), int)
    )


def _encode_exception(value: object) -> msgspec.msgpack.Ext:
    if not isinstance(value, BaseException):
        raise TypeError(f"expected plain data or an exception in a job, got {type(value).__name__}")
    message = str(value) if isinstance(value, JobExecutionFailed | JobFailed) else ""
    return msgspec.msgpack.Ext(_EXCEPTION, _PAIR_ENCODER.encode((type(value).__name__, message)))


def _decode_extension(code: int, data: memoryview) -> object:
    if code != _EXCEPTION:
        raise ValueError(f"expected extension {_EXCEPTION}, got {code}")
    name, message = _PAIR_DECODER.decode(data)
    if name == asyncio.CancelledError.__name__:
        return asyncio.CancelledError()  # arq: Job.abort() waits for exactly this one
    if name == JobExecutionFailed.__name__:
        return JobExecutionFailed(message)
    return JobFailed(message if name == JobFailed.__name__ else name)


_PAIR_ENCODER = msgspec.msgpack.Encoder()
_PAIR_DECODER = msgspec.msgpack.Decoder(tuple[str, str])
_ENCODER = msgspec.msgpack.Encoder(enc_hook=_encode_exception)
_DECODER = msgspec.msgpack.Decoder(ext_hook=_decode_extension)
