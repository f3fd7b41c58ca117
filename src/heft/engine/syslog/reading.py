"""A log read from where it was left, message by message, from file to file."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

from heft.engine import logs
from heft.engine.syslog.position import Position, head
from heft.model.request import LogLine

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from heft.model.machine import Stream

MOST = 16 << 10
"""Bytes of a message; a longer line is several (moby, daemon/logger/copier.go)."""


@dataclass(slots=True)
class _Part:
    """A line whose end has not come yet."""

    time: int
    text: bytearray
    begins: Position


class Reader:
    """Gives what is after a position (None: all); close it. Nothing here waits but for the disk."""

    def __init__(self, path: Path, start: Position | None) -> None:
        self._path = path
        self._rest = b""
        self._parts: dict[Stream, _Part] = {}
        self._file: BinaryIO | None = None
        self._at = 0
        self._identity: tuple[int, int] | None = None
        self._open(start)

    def _open(self, start: Position | None) -> None:
        """Find the file that the position is in; where it is gone, begin with the oldest."""
        for path in (*logs.rotated(self._path), self._path) if start is not None else ():
            if not path.exists():
                continue
            file = path.open("rb")
            if start is not None and start.is_in(file):
                self._use(file, start.offset)
                return
            file.close()

    def _use(self, file: BinaryIO, offset: int = 0) -> None:
        self.close()
        file.seek(offset)
        self._file, self._at, self._rest, self._identity = file, offset, b"", None

    def messages(self) -> list[tuple[LogLine, Position]] | None:
        """Give the next messages, each with the position after it; None: no more by now."""
        if self._file is None and not self._go_on():
            return None
        assert self._file is not None
        # Asked before reading: what was written before the log was rotated is read after it.
        over = logs.is_over(self._path, self._file)
        if block := self._file.read(logs.BLOCK):
            *lines, self._rest = (self._rest + block).split(b"\n")
            return list(self._complete(lines))
        return [] if over and self._go_on() else None

    def rest(self) -> list[tuple[LogLine, Position]]:
        """Give the lines whose end will not come any more."""
        parts, self._parts = self._parts, {}
        end = self._position()
        return [
            (LogLine(part.time, stream, bytes(part.text)), end) for stream, part in parts.items()
        ]

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _go_on(self) -> bool:
        """Open the next file; False if there is none."""
        try:
            self._use(logs.next_file(self._path, self._file))
        except FileNotFoundError:
            return False  # there is no log yet, or it is just being rotated
        return True

    def _complete(self, lines: list[bytes]) -> Iterator[tuple[LogLine, Position]]:
        for raw in lines:
            begins = self._position()
            self._at += len(raw) + 1
            line = logs.parse(raw)
            if line is None:
                continue
            part = self._parts.setdefault(line.stream, _Part(line.time, bytearray(), begins))
            part.text += line.data
            if line.data.endswith(b"\n") or len(part.text) >= MOST:
                del self._parts[line.stream]
                yield LogLine(part.time, line.stream, bytes(part.text)), self._after()

    def _after(self) -> Position:
        """Give the place from which nothing is missed: where the oldest unfinished line begins."""
        waiting = [part.begins for part in self._parts.values()]
        return waiting[0] if waiting else self._position()

    def _position(self) -> Position:
        if self._file is None:
            return Position()
        if self._identity is None:  # it has a line by now
            self._identity = os.fstat(self._file.fileno()).st_ino, head(self._file)
        inode, sum_of_head = self._identity
        return Position(inode, self._at, sum_of_head)
