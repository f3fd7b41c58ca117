"""The log of a machine, in which every byte of output is once, whenever the daemon is killed.

Beside it, in the run's directory, stands how far it goes: the log's inode and size, and how much of
each stream is in it. That is written after the log; what is in the log beyond it was not finished,
and the next daemon cuts it off and asks the guest for it again. The guest forgets nothing before.
"""

from __future__ import annotations

import contextlib
import logging
import os
import struct
import zlib
from typing import TYPE_CHECKING, NamedTuple

from heft.failures import NO_WRITES, translated

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

log = logging.getLogger(__name__)

_MARK = struct.Struct("<QQQQQQ")
_SUM = struct.Struct("<I")
_APPEND = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
_LOG_MODE = 0o640


class Mark(NamedTuple):
    """How far the log goes."""

    inode: int = 0
    size: int = 0
    """Bytes of the file."""
    stdout: int = 0
    stderr: int = 0
    """Bytes of the streams."""
    fed: int = 0
    """1: somebody was attached whose going ends standard input."""
    released: int = 0
    """1: the workload was let go, or was just about to be."""


class Recorder:
    """The log at `path` (None: none is kept), and `marks`, the file of how far it goes.

    All calls are quick, but wait for the disk where its cache is full.
    """

    def __init__(self, path: Path | None, marks: Path) -> None:
        self._path = path
        self._marks_path = marks
        self._marks = -1
        self._log = -1
        self._complained = False
        self.mark = Mark()

    def begin(self) -> None:
        """Begin a run: what earlier runs have logged stays. Raises `HostError`."""
        self._open(Mark())

    def resume(self) -> Mark:
        """Go on where an earlier daemon was; give how far that is. Raises `HostError`."""
        mark = self._read()
        if self._path is not None and mark.inode:
            for file in (self._path, self._path.with_name(f"{self._path.name}.1")):
                _cut(file, mark)
        self._open(mark)
        return self.mark

    def append(self, lines: Iterable[bytes], stdout: int, stderr: int) -> None:
        """Add lines, after which so much of the streams is in the log.

        On a disk that is full they are left out, as Docker does: the workload goes on.
        """
        size = self.mark.size
        if self._log >= 0:
            for text in lines:
                size = self._add(text, size)
        self._write(self.mark._replace(size=size, stdout=stdout, stderr=stderr))

    def note_fed(self) -> None:
        """Note that somebody was attached whose going ends standard input."""
        if not self.mark.fed:
            self._write(self.mark._replace(fed=1))

    def note_released(self) -> None:
        """Note that the workload is about to be let go. Raises `HostError`."""
        self._write(self.mark._replace(released=1))

    def reopen(self) -> None:
        """Go on in a new file at the path, where the old one was renamed. Raises `HostError`."""
        if self._path is not None:
            self._open(self.mark)

    def close(self) -> None:
        """Let go of the files; harmless when repeated."""
        for descriptor in (self._log, self._marks):
            if descriptor >= 0:
                os.close(descriptor)
        self._log = self._marks = -1

    def _open(self, mark: Mark) -> None:
        self.close()
        with translated(f"write {self._marks_path}"):
            self._marks = os.open(self._marks_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if self._path is not None:
            with translated(f"write {self._path}"):
                self._log = os.open(self._path, _APPEND, _LOG_MODE)
                status = os.fstat(self._log)
            mark = mark._replace(inode=status.st_ino, size=status.st_size)
        self._write(mark)

    def _add(self, text: bytes, size: int) -> int:
        left = memoryview(text)
        try:
            while left:
                left = left[os.write(self._log, left) :]
        except OSError as error:
            if not self._complained:
                log.warning("%s: output is not logged: %s", self._path, error.strerror)
            self._complained = True
            if error.errno in NO_WRITES:
                with contextlib.suppress(OSError):
                    os.ftruncate(self._log, size)
            return size
        self._complained = False
        return size + len(text)

    def _read(self) -> Mark:
        """Give what was written last; zeros if nothing was."""
        with contextlib.suppress(OSError):
            content = self._marks_path.read_bytes()
            values, check = content[: _MARK.size], content[_MARK.size :]
            if check == _SUM.pack(zlib.crc32(values)):
                return Mark(*_MARK.unpack(values))
        return Mark()

    def _write(self, mark: Mark) -> None:
        # One small write within a page: a process that is killed has done it, or not begun it.
        values = _MARK.pack(*mark)
        with translated(f"write {self._marks_path}"):
            os.pwrite(self._marks, values + _SUM.pack(zlib.crc32(values)), 0)
        self.mark = mark


def _cut(file: Path, mark: Mark) -> None:
    """Remove what was written and not marked, if it is the file of the mark."""
    with translated(f"cut {file}"), contextlib.suppress(FileNotFoundError):
        status = file.stat()
        if status.st_ino == mark.inode and status.st_size > mark.size:
            os.truncate(file, mark.size)
