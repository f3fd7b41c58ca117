"""A tar that comes through a pipe.

One that is compressed is taken by a thread (`heft.images.intake`). One that is not needs none: it
is read here in blocks, for the sake of headers and small files, and what is left of a large file
through one piece of memory, large enough for the file system to use large pages (splice(2) would
go to it by single ones, which takes longer).
"""

from __future__ import annotations

import os

from heft.images.compression import LONGEST_MAGIC, Compression, detect
from heft.images.forward import Forward, Truncated, write_all

BLOCK = 1 << 17
ROOM = 1 << 18
"""Bytes of a large file that are read at a time."""
LARGE = 1 << 17
"""Bytes of a file, beyond those that were read already, that are worth that."""


def incoming(source: int) -> Forward:
    """Read a tar from a descriptor, decompressed if need be."""
    beginning = b""
    while len(beginning) < LONGEST_MAGIC and (more := os.read(source, BLOCK)):
        beginning += more
    if detect(beginning) is Compression.NONE:
        return Plain(source, beginning)
    from heft.images.intake import Intake  # with all that undoes compression

    return Intake(source, None, digest=False, beginning=beginning)


class Plain(Forward):
    """A stream as it is, of which `beginning` was read already."""

    def __init__(self, source: int, beginning: bytes = b"") -> None:
        super().__init__()
        self._source = source
        self._block = memoryview(beginning)
        self._room = memoryview(b"")

    def _next(self) -> bytes:
        return os.read(self._source, BLOCK)

    def pour(self, size: int, descriptor: int) -> None:
        """Write the next `size` bytes to a file. Raises `Truncated`, `OSError`."""
        at_hand = min(size, len(self._block) - self._at)
        super().pour(at_hand, descriptor)
        left = size - at_hand
        while left >= LARGE:
            left -= self._pass_on(left, descriptor)
        super().pour(left, descriptor)

    def _pass_on(self, most: int, descriptor: int) -> int:
        """Write what comes next to a file, at most so much; give how much that was."""
        if not self._room:
            self._room = memoryview(bytearray(ROOM))
        count = os.readv(self._source, [self._room[:most]])
        if not count:
            raise Truncated("unexpected end of the tar")
        self._position += count
        write_all(descriptor, self._room[:count])
        return count
