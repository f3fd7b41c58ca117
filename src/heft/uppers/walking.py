"""An upper that is a tree of directories, as a stream of entries.

Nobody else changes it meanwhile: it is of a machine that does not run. It may be as deep as it
likes, since but one directory is open at a time.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from typing import TYPE_CHECKING

from heft.uppers.entries import Entry, Piece, is_kept

if TYPE_CHECKING:
    from collections.abc import Iterator

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NOATIME | os.O_CLOEXEC


class Walk:
    """What is under a directory; `source` is a descriptor of the last entry's data."""

    def __init__(self, root: str) -> None:
        self._at = os.open(root, _DIRECTORY)
        self.source = -1

    def entries(self) -> Iterator[Entry | None]:
        """Give all, the directory itself first. Raises `OSError`."""
        yield self._entry(b".", os.fstat(self._at))
        below = [iter(os.listdir(os.fsencode(f"/proc/self/fd/{self._at}")))]
        while below:
            name = next(below[-1], None)
            if name is None:
                below.pop()
                yield None
                if below:
                    self._enter(b"..")
                continue
            yield from self._one(name)
            status = os.stat(name, dir_fd=self._at, follow_symlinks=False)
            if stat.S_ISDIR(status.st_mode):
                self._enter(name)
                below.append(iter(os.listdir(os.fsencode(f"/proc/self/fd/{self._at}"))))

    def _one(self, name: bytes) -> Iterator[Entry]:
        status = os.stat(name, dir_fd=self._at, follow_symlinks=False)
        if not stat.S_ISREG(status.st_mode):
            yield self._entry(name, status)
            return
        self.source = os.open(name, _FILE, dir_fd=self._at)
        try:
            yield self._entry(name, status)
        finally:
            os.close(self.source)
            self.source = -1

    def _enter(self, name: bytes) -> None:
        deeper = os.open(name, _DIRECTORY, dir_fd=self._at)
        os.close(self._at)
        self._at = deeper

    def _entry(self, name: bytes, status: os.stat_result) -> Entry:
        mode = status.st_mode
        several = status.st_nlink > 1 and not stat.S_ISDIR(mode)
        is_file, is_link = stat.S_ISREG(mode), stat.S_ISLNK(mode)
        is_device = stat.S_ISCHR(mode) or stat.S_ISBLK(mode)
        return Entry(
            name=name,
            mode=mode,
            uid=status.st_uid,
            gid=status.st_gid,
            atime=status.st_atime_ns,
            mtime=status.st_mtime_ns,
            identity=status.st_ino if several else 0,
            device=status.st_rdev if is_device else 0,
            size=status.st_size if is_file else 0,
            target=os.readlink(name, dir_fd=self._at) if is_link else b"",
            attributes=tuple(_attributes(os.fsencode(f"/proc/self/fd/{self._at}/") + name)),
            pieces=tuple(_pieces(self.source, status.st_size)) if is_file else (),
        )


def _attributes(path: bytes) -> Iterator[tuple[str, bytes]]:
    try:
        names = os.listxattr(path, follow_symlinks=False)
    except OSError as error:
        if error.errno == errno.ENOTSUP:
            return
        raise
    for name in names:
        with contextlib.suppress(OSError):  # listed, and not to be had: of a security module's
            value = os.getxattr(path, name, follow_symlinks=False)
            if is_kept(name, value):
                yield name, value


def _pieces(source: int, size: int) -> Iterator[Piece]:
    at = 0
    while at < size:
        try:
            at = os.lseek(source, at, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:  # only a hole is left
                return
            raise
        end = os.lseek(source, at, os.SEEK_HOLE)
        yield Piece(at, at, end - at)
        at = end
