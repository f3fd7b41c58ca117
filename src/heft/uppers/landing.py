"""A stream of entries becomes a tree of directories.

The stream may be anybody's. What it names is made in the working directory, step by step: names are
checked, nothing is opened that was not just made here, no link is followed, and there is never more
than was announced. Files of several names have one more in a directory beside the tree while it is
being made, so that these need not be found again.
"""

from __future__ import annotations

import contextlib
import os
import stat
from typing import TYPE_CHECKING

from heft.uppers.entries import Damaged, is_kept, is_name, shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from heft.uppers.entries import Entry

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_KINDS = frozenset(
    (
        *(stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK, stat.S_IFCHR),
        *(stat.S_IFBLK, stat.S_IFIFO, stat.S_IFSOCK),
    )
)


class Landing:
    """Makes a tree. `most` is how many bytes of data it may have, and how many names times 256."""

    def __init__(self, source: Callable[[], int], most: int) -> None:
        self._source = source
        """Gives the descriptor that the last entry's data are to be read of."""
        self._most = most
        self._names = 0
        self._bytes = 0
        self._known: set[int] = set()
        self._shared = -1

    def land(self, tree: str, shared: str, entries: Iterator[Entry | None]) -> None:
        """Make the directory `tree` what the entries say; it is there, and empty.

        Changes the working directory. Raises `Damaged`, `OSError`.
        """
        os.mkdir(shared, 0o700)
        self._shared = os.open(shared, _DIRECTORY)
        os.chdir(tree)
        try:
            self._all(entries)
        finally:
            os.chdir("/")
            for name in os.listdir(self._shared):
                os.unlink(name, dir_fd=self._shared)
            os.close(self._shared)
            os.rmdir(shared)

    def _all(self, entries: Iterator[Entry | None]) -> None:
        root = next(entries, None)
        if root is None or not stat.S_ISDIR(root.mode):
            raise Damaged("it does not begin with a directory")
        above = [root]
        for entry in entries:
            if entry is None:
                _settle_directory(above.pop())
                if not above:
                    break
                os.chdir("..")
                continue
            self._check(entry)
            with _named(entry):
                if self._one(entry):
                    above.append(entry)
        if above or next(entries, None) is not None:
            raise Damaged("its directories do not end where they should")

    def _check(self, entry: Entry) -> None:
        if not is_name(entry.name):
            raise Damaged(f"it has a file that is called {entry.name!r}")
        if stat.S_IFMT(entry.mode) not in _KINDS:
            raise Damaged(f"{shown(entry.name)} is of no kind")
        if any(piece.length < 0 for piece in entry.pieces):
            raise Damaged(f"{shown(entry.name)} has less than nothing in it")
        self._names += 1
        self._bytes += sum(piece.length for piece in entry.pieces)
        if self._names > self._most // 256 or self._bytes > self._most:
            raise Damaged("it has more in it than there is room for")

    def _one(self, entry: Entry) -> bool:
        """Make what an entry says; say whether what follows is in it."""
        if stat.S_ISDIR(entry.mode):
            os.mkdir(entry.name, 0o700)
            os.chdir(entry.name)
            return True
        if entry.identity in self._known:
            name = str(entry.identity)
            os.link(name, entry.name, src_dir_fd=self._shared, follow_symlinks=False)
            return False
        if stat.S_ISREG(entry.mode):
            self._file(entry)
        else:
            _special(entry)
        if entry.identity:
            self._known.add(entry.identity)
            name = str(entry.identity)
            os.link(entry.name, name, dst_dir_fd=self._shared, follow_symlinks=False)
        return False

    def _file(self, entry: Entry) -> None:
        file = os.open(entry.name, _NEW, 0o600)
        try:
            source = self._source()
            for piece in entry.pieces:
                _copy(source, piece.at, file, piece.to, piece.length)
            os.ftruncate(file, entry.size)
            os.fchown(file, entry.uid, entry.gid)
            os.fchmod(file, stat.S_IMODE(entry.mode))
            _mark(file, entry)
            os.utime(file, ns=(entry.atime, entry.mtime))
        finally:
            os.close(file)


def _copy(source: int, at: int, file: int, to: int, length: int) -> None:
    os.lseek(file, to, os.SEEK_SET)
    while length > 0:
        done = os.sendfile(file, source, at, length)
        if not done:
            raise Damaged("data of a file lie beyond its end")
        at, length = at + done, length - done


def _special(entry: Entry) -> None:
    name = entry.name
    if stat.S_ISLNK(entry.mode):
        os.symlink(entry.target, name)
    else:
        os.mknod(name, stat.S_IFMT(entry.mode) | 0o600, entry.device)
    os.chown(name, entry.uid, entry.gid, follow_symlinks=False)
    if not stat.S_ISLNK(entry.mode):
        os.chmod(name, stat.S_IMODE(entry.mode))  # it is no link: it was just made
    _mark(name, entry)
    os.utime(name, ns=(entry.atime, entry.mtime), follow_symlinks=False)


def _settle_directory(entry: Entry) -> None:
    """Give the working directory what an entry says of it, when all that is in it is there."""
    with _named(entry):
        os.chown(".", entry.uid, entry.gid)
        os.chmod(".", stat.S_IMODE(entry.mode))
        _mark(b".", entry)
        os.utime(".", ns=(entry.atime, entry.mtime))


def _mark(what: bytes | int, entry: Entry) -> None:
    for name, value in entry.attributes:
        if is_kept(name, value):
            if isinstance(what, int):
                os.setxattr(what, name, value)
            else:
                os.setxattr(what, name, value, follow_symlinks=False)


@contextlib.contextmanager
def _named(entry: Entry) -> Iterator[None]:
    """Let an error say what it was about."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror, shown(entry.name)) from error
