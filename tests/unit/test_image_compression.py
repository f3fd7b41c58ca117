"""Compressed streams: told by their beginning, undone in bounded pieces, damage noticed."""

import bz2
import contextlib
import gzip
import lzma
from collections.abc import Callable, Iterator

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from heft.images.compression import Broken, Compression, detect
from heft.images.decompression import PIECE, decompress

COMPRESS: dict[Compression, Callable[[bytes], bytes]] = {
    Compression.GZIP: gzip.compress,
    Compression.BZIP2: bz2.compress,
    Compression.XZ: lzma.compress,
    Compression.ZSTD: zstandard.ZstdCompressor().compress,
}
KINDS = list(COMPRESS)


def blocks(data: bytes, size: int) -> Iterator[bytes]:
    return (data[at : at + size] for at in range(0, len(data), size))


def undo(kind: Compression, data: bytes, size: int = 1 << 16) -> bytes:
    return b"".join(decompress(kind, blocks(data, size)))


@pytest.mark.parametrize("kind", KINDS)
def test_detected(kind: Compression) -> None:
    assert detect(COMPRESS[kind](b"x")) is kind
    assert detect(b"") is detect(b"plain") is Compression.NONE


@given(st.sampled_from(KINDS), st.binary(max_size=5000), st.integers(1, 300))
def test_round_trip(kind: Compression, data: bytes, size: int) -> None:
    assert undo(kind, COMPRESS[kind](data), size) == data


@pytest.mark.parametrize("kind", KINDS)
def test_members_in_a_row_are_one_stream(kind: Compression) -> None:
    compress = COMPRESS[kind]
    both = compress(b"one") + compress(b"") + compress(b"two")
    for size in (1, 7, 1000):
        assert undo(kind, both, size) == b"onetwo"


def test_padding_after_a_member() -> None:
    assert undo(Compression.GZIP, gzip.compress(b"x") + bytes(1000), 10) == b"x"
    assert undo(Compression.XZ, lzma.compress(b"x") + bytes(8), 3) == b"x"


@pytest.mark.parametrize("kind", KINDS)
def test_ends_too_early(kind: Compression) -> None:
    whole = COMPRESS[kind](bytes(range(256)) * 100)
    with pytest.raises(Broken):
        undo(kind, whole[:-5])


@pytest.mark.parametrize("kind", [Compression.GZIP, Compression.BZIP2, Compression.XZ])
def test_damaged(kind: Compression) -> None:
    whole = bytearray(COMPRESS[kind](bytes(range(256)) * 100))
    whole[len(whole) // 2] ^= 0xFF
    with pytest.raises(Broken):
        undo(kind, bytes(whole))


@pytest.mark.parametrize("kind", KINDS)
def test_rubbish_after_the_end(kind: Compression) -> None:
    with pytest.raises(Broken):
        undo(kind, COMPRESS[kind](b"x") + b"rubbish that is no member at all")


@pytest.mark.parametrize("kind", KINDS)
def test_a_bomb_comes_out_in_pieces(kind: Compression) -> None:
    bomb = COMPRESS[kind](bytes(64 << 20))
    largest = total = 0
    for piece in decompress(kind, blocks(bomb, 1 << 20)):
        largest = max(largest, len(piece))
        total += len(piece)
    assert total == 64 << 20
    bound = 256 << 20 if kind is Compression.ZSTD else PIECE
    assert largest <= bound


@given(st.sampled_from(KINDS), st.binary(max_size=200))
def test_anything_else_is_broken_or_nothing(kind: Compression, data: bytes) -> None:
    with contextlib.suppress(Broken):
        undo(kind, data)
