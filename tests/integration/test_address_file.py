"""Addresses from a file: its forms, its faults, and that changes are seen."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import aiohttp
import pytest

from rewardpost.addresses import AddressDraft
from rewardpost.settings import Settings
from worker.address_sources import registry
from worker.address_sources.file import LARGEST, AddressFile
from worker.address_sources.protocol import Customer, Found, NotFound, TryLater

ADA = AddressDraft(
    name="Ada Muster",
    company="Muster AG",
    line_1="Musterweg 1",
    line_2="Hof 2",
    city="Berlin",
    region="Berlin",
    postal_code="01115",
    country="DE",
    phone="+49 30 1",
    email="ada@example.com",
)
HEADER = "customer_id,source_id,name,company,line_1,line_2,city,region,postal_code,country,phone,email"
ROW = "cust_1,ada-1,Ada Muster,Muster AG,Musterweg 1,Hof 2,Berlin,Berlin,01115,DE,+49 30 1,ada@example.com"
JSON_LINE = (
    '{"customer_id": "cust_1", "source_id": "ada-1", "name": "Ada Muster", "company": "Muster AG", '
    '"line_1": "Musterweg 1", "line_2": "Hof 2", "city": "Berlin", "region": "Berlin", "postal_code": "01115", '
    '"country": "DE", "phone": "+49 30 1", "email": "ada@example.com"}'
)
NESTED = (
    '{"id": "cust_1", "source_id": "ada-1", "name": "Ada Muster", "organisation": "Muster AG", "email": '
    '"ada@example.com", "phone": "+49 30 1", "metadata": {}, "address": {"id": "addr_9", "line_1": "Musterweg 1", '
    '"line_2": "Hof 2", "city": "Berlin", "state": "Berlin", "postal_code": "01115", "country": "DE"}}'
)
LISTED = JSON_LINE.replace('"line_1": "Musterweg 1", "line_2": "Hof 2"', '"lines": ["Musterweg 1", null, "Hof 2"]')

Write = Callable[[str | bytes], AddressFile]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """A function that writes the file anew and returns a source that reads it."""
    path = tmp_path / "addresses"

    def to_file(content: str | bytes) -> AddressFile:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return AddressFile(path)

    return to_file


async def _faults(source: AddressFile) -> list[str]:
    return [finding.what for finding in await source.check() if not finding.ok]


@pytest.mark.parametrize(
    "content",
    [
        f"{HEADER}\n{ROW}\n",
        f"\n\n{HEADER}\r\n{ROW}",
        f"{HEADER}\n{ROW}\n".replace(",", ";"),
        f"{HEADER}\n{ROW}\n".replace(",", "\t"),
        f"{HEADER},notes\n{ROW},\n",
        HEADER.replace("line_1", "Address Line 1").replace("postal_code", "ZIP").replace("region", "State")
        + f"\n{ROW}\n",
        HEADER.replace("email", "E-Mail").replace("customer_id", "customerId").replace("city", " Town ") + f"\n{ROW}\n",
        f"{HEADER}\n" + ",".join(f'"{value}"' for value in ROW.split(",")),
        HEADER.replace("line_1,line_2", "lines") + "\n" + ROW.replace("Musterweg 1,Hof 2", '"Musterweg 1\nHof 2"'),
        f"{JSON_LINE}\n",
        f"\n{NESTED}\n",
        f"{LISTED}\n",
    ],
)
@pytest.mark.parametrize("bom", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("customer", [Customer(id="cust_1"), Customer(id="cust_9", source_id="ada-1")])
async def test_every_form_of_the_file_gives_the_same_address(
    write: Write, content: str, bom: bytes, customer: Customer
) -> None:
    """CSV with any usual separator and column names, JSON lines flat and nested, with or without a byte order mark."""
    source = write(bom + content.encode())
    assert await source.find(customer) == Found(ADA)
    assert await _faults(source) == []


async def test_a_column_customer_may_hold_either_id(write: Write) -> None:
    """Who has one list of ids need not know which kind they are."""
    source = write("customer,name\ncust_1,Ada\nada-2,Bea\n")
    assert await source.find(Customer(id="cust_1")) == Found(AddressDraft(name="Ada"))
    assert await source.find(Customer(id="cust_2", source_id="ada-2")) == Found(AddressDraft(name="Bea"))


@pytest.mark.parametrize("customer", [Customer(), Customer(id=""), Customer(id="ada-1"), Customer(source_id="cust_1")])
async def test_an_id_is_not_taken_for_a_source_id(write: Write, customer: Customer) -> None:
    """Two customers may have each other's ids in different columns."""
    assert await write(f"{HEADER}\n{ROW}\n").find(customer) == NotFound()


@pytest.mark.parametrize("content", ["", "\n\n", f"{HEADER}\n"])
async def test_an_empty_file_knows_nobody(write: Write, content: str) -> None:
    """A file that is still to be filled is no fault."""
    source = write(content)
    assert await source.find(Customer(id="cust_1")) == NotFound()
    assert await _faults(source) == []


@pytest.mark.parametrize(
    ("bad", "expected"),
    [
        ("cust_7,secret", "12 columns of CSV"),
        (f"{ROW},more,secret", "12 columns of CSV"),
        ('cust_7,"secret', "12 columns of CSV"),
        ('"cust_7"secret,' + "," * 10, "12 columns of CSV"),
        (",,secret" + "," * 9, "a customer id or a source id"),
    ],
)
async def test_a_bad_line_of_csv_is_named_and_leaves_the_others_usable(write: Write, bad: str, expected: str) -> None:
    """A quote that is never closed does not swallow the rest of the file; the content is not repeated."""
    source = write("\n".join([HEADER, bad, ROW, *[ROW.replace("_1", "_2").replace("ada-1", "bea-2")]]))
    assert await source.find(Customer(id="cust_1")) == Found(ADA)
    assert await source.find(Customer(source_id="bea-2")) != NotFound()
    assert await _faults(source) == [f"ADDRESS_FILE line 2: expected {expected}"]


@pytest.mark.parametrize(
    ("bad", "expected"),
    [
        ("{secret", "one JSON object"),
        ("[1]", "one JSON object"),
        ("{" * 100_000, "one JSON object"),
        ('{"name": "secret"}', "a customer id or a source id"),
        ('{"id": "cust_7", "city": ["secret"]}', "text as city"),
        ('{"id": "cust_7", "city": true}', "text as city"),
        ('{"id": "cust_7", "lines": [{"secret": 1}]}', "text as lines"),
    ],
)
async def test_a_bad_json_line_is_named_and_leaves_the_others_usable(write: Write, bad: str, expected: str) -> None:
    """The line's number is enough to find it; its content stays out of the report."""
    source = write(f'{{"id": "cust_2"}}\n{bad}\n{JSON_LINE}\n')
    assert await source.find(Customer(id="cust_1")) == Found(ADA)
    assert await _faults(source) == [f"ADDRESS_FILE line 2: expected {expected}"]


async def test_the_last_line_of_a_customer_counts_and_the_repetition_is_reported(write: Write) -> None:
    """A correction at the end of the file is used; that there are two lines may still be a slip."""
    source = write(f"{HEADER}\n{ROW}\n{ROW.replace('Musterweg 1', 'Neuweg 9')}\n")
    found = await source.find(Customer(id="cust_1"))
    assert isinstance(found, Found)
    assert found.draft.line_1 == "Neuweg 9"
    assert await _faults(source) == [
        "ADDRESS_FILE line 3: expected each customer once; this line replaces an earlier one"
    ]


async def test_a_flood_of_bad_lines_is_summed_up(write: Write) -> None:
    """The self-check stays readable."""
    faults = await _faults(write(HEADER + "\nx" * 100))
    assert len(faults) == 21
    assert faults[-1] == "ADDRESS_FILE: 80 more such lines"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (f"{HEADER}\n{ROW}".encode("utf-16"), "expected UTF-8, got UTF-16"),
        (f"{HEADER}\n{ROW}\n".encode() + "Märkische Straße".encode("latin-1"), "line 3: expected UTF-8"),
        (b'[{"id": "cust_1"}]', "line 1: expected one JSON object a line or CSV, got a JSON array"),
        (b"name,city\nAda,Berlin\n", "line 1: expected columns, one of them customer_id or source_id"),
        (b'"name,city', "line 1: expected columns, one of them customer_id or source_id"),
    ],
)
async def test_a_file_that_cannot_be_used_is_the_operators_affair(write: Write, content: bytes, expected: str) -> None:
    """Nobody is taken for unknown while the file cannot be read; the reason says what to mend."""
    source = write(content)
    answer = await source.find(Customer(id="cust_1"))
    assert isinstance(answer, TryLater)
    assert expected in answer.why
    assert any(expected in fault for fault in await _faults(source))


async def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    """A wrong path must not fill a worker's memory."""
    path = tmp_path / "large"
    with path.open("wb") as file:
        file.truncate(LARGEST + 1)
    answer = await AddressFile(path).find(Customer(id="cust_1"))
    assert isinstance(answer, TryLater)
    assert "too large" in answer.why


async def test_a_changed_file_is_read_again(write: Write) -> None:
    """A new address counts without a restart, and so does a repair."""
    source = write("customer_id,name\ncust_1,Ada\n")
    assert await source.find(Customer(id="cust_1")) == Found(AddressDraft(name="Ada"))
    write("customer_id,name\ncust_1,Bea Other\n")
    assert await source.find(Customer(id="cust_1")) == Found(AddressDraft(name="Bea Other"))
    write(b"\xff")
    assert isinstance(await source.find(Customer(id="cust_1")), TryLater)
    write("customer_id,name\ncust_1,Cleo\n")
    assert await source.find(Customer(id="cust_1")) == Found(AddressDraft(name="Cleo"))


async def test_a_file_of_the_same_size_is_seen_by_its_time(tmp_path: Path) -> None:
    """A corrected house number need not change the file's length."""
    path = tmp_path / "addresses"
    path.write_text("customer_id,line_1\ncust_1,Weg 1\n")
    os.utime(path, (1_700_000_000, 1_700_000_000))
    source = AddressFile(path)
    assert await source.find(Customer(id="cust_1")) == Found(AddressDraft(line_1="Weg 1"))
    path.write_text("customer_id,line_1\ncust_1,Weg 2\n")
    os.utime(path, (1_700_000_001, 1_700_000_001))
    assert await source.find(Customer(id="cust_1")) == Found(AddressDraft(line_1="Weg 2"))


async def test_a_file_that_is_gone_is_tried_later_and_found_again(write: Write, tmp_path: Path) -> None:
    """While the operator replaces the file, nobody becomes unknown."""
    source = write(f"{HEADER}\n{ROW}\n")
    moved = (tmp_path / "addresses").rename(tmp_path / "away")
    answer = await source.find(Customer(id="cust_1"))
    assert answer == TryLater("ADDRESS_FILE cannot be read (FileNotFoundError)")
    moved.rename(tmp_path / "addresses")
    assert await source.find(Customer(id="cust_1")) == Found(ADA)


async def test_the_sources_come_in_the_order_of_the_settings(tmp_path: Path) -> None:
    """A source that is not configured, or not there yet, is passed over."""
    path = tmp_path / "addresses"
    path.write_text("")
    both = Settings(address_file=path, voucherify_app_id="a", voucherify_app_token="t")
    async with aiohttp.ClientSession() as session:

        def names(settings: Settings) -> list[str]:
            return [source.name for source in registry.build(settings, session)]

        assert names(Settings()) == []
        assert names(Settings(address_file=path)) == ["file"]
        assert names(both) == ["voucherify", "file"]
        assert names(replace(both, address_sources=("url", "file", "voucherify"))) == ["file", "voucherify"]
