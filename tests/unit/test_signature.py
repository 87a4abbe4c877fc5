"""Which signatures the door accepts, and what counts as insignificant white space."""

import hashlib
import hmac
import json
import time

import pytest

from ingest.signature import verify, without_insignificant_space

SECRET = "correct horse battery staple"
BODY = b'{"points":12,"name":"a b"}'
SIGNATURE = "022c9512d955eeda8f22755b35e84e5a6d76c50f0f9e743f91b3ca30b64a02a8"


def _sign(body: bytes, secret: str = SECRET) -> str:
    return hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def test_accepts_a_known_signature() -> None:
    """The signature of a fixed body under a fixed secret, as OpenSSL computes it."""
    assert verify(BODY, [SIGNATURE], [SECRET])


def test_refuses_another_body() -> None:
    """One changed byte and the signature is refused."""
    assert not verify(BODY.replace(b"12", b"13"), [_sign(BODY)], [SECRET])


def test_refuses_another_secret() -> None:
    """A signature under a secret that is not ours is refused."""
    assert not verify(BODY, [_sign(BODY, "another")], [SECRET])


@pytest.mark.parametrize("place", [0, 1, 2])
def test_accepts_every_configured_secret(place: int) -> None:
    """During a rotation each of the secrets is good, wherever it stands."""
    secrets = ["one", "two", "three"]
    assert verify(BODY, [_sign(BODY, secrets[place])], secrets)


def test_a_secret_is_utf_8() -> None:
    """A secret beyond ASCII is taken as its UTF-8 bytes."""
    assert verify(BODY, [_sign(BODY, "schlüssel")], ["schlüssel"])


def test_refuses_everything_without_secrets() -> None:
    """No secret accepts nothing; running unsigned is decided elsewhere."""
    assert not verify(BODY, [_sign(BODY)], [])


@pytest.mark.parametrize(
    "values",
    [
        pytest.param([], id="missing"),
        pytest.param([""], id="empty"),
        pytest.param([_sign(BODY)] * 2, id="doubled"),
        pytest.param([_sign(BODY), "0" * 64], id="two different ones"),
        pytest.param([f"{_sign(BODY)},{_sign(BODY)}"], id="joined by a comma"),
        pytest.param([_sign(BODY)[:-1]], id="too short"),
        pytest.param([_sign(BODY) + "0"], id="too long"),
        pytest.param([_sign(BODY) + "\n"], id="line feed behind it"),
        pytest.param([f" {_sign(BODY)}"], id="space before it"),
        pytest.param([_sign(BODY).upper()], id="upper case"),
        pytest.param([f"sha256={_sign(BODY)}"], id="prefixed"),
        pytest.param(["é" * 64], id="not ASCII"),
        pytest.param(["\udcff" * 64], id="not even text"),
        pytest.param(["٣" * 64], id="digits of another script"),
    ],
)
def test_refuses_a_header_that_is_not_one_signature(values: list[str]) -> None:
    """Exactly one header of 64 lower-case hexadecimal digits, or nothing."""
    assert not verify(BODY, values, [SECRET])


def test_accepts_a_body_with_white_space_that_was_not_signed() -> None:
    """The same JSON indented carries the signature of the compact form."""
    value = {"a": [1, 2.50, {"b c": "d  e\t"}], "f": '\\" x'}
    compact = json.dumps(value, separators=(",", ":")).encode()
    indented = json.dumps(value, indent=4).replace("\n", "\r\n").encode()
    assert verify(indented, [_sign(compact)], [SECRET])


def test_refuses_white_space_changed_inside_a_string() -> None:
    """White space in a string is content: adding some breaks the signature."""
    assert not verify(BODY.replace(b"a b", b"a  b"), [_sign(BODY)], [SECRET])


def test_an_empty_body_can_be_signed() -> None:
    """Nothing at all is a body too, with a signature of its own."""
    assert verify(b"", [_sign(b"")], [SECRET])
    assert not verify(b"", [_sign(BODY)], [SECRET])


@pytest.mark.parametrize(
    ("body", "compact"),
    [
        pytest.param(b"", b"", id="nothing"),
        pytest.param(b" \t\r\n", b"", id="only white space"),
        pytest.param(b'{ "a" : 1 }', b'{"a":1}', id="around tokens"),
        pytest.param(b'{"a": "b c"}', b'{"a":"b c"}', id="in a string"),
        pytest.param(b'["a\\" b", 1]', b'["a\\" b",1]', id="behind an escaped quote"),
        pytest.param(b'["a\\\\", " b"]', b'["a\\\\"," b"]', id="behind an escaped backslash"),
        pytest.param(b'["a\\\\\\" ", 1]', b'["a\\\\\\" ",1]', id="behind three backslashes"),
        pytest.param(b'[" a b', b'[" a b', id="a string that never ends"),
        pytest.param(b'[ "a \\', b'["a \\', id="a backslash at the end"),
        pytest.param(b'\\ \\" x', b'\\\\" x', id="backslashes outside strings"),
        pytest.param(b"a\x0bb\x0c\xc2\xa0\x00 c", b"a\x0bb\x0c\xc2\xa0\x00c", id="other white space stays"),
        pytest.param(b'"\n \xff" \xff', b'"\n \xff"\xff', id="bytes that are not text"),
        pytest.param(b"[1.0e+2 , 1E2]", b"[1.0e+2,1E2]", id="numbers keep their form"),
    ],
)
def test_removes_only_what_is_insignificant(body: bytes, compact: bytes) -> None:
    """Space, tab, CR and LF outside strings go, every other byte stays."""
    assert without_insignificant_space(body) == compact


@pytest.mark.parametrize("unit", [b'"\\', b'"', b'\\"', b'" ', b" a", b'"a" '])
def test_hostile_bodies_take_linear_time(unit: bytes) -> None:
    """A megabyte of the worst bytes is done in a fraction of the sender's patience."""
    body = unit * (1_048_576 // len(unit))
    before = time.perf_counter()
    without_insignificant_space(body)
    assert time.perf_counter() - before < 2
