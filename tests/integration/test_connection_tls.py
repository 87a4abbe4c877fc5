"""TLS: the server and the sentinels are verified as the address says, on every connection."""

import contextlib
import shutil
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlencode

import pytest
from redis.exceptions import RedisError

from cli.embedded_server import EmbeddedServer
from rewardpost.connection import connect
from tests.sentinels import certificate_in, free_port, listening, sentinel_of

CALL_TIMEOUT = timedelta(seconds=2)
Options = dict[str, str]


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Options:
    """The options of an address: server and client show one certificate, for 127.0.0.1, that vouches for itself."""
    certificate, key = map(str, certificate_in(tmp_path_factory.mktemp("tls")))
    return {"ssl_ca_certs": certificate, "ssl_certfile": certificate, "ssl_keyfile": key}


@contextlib.asynccontextmanager
async def secured(server: EmbeddedServer, certificate: Options, directory: Path) -> AsyncIterator[tuple[Path, int]]:
    """A server that speaks TLS alone and wants to see its clients' certificate; yields what runs it and its port."""
    for executable in (server.executable, shutil.which("redis-server"), shutil.which("valkey-server")):
        if executable is None:
            continue
        port = free_port()
        options = {"port": "0", "tls-port": str(port), "bind": "127.0.0.1", "dir": str(directory), "save": '""'}
        configuration = directory / f"tls-{port}.conf"
        lines = (options | tls_of(certificate)).items()
        configuration.write_text("".join(f"{name} {value}\n" for name, value in lines))
        async with listening(Path(executable), port, configuration) as process:
            if process.poll() is None:
                yield Path(executable), port
                return
    pytest.skip("TLS IS NOT TESTED: expected a server built with TLS, neither the embedded one nor one on the PATH is")


def tls_of(certificate: Options) -> Options:
    """Return a server's own settings for its certificate."""
    return {
        "tls-cert-file": certificate["ssl_certfile"],
        "tls-key-file": certificate["ssl_keyfile"],
        "tls-ca-cert-file": certificate["ssl_ca_certs"],
        "tls-auth-clients": "yes",
        "tls-replication": "yes",
    }


async def answers(url: str) -> bool:
    """Say whether a client reaches a server."""
    client = connect(url, call_timeout=CALL_TIMEOUT)
    try:
        return await outcome(client.ping())
    finally:
        await client.aclose()


async def outcome(call: object) -> bool:
    """Say whether a call was answered."""
    try:
        return bool(await call)  # type: ignore[misc] # any awaitable
    except RedisError:
        return False


async def check(address: str, certificate: Options) -> None:
    """Check that an address, which has no query yet or one that can go on, leads on if and only if it may."""
    known = {**certificate, "ssl_check_hostname": "1"}
    nameless = {name: value for name, value in known.items() if name != "ssl_ca_certs"}
    stranger = {name: value for name, value in known.items() if name not in {"ssl_certfile", "ssl_keyfile"}}
    trusting = {**certificate, "ssl_cert_reqs": "none"}
    trusting.pop("ssl_ca_certs")
    for options, expected in ((known, True), (nameless, False), (stranger, False), (trusting, True)):
        assert await answers(address + urlencode(options)) is expected, sorted(options)


async def test_a_server_over_tls_is_verified(server: EmbeddedServer, certificate: Options, tmp_path: Path) -> None:
    """By the authority and for the name that the address gives, showing the certificate that it names."""
    async with secured(server, certificate, tmp_path) as (_, port):
        await check(f"rediss://127.0.0.1:{port}/0?", certificate)
        by_another_name = urlencode({**certificate, "ssl_check_hostname": "1"})
        assert not await answers(f"rediss://localhost:{port}/0?{by_another_name}")
        assert await answers(f"rediss://localhost:{port}/0?{urlencode(certificate)}")


async def test_sentinels_over_tls_are_verified_like_their_master(
    server: EmbeddedServer, certificate: Options, tmp_path: Path
) -> None:
    """The same options hold for the connections to the sentinels and for those to the master that they name."""
    async with (
        secured(server, certificate, tmp_path) as (executable, master),
        sentinel_of(executable, master, tmp_path, {"tls-port": "", **tls_of(certificate)}) as port,
    ):
        await check(f"redis+sentinel://127.0.0.1:{port}/main/0?ssl=1&", certificate)
        by_another_name = urlencode({**certificate, "ssl_check_hostname": "1"})
        assert not await answers(f"redis+sentinel://localhost:{port}/main/0?ssl=1&{by_another_name}")
        assert not await answers(f"redis+sentinel://127.0.0.1:{port}/main/0?{urlencode({})}")
