"""A tar that comes through a pipe: what belongs to large files goes on within the kernel.

One that is compressed is taken by a thread (`heft.images.intake`). One that is not needs none: it
is read here in blocks, for the sake of headers and small files, and what is left of a large file is
passed from the pipe to the file (splice(2)).
"""

from __future__ import annotations

import errno
import os

from heft.images.compression import LONGEST_MAGIC, Compression, detect
from heft.images.forward import Forward, Truncated

BLOCK = 1 << 17
LARGE = 1 << 17
"""Bytes of a file, beyond those that were read already, that are worth a call of their own."""


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
        self._splices = True

    def _next(self) -> bytes:
        return os.read(self._source, BLOCK)

    def pour(self, size: int, descriptor: int) -> None:
        """Write the next `size` bytes to a file. Raises `Truncated`, `OSError`."""
        at_hand = min(size, len(self._block) - self._at)
        super().pour(at_hand, descriptor)
        left = size - at_hand
        while left >= LARGE and self._splices:
            try:
                passed = os.splice(self._source, descriptor, left)
            except OSError as error:
                if error.errno != errno.EINVAL:
                    raise
                self._splices = False  # no pipe, or a file system that does not take it
                break
            if not passed:
                raise Truncated("unexpected end of the tar")
            self._position += passed
            left -= passed
        super().pour(left, descriptor)
