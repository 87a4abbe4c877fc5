"""Decompression within bounds, of memory above all."""

import gzip
import tracemalloc
import zlib
from collections.abc import Callable

import pytest

from ingest.reading import BodyTooLarge, BodyUnreadable, decompress

LIMIT = 65_536


def _raw_bomb(size: int) -> bytes:
    stream = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    opening = stream.compress(bytes(LIMIT)) + stream.flush(zlib.Z_FULL_FLUSH)
    return opening * (size // LIMIT) + stream.flush()


@pytest.mark.parametrize(
    ("coding", "bomb"),
    [
        pytest.param("deflate", _raw_bomb(1 << 30), id="a gigabyte of deflate"),
        pytest.param("gzip", gzip.compress(bytes(1 << 24)), id="16 MB of gzip"),
        pytest.param("gzip", gzip.compress(bytes(LIMIT // 2)) * 40, id="many members"),
    ],
)
def test_a_bomb_stops_at_the_limit(coding: str, bomb: bytes) -> None:
    """However much would come out, memory stays near the limit."""
    tracemalloc.start()
    try:
        with pytest.raises(BodyTooLarge):
            decompress(coding, bomb, limit=LIMIT)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 10 * LIMIT + 2 * len(bomb)


@pytest.mark.parametrize("size", [0, 1, LIMIT])
@pytest.mark.parametrize(("coding", "compress"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
def test_up_to_the_limit_all_comes_out(coding: str, compress: Callable[[bytes], bytes], size: int) -> None:
    """The limit itself is allowed, and so is nothing at all."""
    assert decompress(coding, compress(b"x" * size), limit=LIMIT) == b"x" * size


def test_a_message_names_no_content() -> None:
    """What the sender put into the header does not come back in the message."""
    with pytest.raises(BodyUnreadable) as caught:
        decompress("Anna", b"Anna", limit=LIMIT)
    assert "Anna" not in str(caught.value)
