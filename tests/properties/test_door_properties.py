"""Whatever is sent to the door, it gives one of its own answers and goes on."""

import asyncio
import hashlib
import hmac
from collections.abc import Iterator, Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cli.embedded_server import EmbeddedServer
from ingest.serving import open_door
from ingest.signature import without_insignificant_space
from rewardpost.settings import load

SECRET = "the secret of the tests"
ANSWERS = {202, 400, 401, 405, 413, 503}
LIMIT = 2048

BODIES = st.one_of(
    st.binary(max_size=2 * LIMIT),
    st.integers(0, 2 * LIMIT).map(bytes),
    st.text(alphabet='{}[]",: \\\t\r\nab1', max_size=200).map(str.encode),
)
TOKENS = st.from_regex(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,20}", fullmatch=True)
VALUES = st.text(st.characters(max_codepoint=255, exclude_categories=["Cc"]), max_size=60)
HEADERS = st.lists(
    st.one_of(
        st.tuples(TOKENS, VALUES),
        st.tuples(
            st.just("Content-Encoding"), st.sampled_from(["gzip", "deflate", "br", "identity", "", "gzip, gzip"])
        ),
        st.tuples(st.just("Expect"), st.sampled_from(["100-continue", "no", ""])),
        st.tuples(st.just("Transfer-Encoding"), st.sampled_from(["chunked", "gzip", "identity", ""])),
        st.tuples(st.just("Content-Length"), st.sampled_from(["0", "1", "-1", "x", "99999999"])),
        st.tuples(st.just("Upgrade"), st.sampled_from(["websocket", "h2c"])),
        st.tuples(st.just("X-Voucherify-Signature"), VALUES),
    ),
    max_size=6,
)
METHODS = st.one_of(st.just("POST"), st.sampled_from(["GET", "PUT", "HEAD", "DELETE", "OPTIONS", "TRACE"]), TOKENS)


class Caller:
    """A door kept open on an event loop of its own, and a way to write to it."""

    def __init__(self, runner: asyncio.Runner, port: int) -> None:
        self._runner = runner
        self._port = port

    def send(self, request: bytes) -> list[int]:
        """Write a request, hang up, and return the status of every answer."""
        return self._runner.run(self._send(request))

    async def _send(self, request: bytes) -> list[int]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        received = b""
        try:
            writer.write(request)
            async with asyncio.timeout(0.25):
                received = await reader.read(65536)
        except (TimeoutError, ConnectionError):
            pass  # no answer is an answer to what is no request, or not a whole one
        finally:
            writer.close()
        lines = [line for line in received.split(b"\r\n") if line.startswith(b"HTTP/1.")]
        return [int(line.split()[1]) for line in lines if line.split()[1] != b"100"]


@pytest.fixture(scope="module")
def caller(server: EmbeddedServer) -> Iterator[Caller]:
    """An open door, kept for all examples."""
    configuration = load(
        {
            "REDIS_URL": server.url,
            "KEY_PREFIX": "door-properties",
            "INGEST_HOST": "127.0.0.1",
            "INGEST_PORT": "0",
            "INGEST_MAX_BODY_BYTES": str(LIMIT),
            "VOUCHERIFY_WEBHOOK_SECRETS": SECRET,
        },
    )
    with asyncio.Runner() as runner:
        door = open_door(configuration)
        addresses = runner.run(door.__aenter__())
        yield Caller(runner, addresses[0][1])
        runner.run(door.__aexit__(None, None, None))


def _request(method: str, headers: Mapping[str, str] | list[tuple[str, str]], body: bytes) -> bytes:
    pairs = headers.items() if isinstance(headers, Mapping) else headers
    lines = [f"{method} /webhooks/voucherify HTTP/1.1", "Host: door", *(f"{name}: {value}" for name, value in pairs)]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def _sign(body: bytes) -> str:
    return hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()


@given(method=METHODS, headers=HEADERS, body=BODIES, declared=st.booleans(), signed=st.booleans())
@settings(max_examples=150, deadline=None)
def test_any_request_gets_one_of_the_answers(
    caller: Caller,
    method: str,
    headers: list[tuple[str, str]],
    body: bytes,
    *,
    declared: bool,
    signed: bool,
) -> None:
    """Any method, headers and bytes: 202, 400, 401, 405, 413, 503 or silence, never another answer."""
    if declared:
        headers = [*headers, ("Content-Length", str(len(body)))]
    if signed:
        headers = [*headers, ("X-Voucherify-Signature", _sign(body))]
    assert set(caller.send(_request(method, headers, body))) <= ANSWERS


@given(garbage=st.binary(min_size=1, max_size=300))
@settings(max_examples=50, deadline=None)
def test_any_bytes_get_one_of_the_answers(caller: Caller, garbage: bytes) -> None:
    """Bytes that are no request at all are refused or cut off."""
    assert set(caller.send(garbage + b"\r\n\r\n")) <= ANSWERS


@given(body=st.binary(max_size=LIMIT))
@settings(max_examples=50, deadline=None)
def test_any_signed_bytes_are_acknowledged(caller: Caller, body: bytes) -> None:
    """Whatever the content is, a correct signature and a fitting size are all it takes."""
    headers = {"Content-Length": str(len(body)), "X-Voucherify-Signature": _sign(body)}
    assert caller.send(_request("POST", headers, body)) == [202]


@given(body=BODIES)
def test_compact_bodies_stay_as_they_are(body: bytes) -> None:
    """Removing insignificant space twice removes nothing more, and it removes nothing but space."""
    compact = without_insignificant_space(body)
    assert without_insignificant_space(compact) == compact
    assert compact.translate(None, b" \t\r\n") == body.translate(None, b" \t\r\n")


def _reference(body: bytes) -> bytes:
    out, inside, escaped = bytearray(), False, False
    for byte in body:
        if inside:
            out.append(byte)
            escaped, inside = (not escaped and byte == 0x5C), (escaped or byte != 0x22)
        elif byte not in b" \t\r\n":
            out.append(byte)
            inside = byte == 0x22
    return bytes(out)


@given(body=BODIES)
def test_insignificant_space_is_found_as_a_scanner_finds_it(body: bytes) -> None:
    """The pattern agrees with a byte by byte scanner on any bytes."""
    assert without_insignificant_space(body) == _reference(body)
