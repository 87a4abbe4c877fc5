"""Connections to Redis: one lazy client from one URL, with bounded waits everywhere.

`connect` opens nothing; a process starts while Redis is away, and says that it is not ready.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from arq.connections import ArqRedis, RedisSettings
from redis.asyncio.connection import AbstractConnection, ConnectionPool, SSLConnection, parse_url
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel, SentinelConnectionPool
from redis.backoff import NoBackoff
from redis.exceptions import ReadOnlyError, RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from rewardpost import codec

UNREACHABLE = (RedisError, OSError, TimeoutError)
"""What a call to Redis raises when it failed or its outcome is not known."""

_CONNECT_TIMEOUT = timedelta(seconds=1)
_HEALTH_CHECK_SECONDS = 15
_SENTINEL_SCHEME = "redis+sentinel://"
_SENTINEL_FORM = "redis+sentinel://host:port,host:port/master/0"
_FORM = "an address such as redis://host:6379/0, with options that redis-py knows and files that can be read"
_BAD_OPTIONS = (ValueError, TypeError, RedisError, OSError)
_DEMOTED = "_server_was_demoted"
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
    have been carried out. `call_timeout` bounds the wait for a connection, and then for each answer.

    The query of the URL holds redis-py's own options, `ssl_ca_certs` for example; behind Sentinel too, where those
    for TLS are for the sentinels as well.

    Raises:
        ValueError: it is no address; the message completes "expected …" and repeats nothing of it.
    """
    address, options = _read(url, call_timeout)
    options["retry"] = Retry(NoBackoff(), 0)
    try:
        if address is None:
            pool = _Pool.from_url(url, **options)
            pool.connection_class = _noting_a_demotion(pool.connection_class)
        else:
            sentinel = Sentinel(list(address.sentinels), **_for_sentinel(address, options))  # type: ignore[no-untyped-call] # redis-py leaves its constructor untyped
            pool = _SentinelPool(address.master, sentinel, ssl=address.tls, **options)  # type: ignore[no-untyped-call] # the same
        connection = pool.connection_class(**pool.connection_kwargs)
        if isinstance(connection, SSLConnection):
            connection.ssl_context.get()
    except _BAD_OPTIONS:
        raise ValueError(_FORM) from None  # the cause would repeat a part of it
    client = ArqRedis(connection_pool=pool)
    client.auto_close_connection_pool = True
    client.job_serializer = codec.encode
    client.job_deserializer = codec.decode
    return client


def arq_settings(url: str) -> RedisSettings:
    """Return the same address as arq's own settings, for `arq --check` and tools that take them."""
    if not url.startswith(_SENTINEL_SCHEME):
        # arq leaves credentials as they stand in the address, and the options for TLS out.
        known = {"username", "password", *(name for name in vars(RedisSettings()) if name.startswith("ssl_"))}
        options: dict[str, Any] = {name: value for name, value in parse_url(url).items() if name in known}
        return replace(RedisSettings.from_dsn(url), **options)
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


def _read(url: str, call_timeout: timedelta) -> tuple[SentinelAddress | None, dict[str, Any]]:
    seconds = call_timeout.total_seconds()
    options: dict[str, Any] = {
        "socket_timeout": seconds,
        "socket_connect_timeout": min(_CONNECT_TIMEOUT.total_seconds(), seconds),
        "health_check_interval": _HEALTH_CHECK_SECONDS,
    }
    if not url.startswith("unix://"):
        options["socket_keepalive"] = True
    if not url.startswith(_SENTINEL_SCHEME):
        return None, options
    address = parse_sentinel(url)
    options |= {"db": address.database, "username": address.username, "password": address.password}
    try:
        return address, options | _query_options(url)
    except ValueError:
        raise ValueError(_SENTINEL_FORM) from None  # the cause would repeat a part of the address


def _query_options(url: str) -> dict[str, Any]:
    """Read the query of a Sentinel address as redis-py reads that of any other."""
    options = dict(parse_url(f"redis://?{urlsplit(url).query}"))
    for ours in ("ssl", "host", "port", "path", "username", "password"):
        options.pop(ours, None)
    return options


def _for_sentinel(address: SentinelAddress, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of the connections to the sentinels themselves, which are asked one after the other."""
    tls = {name: value for name, value in options.items() if name.startswith("ssl_")}
    patience = options["socket_connect_timeout"]
    waits = {"socket_timeout": patience, "socket_connect_timeout": patience, "socket_keepalive": True}
    return {"sentinel_kwargs": {**waits, **tls, "ssl": address.tls, "retry": options["retry"]}}


class _Pool(ConnectionPool):
    """A pool that makes connections side by side, in bounded time, and leaves a server that was demoted.

    redis-py's own holds a lock while it connects: where nothing answers, each caller waits for all before it.
    """

    async def get_connection(self, command_name: Any = None, *keys: Any, **options: Any) -> AbstractConnection:  # noqa: ANN401, ARG002 - redis-py's signature
        connection: AbstractConnection = self.get_available_connection()  # type: ignore[no-untyped-call] # redis-py leaves it untyped
        try:
            async with asyncio.timeout(self.connection_kwargs.get("socket_timeout")):
                await self.ensure_connection(connection)
        except TimeoutError:
            await self.release(connection)
            raise RedisTimeoutError("Timeout connecting to server") from None
        except BaseException:
            await self.release(connection)
            raise
        return connection

    async def release(self, connection: AbstractConnection) -> None:
        await super().release(connection)
        if connection.__dict__.pop(_DEMOTED, False):
            await self.disconnect(inuse_connections=False)


class _SentinelPool(_Pool, SentinelConnectionPool):
    """The same behind Sentinel; whoever disconnects all of it lets go of the sentinels too."""

    async def disconnect(self, inuse_connections: bool = True) -> None:  # noqa: FBT001, FBT002 - redis-py's signature
        await super().disconnect(inuse_connections)
        if inuse_connections:
            for sentinel in self.sentinel_manager.sentinels:
                await sentinel.aclose()


def _noting_a_demotion(kind: Any) -> Any:  # noqa: ANN401 - any of redis-py's connections
    """Return a kind of connection whose pool learns when the server answers that it is no master any more.

    The address may lead to another server by now, while a connection that stays open asks the old one for ever.
    """

    class Noting(kind):  # type: ignore[misc] # known at run time only
        async def read_response(self, *args: Any, **options: Any) -> Any:  # noqa: ANN401 - redis-py's signature
            try:
                return await super().read_response(*args, **options)
            except ReadOnlyError:
                self.__dict__[_DEMOTED] = True
                raise

    return Noting
