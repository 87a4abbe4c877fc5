"""The embedded server: it is its own, it keeps what it confirmed, and two cannot share their data."""

from pathlib import Path

import pytest
import redis

from cli.embedded_server import EmbeddedServer, EmbeddedServerError


@pytest.mark.parametrize("address", ["url", "tcp_url"])
def test_both_addresses_lead_to_the_child(server: EmbeddedServer, address: str) -> None:
    """Whoever answers at either address is the process that was started."""
    with redis.Redis.from_url(getattr(server, address)) as client:
        assert client.info("server")["process_id"] == server.pid


def test_keeps_a_confirmed_write_through_a_kill(own_server: EmbeddedServer) -> None:
    """A write that was confirmed is there after a kill and a start, at the same address."""
    with redis.Redis.from_url(own_server.url) as client:
        client.set("kept", "yes")
    own_server.kill()
    own_server.start()
    with redis.Redis.from_url(own_server.url) as client:
        assert client.get("kept") == b"yes"


def test_stops_while_frozen(own_server: EmbeddedServer) -> None:
    """A frozen server can be stopped, and started again."""
    own_server.freeze()
    own_server.stop()
    own_server.start()
    assert own_server.pid > 0


def test_refuses_a_directory_in_use(server: EmbeddedServer) -> None:
    """A second server on the same data is refused before it touches it."""
    with pytest.raises(EmbeddedServerError, match="to be free, another server uses it"):
        EmbeddedServer(server.directory).start()


def test_says_that_the_server_ended(tmp_path: Path) -> None:
    """A server that ends at once is reported, not waited for."""
    with pytest.raises(EmbeddedServerError, match="it ended with 1"):
        EmbeddedServer(tmp_path, executable=Path("/bin/false")).start()


def test_falls_back_to_tcp_where_the_path_is_too_long(tmp_path: Path) -> None:
    """A directory too deep for a Unix socket still gets a server."""
    with EmbeddedServer(tmp_path / ("deep" * 30)) as server, redis.Redis.from_url(server.url) as client:
        assert server.url == server.tcp_url
        assert client.ping()
