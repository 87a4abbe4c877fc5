"""The verb `send` at a real door."""

import asyncio
import json
from pathlib import Path

import pytest

from cli.embedded_server import EmbeddedServer
from tests.door_client import opened
from tests.shell import Shell, fresh


@pytest.fixture
def shell(server: EmbeddedServer) -> Shell:
    """The command on the session's server, which is empty."""
    return fresh(server.url)


async def test_send_posts_the_sample_signed(server: EmbeddedServer, redis: object) -> None:
    """The first of many is stored, the others are duplicates; another send-out is stored too."""
    del redis  # it only empties the server
    async with opened(server.url) as door:
        url = f"http://127.0.0.1:{door.port}/webhooks/voucherify"
        shell = Shell(server.url)
        secret = {"VOUCHERIFY_WEBHOOK_SECRETS": "the secret of the tests"}
        send = ["send", "--url", url]
        printed = await asyncio.to_thread(shell.done, *send, "--count", "20", "--json", **secret)
        assert json.loads(printed)["answers"] == {"stored": 1, "duplicate": 19}
        assert (await asyncio.to_thread(shell.done, *send, **secret)).startswith("duplicate: delivery ")
        other = [*send, "--source", "distr_1", "--envelope-id", "whs_2"]
        assert (await asyncio.to_thread(shell.done, *other, **secret)).startswith("stored: delivery ")
        printed = await asyncio.to_thread(shell.done, *send, "--count", "20", "--distinct", **secret)
        assert printed == "20\tstored\n"
        message = await asyncio.to_thread(shell.refused, *send, "--secret", "wrong")
        assert "unauthorized" in message


async def test_send_posts_a_file_as_it_is(server: EmbeddedServer, redis: object, tmp_path: Path) -> None:
    """The bytes of a file arrive untouched; what is no JSON is taken in as well, and set aside inside."""
    del redis  # it only empties the server
    file = tmp_path / "body"
    file.write_bytes(b'{ "x" : 1 }\n')
    async with opened(server.url) as door:
        send = ["send", str(file), "--url", f"http://127.0.0.1:{door.port}/webhooks/voucherify"]
        shell = Shell(server.url)
        secret = {"VOUCHERIFY_WEBHOOK_SECRETS": "the secret of the tests"}
        assert (await asyncio.to_thread(shell.done, *send, **secret)).startswith("stored: ")
        assert (await asyncio.to_thread(shell.done, *send, **secret)).startswith("duplicate: ")
        assert (await asyncio.to_thread(shell.done, *send, "--wrap", **secret)).startswith("stored: ")


def test_send_to_nobody_exits_with_3(shell: Shell) -> None:
    """Where no door listens, one line says so."""
    message = shell.refused("send", "--url", "http://127.0.0.1:1/", "--secret", "x", "--count", "3", status=3)
    assert "nobody listens at http://127.0.0.1:1/" in message


def test_send_without_a_secret_names_the_setting(shell: Shell) -> None:
    """A webhook is not sent unsigned by accident."""
    assert "VOUCHERIFY_WEBHOOK_SECRETS" in shell.refused("send", status=2)
