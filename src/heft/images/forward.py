"""A stream that is read forwards, block by block: what a tar's parser wants of it, and its data."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from heft.images.compression import Broken

if TYPE_CHECKING:
    from collections.abc import Iterator

LONGEST_HEADER = 1 << 20
"""Bytes of one header record (a long name, extended attributes), as Go's archive/tar has it."""
LONGEST_END = 64 << 20
"""Bytes of padding behind a tar's last entry: more of it is no padding, but a bomb."""


class Truncated(ValueError):
    """The stream ends where there should be more."""


class Forward:
    """The methods `read`, `tell` and `seek` are those that the standard library's parser needs."""

    def __init__(self) -> None:
        self._block = memoryview(b"")
        self._at = 0
        self._position = 0

    def _next(self) -> bytes:
        """Give the next block; empty at the end."""
        raise NotImplementedError

    def _next_block(self) -> bool:
        """Take the next block; False at the end."""
        self._block, self._at = memoryview(self._next()), 0
        return bool(self._block)

    def tell(self) -> int:
        """Give the bytes read so far."""
        return self._position

    def ahead(self, size: int) -> bytes:
        """Give the next bytes without reading them, or fewer, if they are not at hand."""
        return bytes(self._block[self._at : self._at + size])

    def read(self, size: int) -> bytes:
        """Read a part of a header: so many bytes, or fewer at the end of the stream."""
        if size > LONGEST_HEADER or size < 0:
            raise Truncated(f"a header of {size} bytes")
        end = self._at + size
        if end <= len(self._block):
            data = bytes(self._block[self._at : end])
            self._at = end
            self._position += size
            return data
        return b"".join(self.pieces(size, short=True))

    def seek(self, position: int) -> None:
        """Skip to a position ahead. Raises `Truncated` if the stream does not go so far."""
        if position < self._position:
            raise Truncated("a header points backwards")
        for _ in self.pieces(position - self._position):
            pass

    def pieces(self, size: int, *, short: bool = False) -> Iterator[memoryview]:
        """Give the next `size` bytes; `Truncated` if the stream ends before, unless `short`."""
        while size:
            if self._at >= len(self._block) and not self._next_block():
                if short:
                    return
                raise Truncated("unexpected end of the tar")
            piece = self._block[self._at : self._at + size]
            self._at += len(piece)
            self._position += len(piece)
            size -= len(piece)
            yield piece

    def pour(self, size: int, descriptor: int) -> None:
        """Write the next `size` bytes to a file. Raises `Truncated`, `OSError`."""
        for piece in self.pieces(size):
            write_all(descriptor, piece)

    def read_end(self) -> None:
        """Read what is behind a tar's end. Raises `Broken` if that has no end."""
        behind = 0
        while self._next_block():
            behind += len(self._block)
            if behind > LONGEST_END:
                raise Broken(f"more than {LONGEST_END >> 20} MiB behind the end of the tar")


def write_all(descriptor: int, data: bytes | memoryview) -> None:
    """Write all of it, however many calls that takes."""
    written = os.write(descriptor, data)
    while written < len(data):
        data = memoryview(data)[written:]
        written = os.write(descriptor, data)
