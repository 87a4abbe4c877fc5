"""Where a verb works: one connection to the server, and what reads and changes the ledger through it."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from cli import surroundings
from cli.failures import OutOfReach, Refusal
from rewardpost.connection import UNREACHABLE, connect
from rewardpost.dead_letters import DeadLetters
from rewardpost.interventions import Refused
from rewardpost.keys import Keys
from rewardpost.operations import NotFound, Operations
from rewardpost.queue import Queue
from rewardpost.settings import Settings, without_password

CALL_TIMEOUT = timedelta(seconds=5)
"""How long a person waits for one answer of the server."""

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Desk:
    """What a verb works with."""

    settings: Settings
    keys: Keys
    redis: Redis
    operations: Operations
    letters: DeadLetters
    queue: Queue


def desk_of(settings: Settings, redis: Redis, *, by: str) -> Desk:
    """Return a desk at an open connection; `by` stands in the journal."""
    keys = Keys(settings.key_prefix)
    return Desk(
        settings=settings,
        keys=keys,
        redis=redis,
        operations=Operations(redis, keys, retention=settings.retention, by=by),
        letters=DeadLetters(redis, keys),
        queue=Queue(redis, keys),
    )


def at_desk(work: Callable[[Desk], Awaitable[T]], *, by: str = "") -> T:
    """Do a verb's work at a desk and return what comes of it.

    Raises:
        WrongSetting: a setting is wrong.
        Refusal: the ledger knows no such reward, or it cannot be changed like this.
        OutOfReach: the server is.
    """
    settings = surroundings.settings()
    try:
        return asyncio.run(_work(settings, work, by))
    except BrokenPipeError:
        raise  # whoever read our output has gone, not the server
    except (Refused, NotFound) as exc:
        raise Refusal(f"refused: {exc}" if isinstance(exc, Refused) else f"not found: {exc}") from None
    except ResponseError as exc:
        server = without_password(settings.redis_url)
        raise OutOfReach(
            f"the server at {server} refused the command ({type(exc).__name__}): see rewardpost doctor"
        ) from None
    except UNREACHABLE as exc:
        raise OutOfReach(out_of_reach(settings, exc)) from None


def out_of_reach(settings: Settings, exc: BaseException) -> str:
    """Return what a person is told when the server does not answer."""
    server = without_password(settings.redis_url)
    return f"the server at {server} is out of reach ({type(exc).__name__}): start it, or set REDIS_URL to another one"


async def _work(settings: Settings, work: Callable[[Desk], Awaitable[T]], by: str) -> T:
    redis = connect(settings.redis_url, call_timeout=CALL_TIMEOUT)
    try:
        return await work(desk_of(settings, redis, by=by))
    finally:
        await redis.aclose()
