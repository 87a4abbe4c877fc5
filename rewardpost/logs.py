"""Logging: one pipeline for our own events and for those of the libraries, which lets only harmless things out.

Three rules keep personal data out of it:

* an event has a fixed name and keys from `ALLOWED_KEYS`; whatever else is handed in is dropped;
* an exception is its class and the places where it was raised, never its message and never a local variable;
* a library's record is its logger, its place and its unfilled template, never the arguments.
"""

import logging
import re
import sys
from collections.abc import Mapping, MutableMapping
from types import TracebackType
from typing import Any, TextIO, cast

import structlog
from structlog.typing import Processor

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
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, _renderer(format_, stream)],
            foreign_pre_chain=[_describe_foreign, *_PIPELINE],
            pass_foreign_args=True,
            use_get_message=False,
        ),
    )
    logging.raiseExceptions = False  # its report of a record that cannot be formatted prints the arguments
    for name, level in _LEVELS.items():
        logger = logging.getLogger(name)
        for old in list(logger.handlers):
            logger.removeHandler(old)
        logger.setLevel(level)
        logger.propagate = True
    logging.getLogger().addHandler(handler)


def get(name: str) -> structlog.stdlib.BoundLogger:
    """Return the logger of a module; what it lets out is the same whether or not `configure` was called."""
    logger = structlog.wrap_logger(
        logging.getLogger(name),
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.stdlib.add_logger_name,
            *_PIPELINE,
            _hand_over,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
    )
    return cast("structlog.stdlib.BoundLogger", logger)


def report_uncaught() -> None:
    """Let an exception that ends the process be logged like any other, instead of printed with its message."""

    def report(kind: type[BaseException], exc: BaseException, traceback: TracebackType | None) -> None:
        get("rewardpost").critical("process_failed", exc_info=(kind, exc, traceback))

    sys.excepthook = report


def summary(exc: BaseException) -> str:
    """Return an exception's class and the place where it was raised, for a reason that a person reads."""
    places = _places(exc.__traceback__)
    return f"{type(exc).__qualname__} at {places[0]}" if places else type(exc).__qualname__


def _renderer(format_: str, stream: TextIO) -> Processor:
    if format_ == "json":
        return structlog.processors.JSONRenderer()
    return structlog.dev.ConsoleRenderer(colors=stream.isatty(), sort_keys=False)


def _describe_foreign(_: object, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    record: logging.LogRecord = event["_record"]
    template, arguments = event["event"], event.pop("positional_args", ())
    event["event"] = _FOREIGN_EVENT
    event["logger"] = record.name
    event["at"] = [f"{record.module}:{record.funcName}:{record.lineno}"]
    if arguments:  # without arguments the text may have been filled in by its author
        event["template"] = template
    return event


def _describe_exception(_: object, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    exc_info = event.pop("exc_info", None)
    if exc_info is True:
        exc_info = sys.exc_info()
    exc = exc_info[1] if isinstance(exc_info, tuple) else exc_info
    if isinstance(exc, BaseException):
        event["error"] = type(exc).__qualname__
        event["at"] = _places(exc.__traceback__)
        causes = _causes(exc)
        if causes:
            event["caused_by"] = causes
    return event


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


def _hand_over(logger: logging.Logger, method: str, event: MutableMapping[str, Any]) -> tuple[Any, Any]:
    args, kwargs = structlog.stdlib.ProcessorFormatter.wrap_for_formatter(logger, method, event)
    return args, {**kwargs, "exc_info": False}  # `Logger.exception` would add it again, message and all


def _keep_allowed(_: object, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    if not _EVENT_NAME.fullmatch(str(event.get("event"))):
        event["event"] = _UNNAMED_EVENT
    return {
        name: value if name in _INTERNAL_KEYS else _plain(value)
        for name, value in event.items()
        if name in ALLOWED_KEYS or name in _INTERNAL_KEYS
    }


def _plain(value: object) -> object:
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, str):
        return str(value)[:_LONGEST_TEXT]
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(part) for part in list(value)[:_LONGEST_LIST]]
    return type(value).__name__  # a representation could show what it represents


_INTERNAL_KEYS = frozenset({"_record", "_from_structlog"})

_PIPELINE: tuple[Processor, ...] = (
    structlog.stdlib.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    _describe_exception,
    _keep_allowed,
)
