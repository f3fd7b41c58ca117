"""How far a log has been forwarded: a file of a few bytes beside it, written after every message.

One pwrite(2): a daemon that is killed leaves the old or the new position. It is not synced: after a
crash of the host lines may be sent again, but none is left out.
"""

from __future__ import annotations

import os
import struct
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

from heft.failures import translated

if TYPE_CHECKING:
    from pathlib import Path

_LAYOUT = struct.Struct("<QQI")
_HEAD = 32
"""Bytes of a log that tell it from others: every line begins with its time in nanoseconds."""


@dataclass(frozen=True, slots=True)
class Position:
    """A place in one of a log's files; numbers of files are given again, so their heads count."""

    inode: int = 0
    offset: int = 0
    head: int = 0

    def is_in(self, file: BinaryIO) -> bool:
        """Say whether it is a place in this file."""
        status = os.fstat(file.fileno())
        return (
            self.inode == status.st_ino
            and self.offset <= status.st_size
            and (not self.offset or self.head == head(file))
        )


def head(file: BinaryIO) -> int:
    """Give the sum by which a file is known again (as soon as it has a line)."""
    return zlib.crc32(os.pread(file.fileno(), _HEAD, 0))


class PositionFile:
    """The file; close it."""

    def __init__(self, path: Path) -> None:
        with translated(f"open {path}"):
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def read(self) -> Position | None:
        """Give what was kept; None if nothing was."""
        content = os.pread(self._descriptor, _LAYOUT.size, 0)
        return Position(*_LAYOUT.unpack(content)) if len(content) == _LAYOUT.size else None

    def write(self, position: Position) -> None:
        """Keep a position."""
        content = _LAYOUT.pack(position.inode, position.offset, position.head)
        with translated("keep how far a log was forwarded"):
            os.pwrite(self._descriptor, content, 0)

    def close(self) -> None:
        """Let go."""
        os.close(self._descriptor)
