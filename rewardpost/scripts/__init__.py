"""Every Redis script of the project: each a file of its own beside this one, sent once and called by digest.

A line `--@include <name>` stands for the file of that name, so that what scripts share is written once.
"""

import hashlib
import re
from collections.abc import Sequence
from importlib import resources
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import NoScriptError

_INCLUDE = re.compile(r"^--@include (\w+)$", re.MULTILINE)


class Script:
    """One script, by the name of its file."""

    def __init__(self, name: str) -> None:
        self.text = _INCLUDE.sub(lambda match: _read(match[1]), _read(name))
        self.digest = hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()

    async def run(self, redis: Redis, *, keys: Sequence[str], args: Sequence[str | bytes | int]) -> Any:  # noqa: ANN401 - each script has its own answer
        """Call the script; one that the server does not know (yet, or after SCRIPT FLUSH) is sent whole.

        Raises:
            redis.exceptions.RedisError: the server refused or broke off; the outcome may be unknown.
        """
        try:
            return await redis.evalsha(self.digest, len(keys), *keys, *args)  # type: ignore[misc, arg-type] # redis-py types both its clients with one signature
        except NoScriptError:
            return await redis.eval(self.text, len(keys), *keys, *args)  # type: ignore[misc, arg-type] # the same


def _read(name: str) -> str:
    return resources.files(__package__).joinpath(f"{name}.lua").read_text(encoding="utf-8")
