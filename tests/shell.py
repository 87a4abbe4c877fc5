"""Calls the command `rewardpost` as a person or a script would, on the server of a test."""

import dataclasses
import json
from typing import Any

import redis
from click.testing import CliRunner, Result

from cli.__main__ import rewardpost
from rewardpost.settings import Settings, variable

_UNSET: dict[str, str | None] = {
    name: None for field in dataclasses.fields(Settings) for name in (variable(field), f"{variable(field)}_FILE")
}


class Shell:
    """Calls the command on one server."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.environ = {"REDIS_URL": url, "REWARDPOST_OPERATOR": "tess"}

    def call(self, *arguments: str, stdin: str | None = None, **environ: str) -> Result:
        """Call it and return what came of it, whatever that is."""
        result = CliRunner().invoke(rewardpost, arguments, input=stdin, env={**_UNSET, **self.environ, **environ})
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return result

    def done(self, *arguments: str, stdin: str | None = None, **environ: str) -> str:
        """Call it and return what it printed; it must have done what it was asked."""
        result = self.call(*arguments, stdin=stdin, **environ)
        assert result.exit_code == 0, result.output
        return result.stdout

    def refused(self, *arguments: str, status: int = 1, **environ: str) -> str:
        """Call it and return what it says on standard error; it must have exited with the status."""
        result = self.call(*arguments, **environ)
        assert result.exit_code == status, result.output
        assert "Traceback" not in result.output
        return result.stderr

    def json(self, *arguments: str) -> Any:  # noqa: ANN401 - any JSON
        """Call it with --json and return what it printed."""
        return json.loads(self.done(*arguments, "--json"))

    def state(self, reference: str) -> str:
        """Return the state that `show` tells."""
        state: str = self.json("show", reference)["state"]
        return state


def fresh(url: str) -> Shell:
    """Empty a server of the test's own and return the command on it."""
    with redis.Redis.from_url(url) as client:
        client.flushall()
    return Shell(url)
