"""Connections to Redis: one lazy client from one URL, with bounded waits everywhere.

`connect` opens nothing; a process starts while Redis is away, and says that it is not ready.
"""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from arq.connections import ArqRedis, RedisSettings
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from rewardpost import codec

UNREACHABLE = (RedisError, OSError, TimeoutError)
"""What a call to Redis raises when it failed or its outcome is not known."""

_CONNECT_TIMEOUT = timedelta(seconds=1)
_HEALTH_CHECK_SECONDS = 15
_SENTINEL_SCHEME = "redis+sentinel://"
_SENTINEL_FORM = "redis+sentinel://host:port,host:port/master/0"
_DEFAULT_SENTINEL_PORT = 26379


@dataclass(frozen=True)
class SentinelAddress:
    """The parts of `redis+sentinel://[user:password@]host:port,host:port/master/database`."""

    sentinels: tuple[tuple[str, int], ...]
    master: str
    database: int
    username: str | None
    password: str | None
    tls: bool


def connect(url: str, *, call_timeout: timedelta) -> ArqRedis:
    """Return a client that connects at its first command.

    A command is not repeated by the client: whether to try again is for the caller, who knows whether it may
    have been carried out. `call_timeout` bounds the wait for each answer.

    Raises:
        ValueError: it is no address; the message completes "expected …" and repeats nothing of it.
    """
    options: dict[str, Any] = {
        "socket_timeout": call_timeout.total_seconds(),
        "socket_connect_timeout": _CONNECT_TIMEOUT.total_seconds(),
        "health_check_interval": _HEALTH_CHECK_SECONDS,
        "retry": Retry(NoBackoff(), 0),
    }
    if not url.startswith("unix://"):
        options["socket_keepalive"] = True
    if url.startswith(_SENTINEL_SCHEME):
        client = _through_sentinel(parse_sentinel(url), options)
    else:
        client = _directly(url, options)
    client.job_serializer = codec.encode
    client.job_deserializer = codec.decode
    return client


def arq_settings(url: str) -> RedisSettings:
    """Return the same address as arq's own settings, for `arq --check` and tools that take them."""
    if url.startswith(_SENTINEL_SCHEME):
        address = parse_sentinel(url)
        return RedisSettings(
            host=list(address.sentinels),
            sentinel=True,
            sentinel_master=address.master,
            database=address.database,
            username=address.username,
            password=address.password,
            ssl=address.tls,
        )
    return RedisSettings.from_dsn(url)


def parse_sentinel(url: str) -> SentinelAddress:
    """Take a Sentinel URL apart.

    Raises:
        ValueError: a part is missing; the message completes "expected …".
    """
    parts = urlsplit(url)
    credentials, _, hosts = parts.netloc.rpartition("@")
    username, _, password = credentials.partition(":")
    path = [unquote(part) for part in parts.path.split("/") if part]
    if not hosts or not path:
        raise ValueError(_SENTINEL_FORM)
    try:
        sentinels = tuple(_host_and_port(host) for host in hosts.split(","))
        database = int(path[1]) if len(path) > 1 else 0
    except ValueError:
        raise ValueError(_SENTINEL_FORM) from None  # the cause would repeat a part of the address
    return SentinelAddress(
        sentinels=sentinels,
        master=path[0],
        database=database,
        username=unquote(username) or None,
        password=unquote(password) or None,
        tls=parse_qs(parts.query).get("ssl", ["0"])[0] in {"1", "true"},
    )


def _host_and_port(text: str) -> tuple[str, int]:
    name, colon, port = text.rpartition(":")
    return (name, int(port)) if colon else (text, _DEFAULT_SENTINEL_PORT)


def _directly(url: str, options: dict[str, Any]) -> ArqRedis:
    try:
        client: ArqRedis = ArqRedis.from_url(url, **options)
    except ValueError:
        raise ValueError("an address such as redis://host:6379/0") from None  # the cause would repeat a part of it
    return client


def _through_sentinel(address: SentinelAddress, options: dict[str, Any]) -> ArqRedis:
    sentinel = Sentinel(  # type: ignore[no-untyped-call] # redis-py leaves its constructor untyped
        list(address.sentinels),
        sentinel_kwargs={"socket_timeout": options["socket_connect_timeout"], "ssl": address.tls},
        ssl=address.tls,
        **options,
    )
    client: ArqRedis = sentinel.master_for(
        address.master,
        redis_class=ArqRedis,
        db=address.database,
        username=address.username,
        password=address.password,
    )
    return client
