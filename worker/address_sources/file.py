"""Addresses from `ADDRESS_FILE`: read at the first question, and again whenever the file has changed.

How the file may look is said in `worker.address_sources.address_rows`. Replace it by renaming a complete one over
it; a file that is written in place can be read while it is half there.
"""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import aiohttp

from rewardpost.settings import Settings
from worker.address_sources.address_rows import AddressFileError, Rows, parse
from worker.address_sources.protocol import Answer, Budget, Customer, Found, NotFound, TryLater
from worker.providers.protocol import Finding

LARGEST = 64 * 1024 * 1024
"""Bytes; every worker holds the whole file, at six times its size (measured with 100,000 lines of CSV)."""

_MOST_FAULTS = 20  # in one self-check; the rest is a number


class AddressFile:
    """The addresses of a file that the operator keeps."""

    name = "file"

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stamp: tuple[int, int, int] | None = None
        self._rows: Rows | AddressFileError = Rows()
        self._reading = asyncio.Lock()

    async def find(self, customer: Customer) -> Answer:
        """Look the customer up by id, then by source id."""
        rows = await self._current()
        if isinstance(rows, AddressFileError):
            return TryLater(f"ADDRESS_FILE {rows}")
        draft = rows.by_id.get(customer.id or "") or rows.by_source_id.get(customer.source_id or "")
        return NotFound() if draft is None else Found(draft)

    async def check(self) -> Sequence[Finding]:
        """Read the file and name every line that cannot be used."""
        rows = await self._current()
        if isinstance(rows, AddressFileError):
            return [Finding(ok=False, what=f"ADDRESS_FILE {rows}", todo="mend the file; no restart is needed")]
        findings = [
            Finding(ok=False, what=f"ADDRESS_FILE line {fault.line}: expected {fault.expected}", todo="mend the line")
            for fault in rows.faults[:_MOST_FAULTS]
        ]
        if len(rows.faults) > _MOST_FAULTS:
            more = len(rows.faults) - _MOST_FAULTS
            findings.append(Finding(ok=False, what=f"ADDRESS_FILE: {more} more such lines", todo="mend these lines"))
        known = f"{len(rows.by_id)} customer ids and {len(rows.by_source_id)} source ids"
        return [*findings, Finding(ok=True, what=f"ADDRESS_FILE has addresses for {known}")]

    async def close(self) -> None:
        """Do nothing: the file is open only while it is read."""

    async def _current(self) -> Rows | AddressFileError:
        async with self._reading:
            return await asyncio.to_thread(self._read_if_changed)

    def _read_if_changed(self) -> Rows | AddressFileError:
        try:
            status = self._path.stat()
            stamp = (status.st_mtime_ns, status.st_size, status.st_ino)
            if stamp != self._stamp:
                # The stamp is older than what is read, so a change in between is seen at the next question.
                self._rows = self._read(status.st_size)
                self._stamp = stamp
        except OSError as exc:
            self._stamp = None
            return AddressFileError(f"cannot be read ({type(exc).__name__})")
        return self._rows

    def _read(self, size: int) -> Rows | AddressFileError:
        if size > LARGEST:
            return AddressFileError(f"is too large: expected at most {LARGEST} bytes, got {size}")
        try:
            return parse(self._path.read_bytes())
        except AddressFileError as exc:
            return exc


def build(settings: Settings, _session: aiohttp.ClientSession, _budget: Budget) -> AddressFile | None:
    """Return the source, or None while no file is set."""
    return None if settings.address_file is None else AddressFile(settings.address_file)
