"""The text of an address file, line by line: JSON lines or CSV in, drafts by customer out; pure.

A column goes by any of the names in `COLUMNS`, whatever their case, spaces, hyphens and underscores. Unknown columns
are passed over. CSV may be separated by commas, semicolons or tabs, has its columns' names in the first line, and may
have quoted fields of up to `LONGEST_RECORD` lines. A JSON line is one object; its address may be nested under
`address`, its lines may be a list under `lines`. Every line needs a customer id or a source id; where several lines
name the same customer, the last one counts.

A line that cannot be used is named by its number, never by its content, and leaves the others usable.
"""

import csv
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from rewardpost.addresses import AddressDraft

COLUMNS: Mapping[str, tuple[str, ...]] = {
    "customer_id": ("customer_id", "id", "voucherify_id"),
    "source_id": ("source_id", "customer_source_id"),
    "customer": ("customer",),  # either of the two
    "name": ("name", "full_name", "recipient"),
    "company": ("company", "organisation", "organization"),
    "lines": ("lines", "address_lines"),
    "line_1": ("line_1", "address_1", "address_line_1", "street"),
    "line_2": ("line_2", "address_2", "address_line_2"),
    "city": ("city", "town", "locality"),
    "region": ("region", "state", "province", "county"),
    "postal_code": ("postal_code", "postcode", "zip", "zip_code"),
    "country": ("country", "country_code"),
    "phone": ("phone", "telephone", "phone_number"),
    "email": ("email", "e_mail", "email_address"),
}
"""What a column is called here, and the names under which it may stand in the file."""

LONGEST_RECORD = 8
"""Lines; a quote that is still open after so many was never meant to be one."""

_SEPARATORS = ",;\t"
_IDS = ("customer_id", "source_id", "customer")
_UTF_16 = frozenset({b"\xff\xfe", b"\xfe\xff"})
_DRAFT = frozenset(field.name for field in msgspec.structs.fields(AddressDraft))


class AddressFileError(Exception):
    """The whole file cannot be used; the message says what was expected, never what stands there."""


@dataclass(frozen=True)
class Fault:
    """A line that cannot be used, or one that hides another."""

    line: int
    """Counts from 1."""
    expected: str


@dataclass(frozen=True, kw_only=True)
class Rows:
    """The addresses of a file; nothing of them shows in its repr."""

    by_id: dict[str, AddressDraft] = field(default_factory=dict, repr=False)
    by_source_id: dict[str, AddressDraft] = field(default_factory=dict, repr=False)
    faults: list[Fault] = field(default_factory=list)


class _LineError(Exception):
    """A line that cannot be used; the message completes "expected …"."""


_Record = tuple[int, Iterable[tuple[str, object]]]
"""A line's number, and its values by column."""


def parse(raw: bytes) -> Rows:
    """Read a whole file.

    Raises:
        AddressFileError: it is not UTF-8, or its first line is neither a JSON object nor names of CSV columns.
    """
    lines = _decoded(raw).replace("\r\n", "\n").replace("\r", "\n").split("\n")
    start = next((index for index, line in enumerate(lines) if line.strip()), None)
    if start is None:
        return Rows()
    first = lines[start].lstrip()
    if first.startswith("["):
        raise AddressFileError(f"line {start + 1}: expected one JSON object a line or CSV, got a JSON array")
    return _collected(_json_records(lines) if first.startswith("{") else _csv_records(lines, start))


def _decoded(raw: bytes) -> str:
    if raw[:2] in _UTF_16:
        raise AddressFileError("expected UTF-8, got UTF-16")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        line = raw.count(b"\n", 0, exc.start) + 1
    # Outside the handler, since the error that was handled holds the whole file.
    raise AddressFileError(f"line {line}: expected UTF-8, got another encoding")


def _collected(records: Iterable[_Record | Fault]) -> Rows:
    rows = Rows()
    for record in records:
        if isinstance(record, Fault):
            rows.faults.append(record)
            continue
        line, values = record
        try:
            customer, source, draft = _row(values)
        except _LineError as exc:
            rows.faults.append(Fault(line, str(exc)))
            continue
        if customer in rows.by_id or source in rows.by_source_id:
            rows.faults.append(Fault(line, "each customer once; this line replaces an earlier one"))
        if customer:
            rows.by_id[customer] = draft
        if source:
            rows.by_source_id[source] = draft
    return rows


def _json_records(lines: Sequence[str]) -> Iterator[_Record | Fault]:
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            found = msgspec.json.decode(line)
        except (msgspec.DecodeError, RecursionError):
            found = None
        yield (number, _json_values(found)) if isinstance(found, dict) else Fault(number, "one JSON object")


def _json_values(found: Mapping[str, object]) -> Iterator[tuple[str, object]]:
    for name, value in found.items():
        yield _column(name), value
    address = found.get("address")
    if isinstance(address, dict):
        for name, value in address.items():
            if _column(name) not in _IDS:  # an id in there would be the address's own
                yield _column(name), value


def _csv_records(lines: Sequence[str], start: int) -> Iterator[_Record | Fault]:
    separator = max(_SEPARATORS, key=lines[start].count)
    names, _ = _csv_record(lines[start : start + 1], separator)
    columns = [_column(name) for name in names or ()]
    if not set(columns) & set(_IDS):
        raise AddressFileError(f"line {start + 1}: expected columns, one of them customer_id or source_id")
    index = start + 1
    while index < len(lines):
        number, ahead = index + 1, lines[index : index + LONGEST_RECORD]
        fields, used = _csv_record(ahead, separator)
        index += used
        if not ahead[0].strip():
            continue
        if fields is None or len(fields) < len(columns) or any(fields[len(columns) :]):
            yield Fault(number, f"{len(columns)} columns of CSV")
        else:
            yield number, zip(columns, fields, strict=False)


def _csv_record(lines: Sequence[str], separator: str) -> tuple[list[str] | None, int]:
    """Return the fields of the record that begins here, None if it cannot be read, and how many lines it took."""
    reader = csv.reader((f"{line}\n" for line in lines), delimiter=separator, strict=True)
    try:
        return next(reader), reader.line_num
    except csv.Error:
        return None, 1


def _row(values: Iterable[tuple[str, object]]) -> tuple[str | None, str | None, AddressDraft]:
    """Return a customer's id, source id and draft.

    Raises:
        _LineError: a value has the wrong type, or the line names no customer.
    """
    found: dict[str, str] = {}
    for column, value in values:
        for part, text in _parts(column, value):
            found.setdefault(part, text)
    either = found.get("customer")
    customer, source = found.get("customer_id", either), found.get("source_id", either)
    if not (customer or source):
        raise _LineError("a customer id or a source id")
    return customer, source, AddressDraft(**{name: found[name] for name in _DRAFT if name in found})


def _parts(column: str, value: object) -> Iterator[tuple[str, str]]:
    """Take a value to the fields of a draft that it fills; what is empty fills none."""
    if column not in COLUMNS or value is None:
        return
    if column == "lines":
        several = value if isinstance(value, list) else _text(column, value).split("\n")
        lines = [text for text in (_text(column, line) for line in several if line is not None) if text]
        yield from zip(("line_1", "line_2"), (*lines[:1], ", ".join(lines[1:])), strict=False)
    elif text := _text(column, value):
        yield column, text


def _text(column: str, value: object) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str):
        raise _LineError(f"text as {column}")
    return value.strip()


def _column(name: str) -> str:
    return _KNOWN.get(_compact(name), "")


def _compact(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


_KNOWN = {_compact(name): column for column, names in COLUMNS.items() for name in names}
