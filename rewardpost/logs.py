"""Logging: one pipeline for our own events and for those of the libraries, which lets only harmless things out.

Three rules keep personal data out of it:

* an event has a fixed name and keys from `ALLOWED_KEYS`; whatever else is handed in is dropped;
* an exception is its class and the places where it was raised, never its message and never a local variable;
* a library's record is its logger, its place and its unfilled template, never the arguments.
"""

import json
import logging
import re
import sys
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from datetime import UTC, datetime
from types import TracebackType
from typing import TextIO

import structlog

ALLOWED_KEYS = frozenset(
    {
        *("event", "level", "timestamp", "logger", "template", "error", "caused_by", "at"),
        *("delivery", "event_type", "job", "task", "reference", "order", "request", "provider", "source", "article"),
        *("answer", "status", "outcome", "reason", "kind", "fields", "before", "after", "state", "flag", "what"),
        *("attempt", "attempts", "generation", "token", "worker", "queue", "function", "holds"),
        *("count", "bytes", "seconds", "delay_seconds", "due", "age_seconds", "limit"),
        *("host", "port", "address", "signal", "pid", "version", "setting", "exit_status", "process"),
    },
)
"""Keys that may stand in a log line. `reference`, `delivery` and `job` are digests or made of them."""

_FOREIGN_EVENT = "library_logged"
_UNNAMED_EVENT = "unnamed_event"
_EVENT_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
_LONGEST_TEXT = 300
_LONGEST_LIST = 20
_INNERMOST_FRAMES = 5
_CAUSES = 5

_LEVELS: Mapping[str, int] = {
    "": logging.INFO,
    "arq": logging.WARNING,  # below that it logs the arguments of jobs
    "arq.worker": logging.WARNING,
    "arq.connections": logging.WARNING,
    "arq.jobs": logging.WARNING,
    "asyncio": logging.WARNING,
    "redis": logging.WARNING,
    "aiohttp.access": logging.CRITICAL + 1,  # a proxy's work; the door logs its own answers
}


def configure(format_: str, *, stream: TextIO) -> None:
    """Send everything that this process logs to `stream`, as `json` for machines or `console` for people.

    Takes over from whoever configured logging before, the `arq` command for example; calling it again replaces
    the earlier call.
    """
    output = _Output(stream, _renderer(format_, stream))
    logging.raiseExceptions = False  # its report of a record that cannot be formatted prints the arguments
    for name, level in _LEVELS.items():
        logger = logging.getLogger(name)
        for old in list(logger.handlers):
            logger.removeHandler(old)
        logger.setLevel(level)
        logger.propagate = True
    logging.getLogger().addHandler(output)


class Logger:
    """The logger of a module: a call is an event, with its name and its keys.

    What it lets out is the same whether or not `configure` was called.
    """

    def __init__(self, name: str) -> None:
        self._logger = logging.getLogger(name)

    def debug(self, event: str, **keys: object) -> None:
        """Log what only a developer wants to know."""
        self._log(logging.DEBUG, event, keys)

    def info(self, event: str, **keys: object) -> None:
        """Log what happens all the time."""
        self._log(logging.INFO, event, keys)

    def warning(self, event: str, **keys: object) -> None:
        """Log what may need a person."""
        self._log(logging.WARNING, event, keys)

    def error(self, event: str, **keys: object) -> None:
        """Log what went wrong."""
        self._log(logging.ERROR, event, keys)

    def exception(self, event: str, **keys: object) -> None:
        """Log what went wrong, with the exception that is being handled."""
        self._log(logging.ERROR, event, {"exc_info": True, **keys})

    def critical(self, event: str, **keys: object) -> None:
        """Log what ends the process."""
        self._log(logging.CRITICAL, event, keys)

    def _log(self, level: int, event: str, keys: Mapping[str, object]) -> None:
        if not self._logger.isEnabledFor(level):
            return
        line = _line(event, logging.getLevelName(level).lower(), self._logger.name, keys)
        match logging.root.handlers:
            case [_Output() as output]:  # a record of logging costs more than all the rest, for each webhook
                output.write(line)
            case _:
                self._logger.log(level, line)


def get(name: str) -> Logger:
    """Return the logger of a module."""
    return Logger(name)


def report_uncaught() -> None:
    """Let an exception that ends the process be logged like any other, instead of printed with its message."""

    def report(kind: type[BaseException], exc: BaseException, traceback: TracebackType | None) -> None:
        get("rewardpost").critical("process_failed", exc_info=(kind, exc, traceback))

    sys.excepthook = report


def summary(exc: BaseException) -> str:
    """Return an exception's class and the place where it was raised, for a reason that a person reads."""
    places = _places(exc.__traceback__)
    return f"{type(exc).__qualname__} at {places[0]}" if places else type(exc).__qualname__


class _Line(dict[str, object]):
    """All that is let out of one event or record."""


class _Output(logging.StreamHandler[TextIO]):
    """Where all lines go: those of our own events, and those made of the records of libraries."""

    def __init__(self, stream: TextIO, render: Callable[[_Line], str]) -> None:
        super().__init__(stream)
        self._render = render

    def format(self, record: logging.LogRecord) -> str:
        return self._render(record.msg if isinstance(record.msg, _Line) else _foreign_line(record))

    def write(self, line: _Line) -> None:
        text = self._render(line) + self.terminator
        try:
            with self.lock or nullcontext():
                self.stream.write(text)
                self.stream.flush()
        except (OSError, ValueError):
            pass  # as in `handle`: a log that cannot be written must not hinder what it tells of


def _renderer(format_: str, stream: TextIO) -> Callable[[_Line], str]:
    if format_ == "json":
        return json.dumps
    console = structlog.dev.ConsoleRenderer(colors=stream.isatty(), sort_keys=False)
    return lambda line: console(None, "", dict(line))  # it takes the dictionary apart


def _foreign_line(record: logging.LogRecord) -> _Line:
    keys: dict[str, object] = {"at": [f"{record.module}:{record.funcName}:{record.lineno}"]}
    if record.args:  # without arguments the text may have been filled in by its author
        keys["template"] = str(record.msg)
    return _line(_FOREIGN_EVENT, record.levelname.lower(), record.name, {**keys, "exc_info": record.exc_info})


def _line(event: str, level: str, logger: str, keys: Mapping[str, object]) -> _Line:
    line = _Line({name: _plain(value) for name, value in keys.items() if name in ALLOWED_KEYS})
    line["event"] = event if _EVENT_NAME.fullmatch(event) else _UNNAMED_EVENT
    line["logger"] = logger
    line["level"] = level
    line["timestamp"] = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    exc_info = keys.get("exc_info")
    if exc_info:
        line.update(_described(exc_info))
    return line


def _described(exc_info: object) -> dict[str, object]:
    if exc_info is True:
        exc_info = sys.exc_info()
    exc = exc_info[1] if isinstance(exc_info, tuple) else exc_info
    if not isinstance(exc, BaseException):
        return {}
    described: dict[str, object] = {"error": type(exc).__qualname__, "at": _places(exc.__traceback__)}
    causes = _causes(exc)
    return {**described, "caused_by": causes} if causes else described


def _places(traceback: TracebackType | None) -> list[str]:
    found = []
    while traceback is not None:
        frame = traceback.tb_frame
        module = frame.f_globals.get("__name__", "?")
        found.append(f"{module}:{frame.f_code.co_name}:{traceback.tb_lineno}")
        traceback = traceback.tb_next
    return found[: -_INNERMOST_FRAMES - 1 : -1]


def _causes(exc: BaseException) -> list[str]:
    found: list[str] = []
    cause = exc.__cause__ or exc.__context__
    while cause is not None and len(found) < _CAUSES:
        places = _places(cause.__traceback__)
        found.append(f"{type(cause).__qualname__} at {places[0]}" if places else type(cause).__qualname__)
        cause = cause.__cause__ or cause.__context__
    return found


def _plain(value: object) -> object:
    if value is None or isinstance(value, (int, float)):
        return value
    if isinstance(value, str):
        return str(value)[:_LONGEST_TEXT]
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(part) for part in list(value)[:_LONGEST_LIST]]
    return type(value).__name__  # a representation could show what it represents
