"""Compressed streams undone, piece by piece.

Whatever is in the input, no piece of output is larger than a bound, so that a bomb costs time and
disk, which are watched, and not memory. Members that follow each other (gzip, bzip2, xz and zstd
all allow it) are one stream. gzip is undone by ISA-L, in half of the time that zlib takes.
"""

from __future__ import annotations

import bz2
import lzma
from typing import TYPE_CHECKING, Protocol

import zstandard
from isal import isal_zlib

from heft.images.compression import Broken, Compression

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

PIECE = 1 << 20
"""The most bytes of one piece of output (zstd: a multiple of it)."""
_ZSTD_INPUT = 8192
"""Bytes given to zstd at a time, which has no bound of its own: 2000 blocks of 128 KiB at most."""
LARGEST_WINDOW = 1 << 27
"""Bytes that a stream of zstd's may refer back by, which whoever undoes it keeps."""
_XZ_MEMORY = 1 << 28
_DAMAGED: tuple[type[Exception], ...] = (
    isal_zlib.error,  # type: ignore[assignment]  # its stub has it as an instance
    lzma.LZMAError,
    zstandard.ZstdError,
    OSError,
    EOFError,
)


def decompress(kind: Compression, blocks: Iterable[bytes]) -> Iterator[bytes]:
    """Give the decompressed stream in pieces. Raises `Broken`."""
    if kind is Compression.NONE:
        yield from blocks
        return
    undone = Decompressor(kind)
    for block in blocks:
        yield from undone.feed(block)
    undone.end()


class Decompressor:
    """Undoes a stream of a format (not `NONE`), block by block."""

    def __init__(self, kind: Compression) -> None:
        self._kind = kind
        self._decoder = _DECODERS[kind]()
        self._begun = False

    def feed(self, block: bytes) -> Iterator[bytes]:
        """Give what comes of a block, in pieces that are all to be taken. Raises `Broken`."""
        try:
            for part in _parts(self._kind, block):
                yield from self._decode(part)
        except _DAMAGED as error:
            raise Broken(f"damaged {self._kind} data: {error}") from error

    def _decode(self, rest: bytes) -> Iterator[bytes]:
        while rest:
            if not self._begun and not (rest := rest.lstrip(b"\0")):
                return  # padding between or after members
            self._begun = True
            yield from self._decoder.decode(rest)
            rest = self._decoder.unused
            if self._decoder.ended:
                self._decoder, self._begun = _DECODERS[self._kind](), False

    def end(self) -> None:
        """Take it that no more comes. Raises `Broken` where more should."""
        if self._begun:
            raise Broken(f"unexpected end of {self._kind} data")


def _parts(kind: Compression, block: bytes) -> Iterable[bytes]:
    if kind is not Compression.ZSTD:
        return (block,)
    return (block[at : at + _ZSTD_INPUT] for at in range(0, len(block), _ZSTD_INPUT))


class _Decoder(Protocol):
    """Decodes one member; `unused` is input behind its end, which `ended` says was reached."""

    ended: bool
    unused: bytes

    def decode(self, data: bytes) -> Iterator[bytes]: ...


class _Gzip:
    def __init__(self) -> None:
        self._decoder = isal_zlib.decompressobj(wbits=31)
        self.ended = False
        self.unused = b""

    def decode(self, data: bytes) -> Iterator[bytes]:
        while data and not self._decoder.eof:
            if piece := self._decoder.decompress(data, PIECE):
                yield piece
            data = self._decoder.unconsumed_tail
        # What the last call had no room for: all input is taken, so this has the same bound.
        while not self._decoder.eof and (piece := self._decoder.decompress(b"", PIECE)):
            yield piece
        self.ended, self.unused = self._decoder.eof, self._decoder.unused_data


class _Incremental:
    """bz2 and lzma have the same interface."""

    def __init__(self, decoder: bz2.BZ2Decompressor | lzma.LZMADecompressor) -> None:
        self._decoder = decoder
        self.ended = False
        self.unused = b""

    def decode(self, data: bytes) -> Iterator[bytes]:
        while True:
            if piece := self._decoder.decompress(data, PIECE):
                yield piece
            data = b""
            if self._decoder.eof or self._decoder.needs_input:
                break
        self.ended = self._decoder.eof
        self.unused = self._decoder.unused_data if self.ended else b""


class _Zstd:
    def __init__(self) -> None:
        self._decoder = zstandard.ZstdDecompressor(max_window_size=LARGEST_WINDOW).decompressobj()
        self.ended = False
        self.unused = b""

    def decode(self, data: bytes) -> Iterator[bytes]:
        if piece := self._decoder.decompress(data):
            yield piece
        self.ended = self._decoder.eof
        self.unused = self._decoder.unused_data if self.ended else b""


_DECODERS: dict[Compression, Callable[[], _Decoder]] = {
    Compression.GZIP: _Gzip,
    Compression.BZIP2: lambda: _Incremental(bz2.BZ2Decompressor()),
    Compression.XZ: lambda: _Incremental(
        lzma.LZMADecompressor(format=lzma.FORMAT_XZ, memlimit=_XZ_MEMORY)
    ),
    Compression.ZSTD: _Zstd,
}
