"""A tree of files as a tar, written to a descriptor as it is read.

Everything is reached through the descriptor of its directory, and no link is ever followed: the
tree may be that of a running machine, which changes while it is read. A file that shrinks
meanwhile is filled up with zeros, one that is gone is left out. What a tar cannot hold (sockets) is
left out too, as Docker does.
"""

from __future__ import annotations

import errno
import os
import stat

from heft.tars import headers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Skip = Callable[[str], bool]

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_FULL = 1 << 18
"""Bytes that are written together."""
_SMALL = 1 << 16
"""Files up to this size are read whole; a hole in one is not worth a map."""
_MOST_EXTENTS = 10_000
"""Of a file with more stretches of data, the rest is one."""
_GONE = (errno.ENOENT, errno.ELOOP, errno.ENOTDIR, errno.ENXIO)
"""What opening gives where a file was removed, or became something else, since it was listed."""
_ALLOWED = frozenset({"security.capability", "system.posix_acl_access", "system.posix_acl_default"})
"""Extended attributes that mean something elsewhere; so do all that begin with `user.`."""


class Packer:
    """Writes one tar to the descriptor `target`.

    `skip` is asked about the path of everything below what is packed, as it is in the tar.
    """

    def __init__(self, target: int, skip: Skip | None = None) -> None:
        self._target = target
        self._skip = skip
        self._waiting = bytearray()
        self._links: dict[tuple[int, int], bytes] = {}

    def add(self, directory: int, name: str, shown: str) -> None:
        """Pack what is in a directory under a name, with all below it; in the tar it is `shown`."""
        status = os.stat(name, dir_fd=directory, follow_symlinks=False)
        if not stat.S_ISDIR(status.st_mode):
            self.entry(directory, name, shown, status)
            return
        opened = os.open(name, _DIRECTORY, dir_fd=directory)
        self.tree(opened, shown)

    def tree(self, directory: int, shown: str) -> None:
        """Pack an open directory, with all below it; closes it.

        Where `shown` is empty, it has no entry itself, and names begin with what is in it.
        """
        waiting = [self._enter(directory, shown)]
        try:
            while waiting:
                opened, path, names = waiting[-1]
                name = next(names, None)
                if name is None:
                    os.close(opened)
                    waiting.pop()
                    continue
                below = path + name
                if self._skip is not None and self._skip(below):
                    continue
                if (inner := self._child(opened, name, below)) is not None:
                    waiting.append(self._enter(inner, below))
        finally:
            for opened, _, _ in waiting:
                os.close(opened)

    def _enter(self, directory: int, shown: str) -> tuple[int, str, Iterator[str]]:
        if shown:
            self.directory(directory, shown)
        prefix = shown if shown in ("", "/") else f"{shown}/"
        return directory, prefix, iter(sorted(os.listdir(directory)))

    def _child(self, directory: int, name: str, shown: str) -> int | None:
        """Pack one entry; of a directory, give its descriptor instead."""
        try:
            status = os.stat(name, dir_fd=directory, follow_symlinks=False)
            if stat.S_ISDIR(status.st_mode):
                return os.open(name, _DIRECTORY, dir_fd=directory)
            self.entry(directory, name, shown, status)
        except OSError as error:
            if error.errno not in _GONE:
                error.filename = shown
                raise
        return None

    # Entries

    def directory(self, opened: int, shown: str) -> None:
        """Write the entry of a directory alone."""
        name = shown if shown.endswith("/") else f"{shown}/"
        status = os.fstat(opened)
        self._head(name, status, headers.DIRECTORY, attributes=_attributes(opened))

    def entry(self, directory: int, name: str, shown: str, status: os.stat_result) -> None:
        """Write the entry of what is no directory. Raises `OSError`."""
        mode = status.st_mode
        if status.st_nlink > 1 and not stat.S_ISSOCK(mode):
            known = self._links.get((status.st_dev, status.st_ino))
            if known is not None:
                self._head(shown, status, headers.LINK, link=known)
                return
        if stat.S_ISREG(mode):
            self._file(directory, name, shown)
        elif stat.S_ISLNK(mode):
            target = os.fsencode(os.readlink(name, dir_fd=directory))
            self._head(shown, status, headers.SYMLINK, link=target)
        elif stat.S_ISFIFO(mode):
            self._head(shown, status, headers.FIFO)
        elif stat.S_ISCHR(mode) or stat.S_ISBLK(mode):
            kind = headers.CHARACTER if stat.S_ISCHR(mode) else headers.DEVICE
            device = os.major(status.st_rdev), os.minor(status.st_rdev)
            self._head(shown, status, kind, device=device)
        else:
            return
        if status.st_nlink > 1:
            self._links[status.st_dev, status.st_ino] = os.fsencode(shown)

    def empty(self, shown: str) -> None:
        """Write the entry of an empty file that stands for something else."""
        self._write(headers.encode(os.fsencode(shown)))

    def finish(self) -> None:
        """Write the end of the tar, and all that waits."""
        self._write(headers.END)
        self._flush()

    # Files

    def _file(self, directory: int, name: str, shown: str) -> None:
        descriptor = os.open(name, _FILE, dir_fd=directory)
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                return  # it became something else meanwhile
            attributes, size = _attributes(descriptor), status.st_size
            if size <= _SMALL:
                self._head(shown, status, headers.FILE, size=size, attributes=attributes)
                content = _read(descriptor, size)
                self._write(content + bytes(-size % headers.BLOCK))
            elif status.st_blocks * 512 < size and (extents := _extents(descriptor, size)):
                self._sparse(descriptor, shown, status, attributes, extents)
            else:
                self._head(shown, status, headers.FILE, size=size, attributes=attributes)
                self._copy(descriptor, 0, size)
                self._write(headers.padding(size))
        finally:
            os.close(descriptor)

    def _sparse(
        self,
        descriptor: int,
        shown: str,
        status: os.stat_result,
        attributes: dict[str, bytes],
        extents: list[tuple[int, int]],
    ) -> None:
        name, records, table = headers.sparse(os.fsencode(shown), status.st_size, extents)
        stored = len(table) + sum(length for _, length in extents)
        head = headers.encode(
            name,
            mode=stat.S_IMODE(status.st_mode),
            uid=status.st_uid,
            gid=status.st_gid,
            size=stored,
            mtime=status.st_mtime_ns // 10**9,
            attributes=attributes,
            records=records,
        )
        self._write(head + table)
        for offset, length in extents:
            self._copy(descriptor, offset, length)
        self._write(headers.padding(stored))

    def _copy(self, descriptor: int, offset: int, length: int) -> None:
        """Pass a stretch of a file on, within the kernel."""
        self._flush()
        while length:
            count = os.sendfile(self._target, descriptor, offset, min(length, 1 << 30))
            if not count:
                break
            offset += count
            length -= count
        while length:  # it has shrunk
            self._write(bytes(min(length, _FULL)))
            length -= min(length, _FULL)

    # Writing

    def _head(
        self,
        shown: str,
        status: os.stat_result,
        kind: bytes,
        *,
        size: int = 0,
        link: bytes = b"",
        device: tuple[int, int] = (0, 0),
        attributes: dict[str, bytes] | None = None,
    ) -> None:
        self._write(
            headers.encode(
                os.fsencode(shown),
                kind=kind,
                mode=stat.S_IMODE(status.st_mode),
                uid=status.st_uid,
                gid=status.st_gid,
                size=size,
                mtime=status.st_mtime_ns // 10**9,
                link=link,
                device=device,
                attributes=attributes,
            )
        )

    def _write(self, data: bytes) -> None:
        self._waiting += data
        if len(self._waiting) >= _FULL:
            self._flush()

    def _flush(self) -> None:
        left = memoryview(self._waiting)
        while left:
            left = left[os.write(self._target, left) :]
        self._waiting = bytearray()


def _read(descriptor: int, size: int) -> bytes:
    """Read so many bytes; zeros for those that are gone."""
    content = os.read(descriptor, size) if size else b""
    while len(content) < size and (more := os.read(descriptor, size - len(content))):
        content += more
    return content.ljust(size, b"\0")


def _extents(descriptor: int, size: int) -> list[tuple[int, int]]:
    """Give where a file has data (lseek(2), SEEK_DATA); empty if it has no holes."""
    extents: list[tuple[int, int]] = []
    end = 0
    try:
        while end < size:
            try:
                start = os.lseek(descriptor, end, os.SEEK_DATA)
            except OSError as error:
                if error.errno != errno.ENXIO:
                    raise
                break  # nothing but a hole to the end
            end = os.lseek(descriptor, start, os.SEEK_HOLE)
            end = min(end, size)
            if len(extents) >= _MOST_EXTENTS:
                end = size
            if start < end:
                extents.append((start, end - start))
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        return []  # this file system does not say
    if extents == [(0, size)]:
        return []
    if not extents or sum(extents[-1]) < size:
        extents.append((size, 0))
    return extents


def _attributes(descriptor: int) -> dict[str, bytes]:
    try:
        names = os.listxattr(descriptor)
    except OSError:
        return {}  # a file system without any
    found = {}
    for name in names:
        # No pax record can have the name of one with an equals sign in it.
        if (name.startswith("user.") and "=" not in name) or name in _ALLOWED:
            try:
                found[name] = os.getxattr(descriptor, name)
            except OSError:
                continue  # it was removed meanwhile
    return found
