"""Files with holes, read and written from beginning to end: zeros take neither time nor room.

Only the standard library is used: the command has this too.
"""

from __future__ import annotations

import errno
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

BLOCK = 1 << 16
"""Bytes that are looked at together, at multiples of it: of a file system's blocks, several."""
_ZEROS = bytes(BLOCK)
_READ = 1 << 18


def content(descriptor: int) -> Iterator[bytes]:
    """Give all of a file, without reading its holes (lseek(2)); of a pipe, what comes."""
    try:
        size = os.lseek(descriptor, 0, os.SEEK_END)
    except OSError:
        size = 0
    at = 0
    while at < size:
        try:
            data = os.lseek(descriptor, at, os.SEEK_DATA)
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
            data = size  # only a hole is left
        while at < data:
            yield _ZEROS[: data - at]
            at += min(BLOCK, data - at)
        end = os.lseek(descriptor, at, os.SEEK_HOLE) if at < size else size
        os.lseek(descriptor, at, os.SEEK_SET)
        while at < end and (block := os.read(descriptor, min(_READ, end - at))):
            yield block
            at += len(block)
        if at < end:
            return  # it was cut meanwhile
    while block := os.read(descriptor, _READ):
        yield block


class Sparse:
    """Writes to an empty file, given by its descriptor."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.size = 0

    def write(self, data: bytes) -> None:
        """Write what comes next. Raises `OSError`."""
        at = 0
        while at < len(data):
            piece = data[at : at + BLOCK - self.size % BLOCK]
            if piece != (_ZEROS if len(piece) == BLOCK else _ZEROS[: len(piece)]):
                _write(self._descriptor, memoryview(piece), self.size)
            self.size += len(piece)
            at += len(piece)

    def finish(self) -> None:
        """Let the file be as long as what was written, whatever it ends with. Raises `OSError`."""
        os.ftruncate(self._descriptor, self.size)


def _write(descriptor: int, piece: memoryview, at: int) -> None:
    while piece:
        written = os.pwrite(descriptor, piece, at)
        piece, at = piece[written:], at + written
