"""A proxy between a client and the Redis server that sees each command and cuts the connection at a chosen one.

It understands RESP as far as that takes: commands are arrays of bulk strings, pipelined or not, and each has one reply
(so nothing here subscribes). What is cut is cut on both sides.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Self

from rewardpost.scripts import Script
from tests import resp

_HOST = "127.0.0.1"
_CHUNK = 65_536


class Moment(Enum):
    """Where the connection is cut."""

    BEFORE = auto()
    """The server never sees the command; what was sent before it has been answered."""
    AFTER = auto()
    """The server has carried the command out; its reply never reaches the client."""


@dataclass(frozen=True)
class Command:
    """One command of a client."""

    args: tuple[bytes, ...]
    queued: tuple[tuple[bytes, ...], ...] = ()
    """For an EXEC: what stands in its transaction."""

    @property
    def name(self) -> str:
        """Its name in capitals."""
        return self.args[0].decode().upper()


Predicate = Callable[[Command], bool]


def named(name: str, key: str = "") -> Predicate:
    """Match a command by its name, and by how its first argument begins."""
    return lambda command: _is(command.args, name, key)


def transaction(name: str, key: str = "") -> Predicate:
    """Match the EXEC of a transaction that has such a command in it."""
    return lambda command: command.name == "EXEC" and any(_is(args, name, key) for args in command.queued)


def script(name: str) -> Predicate:
    """Match the calls of one of our scripts, whether by digest or whole."""
    wanted = Script(name)
    calls = {"EVALSHA": wanted.digest.encode(), "EVAL": wanted.text.encode()}
    return lambda command: command.name in calls and command.args[1] == calls[command.name]


def _is(args: tuple[bytes, ...], name: str, key: str) -> bool:
    return args[0].decode().upper() == name and b"".join(args[1:2]).startswith(key.encode())


@dataclass
class Cut:
    """A cut that is to be made: of the commands that match, the first `skip` pass and the next `times` are cut."""

    moment: Moment
    matches: Predicate
    skip: int = 0
    times: int = 1
    made: int = 0
    """How often it was made."""
    happened: asyncio.Event = field(default_factory=asyncio.Event)
    """Set once it was made as often as it was to be."""

    def takes(self, command: Command) -> bool:
        """Say whether this command is cut, and count it."""
        if self.times == 0 or not self.matches(command):
            return False
        if self.skip:
            self.skip -= 1
            return False
        self.times -= 1
        return True

    def put_back(self) -> None:
        """Take it that the command was not cut after all."""
        self.times += 1

    def note(self) -> None:
        """Take it that the connection was cut."""
        self.made += 1
        if self.times == 0:
            self.happened.set()


class CuttingProxy:
    """A proxy before the server at a port of this machine, as an asynchronous context manager."""

    def __init__(self, upstream_port: int) -> None:
        self.upstream_port = upstream_port
        self.commands: list[Command] = []
        """All commands that clients have sent, in order of arrival."""
        self._cuts: list[Cut] = []
        self._passing = asyncio.Event()
        self._passing.set()
        self._sessions: dict[_Session, asyncio.Task[None]] = {}
        self._server: asyncio.Server
        self.port = 0

    async def __aenter__(self) -> Self:
        await self._listen()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        tasks = list(self._sessions.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    @property
    def url(self) -> str:
        """The server's address through the proxy."""
        return f"redis://{_HOST}:{self.port}/0"

    def cut(self, moment: Moment, matches: Predicate, *, skip: int = 0, times: int = 1) -> Cut:
        """Cut the connection at commands that match: `skip` of them pass first, then `times` are cut."""
        cut = Cut(moment, matches, skip, times)
        self._cuts.append(cut)
        return cut

    def drop(self) -> None:
        """Cut all connections that there are, now."""
        for session in self._sessions:
            session.abort()

    @contextlib.contextmanager
    def black_hole(self, *, deliver_late: bool = False) -> Iterator[None]:
        """Accept connections and forward nothing, either way; afterwards all connections are cut.

        With `deliver_late` nothing is cut: what was held up is forwarded afterwards, as a network that was
        interrupted for a while would, to a server whose client may long have gone.
        """
        self._passing.clear()
        try:
            yield
        finally:
            if not deliver_late:
                self.drop()
            self._passing.set()

    @contextlib.asynccontextmanager
    async def refusing(self) -> AsyncIterator[None]:
        """Cut all connections and refuse new ones."""
        self._server.close()
        self.drop()
        try:
            yield
        finally:
            await self._listen()

    def taken_by(self, command: Command) -> Cut | None:
        """Return the cut that is to be made at this command."""
        return next((cut for cut in self._cuts if cut.takes(command)), None)

    async def pass_on(self) -> None:
        """Wait until the proxy forwards."""
        await self._passing.wait()

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._accept, _HOST, self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        session = _Session(self, reader, writer)
        task = asyncio.current_task()
        assert task is not None
        self._sessions[session] = task
        try:
            await session.run()
        except asyncio.CancelledError:
            pass  # the proxy closes; asyncio would report the cancelling of a connection's task as an error
        finally:
            session.abort()
            del self._sessions[session]


class _Session:
    """One client's connection and the one behind it."""

    def __init__(self, proxy: CuttingProxy, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._proxy = proxy
        self._from_client, self._to_client = reader, writer
        self._from_server: asyncio.StreamReader
        self._to_server: asyncio.StreamWriter | None = None
        self._unanswered: deque[Cut | None] = deque()
        self._answered = asyncio.Event()
        self._transaction: list[tuple[bytes, ...]] | None = None

    async def run(self) -> None:
        """Forward until one side closes or the connection is cut."""
        with contextlib.suppress(OSError):
            await self._proxy.pass_on()
            self._from_server, self._to_server = await asyncio.open_connection(_HOST, self._proxy.upstream_port)
            pumps = {asyncio.create_task(self._commands(self._to_server)), asyncio.create_task(self._replies())}
            try:
                done, _ = await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for pump in pumps:
                    pump.cancel()
                await asyncio.gather(*pumps, return_exceptions=True)
            for pump in done:
                pump.result()

    def abort(self) -> None:
        """Close both sides without sending what is buffered."""
        for writer in (self._to_client, self._to_server):
            if writer is not None:
                writer.transport.abort()

    async def _commands(self, to_server: asyncio.StreamWriter) -> None:
        async for frame in self._frames(self._from_client):
            command = self._command(frame)
            self._proxy.commands.append(command)
            cut = self._proxy.taken_by(command)
            if cut is not None and cut.moment is Moment.BEFORE:
                await self._all_answered()
                cut.note()
                return
            self._unanswered.append(cut)
            to_server.write(frame)
            await to_server.drain()
            if cut is not None:  # what comes behind it in a pipeline does not reach the server
                await self._all_answered()

    async def _all_answered(self) -> None:
        while self._unanswered:
            self._answered.clear()
            await self._answered.wait()

    async def _replies(self) -> None:
        async for frame in self._frames(self._from_server):
            cut = self._unanswered[0]
            if cut is not None:
                if not frame.startswith(b"-NOSCRIPT"):
                    cut.note()
                    return
                cut.put_back()  # the script was not run; the client sends it whole next
            self._to_client.write(frame)
            await self._to_client.drain()
            self._unanswered.popleft()
            self._answered.set()

    async def _frames(self, reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
        buffer = b""
        while True:
            data = await reader.read(_CHUNK)
            if not data:
                return
            buffer += data
            start = 0
            while (end := resp.end_of(buffer, start)) is not None:
                await self._proxy.pass_on()
                yield buffer[start:end]
                start = end
            buffer = buffer[start:]

    def _command(self, frame: bytes) -> Command:
        args = resp.arguments(frame)
        command = Command(args)
        match command.name:
            case "MULTI":
                self._transaction = []
            case "EXEC" | "DISCARD":
                command = Command(args, tuple(self._transaction or ()))
                self._transaction = None
            case _ if self._transaction is not None:
                self._transaction.append(args)
        return command
