"""What comes out of the logs, and above all what does not, in both formats."""

import io
import json
import logging
import logging.config
from collections.abc import Iterator

import pytest
from arq.logs import default_log_config

from rewardpost import logs

PERSONAL = "Anna Example, 12 Sample Street"


@pytest.fixture(autouse=True)
def _restored_logging() -> Iterator[None]:
    """Logging is left as it was found."""
    names = ["", "arq", "arq.worker", "arq.connections", "arq.jobs", "asyncio", "redis", "aiohttp.access"]
    loggers = [logging.getLogger(name) for name in names]
    before = [(logger.level, list(logger.handlers), logger.propagate) for logger in loggers]
    raising = logging.raiseExceptions
    yield
    logging.raiseExceptions = raising
    for logger, (level, handlers, propagate) in zip(loggers, before, strict=True):
        logger.setLevel(level)
        logger.handlers[:] = handlers
        logger.propagate = propagate


@pytest.fixture(params=["json", "console"])
def out(request: pytest.FixtureRequest) -> io.StringIO:
    """What was logged, in the format of the run."""
    stream = io.StringIO()
    logs.configure(request.param, stream=stream)
    return stream


@pytest.fixture
def json_out() -> io.StringIO:
    """What was logged, as JSON lines."""
    stream = io.StringIO()
    logs.configure("json", stream=stream)
    return stream


def _fail() -> None:
    raise ValueError(PERSONAL)


def _log_failure(logger: logging.Logger, *args: object) -> None:
    try:
        _fail()
    except ValueError:
        logger.exception("handling of %s failed", *args)


def test_an_event_has_its_name_level_logger_and_time(json_out: io.StringIO) -> None:
    """A line is one JSON object with what every line has and the keys that were given."""
    logs.get("door").warning("webhook_refused", count=3, reason="signature")
    line = json.loads(json_out.getvalue())
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "event": "webhook_refused",
        "level": "warning",
        "logger": "door",
        "count": 3,
        "reason": "signature",
    }


def test_an_unlisted_key_does_not_come_out(out: io.StringIO) -> None:
    """A key that is not on the list is dropped, the line stays."""
    logs.get("door").info("webhook_stored", customer_name=PERSONAL, count=1)
    assert "webhook_stored" in out.getvalue()
    assert "Anna" not in out.getvalue()
    assert "customer_name" not in out.getvalue()


def test_an_exception_is_its_class_and_its_place(out: io.StringIO) -> None:
    """The message of an exception stays inside; class, module, function and line come out."""
    try:
        _fail()
    except ValueError:
        logs.get("door").exception("webhook_failed")
    assert "ValueError" in out.getvalue()
    assert ":_fail:" in out.getvalue()
    assert "Anna" not in out.getvalue()
    assert "Traceback" not in out.getvalue()


def test_the_cause_of_an_exception_is_named_without_its_message(json_out: io.StringIO) -> None:
    """A translated exception shows what it was translated from."""
    try:
        try:
            _fail()
        except ValueError as exc:
            raise RuntimeError(PERSONAL) from exc
    except RuntimeError:
        logs.get("door").exception("webhook_failed")
    line = json.loads(json_out.getvalue())
    assert line["error"] == "RuntimeError"
    assert line["caused_by"][0].startswith("ValueError at ")
    assert "Anna" not in json_out.getvalue()


def test_an_event_name_that_was_filled_in_is_replaced(out: io.StringIO) -> None:
    """Free text as the name of an event does not come out."""
    logs.get("door").info(f"stored for {PERSONAL}")
    assert "unnamed_event" in out.getvalue()
    assert "Anna" not in out.getvalue()


def test_a_value_that_is_no_plain_data_is_its_type(json_out: io.StringIO) -> None:
    """An object under a listed key shows its type, since its representation may show anything."""
    logs.get("door").info("webhook_failed", reason=ValueError(PERSONAL), fields=["city", b"Anna"])
    line = json.loads(json_out.getvalue())
    assert line["reason"] == "ValueError"
    assert line["fields"] == ["city", "bytes"]


@pytest.mark.parametrize("name", ["arq.worker", "asyncio", "aiohttp.server", "redis", "somebody.else"])
def test_a_library_record_keeps_its_arguments_in(out: io.StringIO, name: str) -> None:
    """A library's template comes out, its arguments and the message of its exception do not."""
    _log_failure(logging.getLogger(name), PERSONAL)
    assert "handling of %s failed" in out.getvalue()
    assert "ValueError" in out.getvalue()
    assert name in out.getvalue()
    assert "Anna" not in out.getvalue()


def test_a_library_text_that_was_filled_in_is_left_out(out: io.StringIO) -> None:
    """What asyncio logs holds representations of tasks in its text; only the place of such a record comes out."""
    logging.getLogger("asyncio").error(f"Exception in callback f({PERSONAL})")  # noqa: G004 - as asyncio does it
    assert "test_logs:" in out.getvalue()
    assert "Anna" not in out.getvalue()


def test_job_arguments_that_arq_logs_do_not_come_out(out: io.StringIO) -> None:
    """At INFO arq logs the arguments of jobs; that is switched off."""
    for name in ("arq.worker", "arq.jobs", "arq.connections"):
        logging.getLogger(name).info("%s", PERSONAL)
    assert out.getvalue() == ""


def test_the_access_log_is_off(out: io.StringIO) -> None:
    """The line for each request, with its path and user agent, does not come out."""
    logging.getLogger("aiohttp.access").error("%s", PERSONAL)
    assert out.getvalue() == ""


def test_takes_over_from_the_arq_command(json_out: io.StringIO, capsys: pytest.CaptureFixture[str]) -> None:
    """After arq's own configuration and a second call of ours there is one line for a record, and it is ours."""
    logging.config.dictConfig(default_log_config(verbose=True))
    stream = io.StringIO()
    logs.configure("json", stream=stream)
    logging.getLogger("arq.worker").warning("job %s expired", PERSONAL)
    logging.getLogger("arq.worker").info("%s", PERSONAL)
    assert [json.loads(line)["template"] for line in stream.getvalue().splitlines()] == ["job %s expired"]
    assert json_out.getvalue() == ""
    assert capsys.readouterr().err == ""


def test_unconfigured_logging_keeps_the_rules(capsys: pytest.CaptureFixture[str]) -> None:
    """Without any configuration an unlisted key and an exception's message stay inside all the same."""
    logging.getLogger().handlers.clear()
    try:
        _fail()
    except ValueError:
        logs.get("door").exception("webhook_failed", customer_name=PERSONAL)
    assert "Anna" not in capsys.readouterr().err


def test_a_record_that_cannot_be_filled_in_says_nothing_else(
    out: io.StringIO,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A library that passes too few arguments does not make logging print them."""
    logging.getLogger("somebody").warning("%s %s", PERSONAL)  # noqa: PLE1206 - the mistake under test
    assert "%s %s" in out.getvalue()
    assert "Anna" not in out.getvalue() + capsys.readouterr().err
