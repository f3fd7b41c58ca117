"""The directory of one layer, as overlayfs wants it, filled from the entries of a tar.

The process is chrooted to the directory, so that links and `..` in the tar lead nowhere else, and
paths are as short as they can be. A parent directory that the tar does not bring is made like that
of the layers below, symbolic links on the way are followed wherever they are.
"""

from __future__ import annotations

import contextlib
import errno
import os
import posixpath
import shutil
import stat
import tarfile
from typing import TYPE_CHECKING, TypeVar

from heft.images import attributes, entries, marks
from heft.images.below import Trail
from heft.images.disk import check_room
from heft.images.entries import Malformed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from heft.images.intake import Intake

T = TypeVar("T")

_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_MOST_LINKS = 40
"""Symbolic links followed on the way to one file (the kernel's own bound)."""
_DEVICES = {
    tarfile.CHRTYPE: stat.S_IFCHR,
    tarfile.BLKTYPE: stat.S_IFBLK,
    tarfile.FIFOTYPE: stat.S_IFIFO,
}


class Tree:
    """The layer; the working directory is its root. `below` is the view of the layers below."""

    def __init__(self, stream: Intake, below: int | None) -> None:
        self._stream = stream
        self._below = below
        self._directories: list[tuple[str, int]] = []
        self._opaque_root = False
        self.size = 0
        """Bytes of all regular files."""

    def add(self, entry: tarfile.TarInfo) -> None:
        """Put one entry into the tree. Raises `Malformed`, `Truncated`, and `OSError`."""
        path = inside(entry.name)
        try:
            check_room(entry.size if entry.isreg() else 0, path)
            self._add(path, entry)
        except OSError as error:
            error.filename = path  # not what it is called, or numbered, here
            raise

    def _add(self, path: str, entry: tarfile.TarInfo) -> None:
        directory, _, name = path.rpartition("/")
        if name.startswith(marks.PREFIX):
            self._mark(directory, name)
        elif entry.isdir():
            self._directory(path, entry)
        elif path == ".":
            raise Malformed("the root is not a directory")
        elif entry.isreg():
            self._file(path, entry)
        elif entry.issym():
            self._place(path, lambda where: _symlink(where, entry))
        elif entry.islnk():
            self._hard_link(path, inside(entry.linkname))
        elif entry.type in _DEVICES:
            self._device(path, entry)
        else:
            raise Malformed(f"unhandled tar header type {entry.type!r} at {entry.name!r}")

    # What an entry becomes

    def _file(self, path: str, entry: tarfile.TarInfo) -> None:
        descriptor = self._place(path, lambda where: os.open(where, _NEW_FILE, 0o600))
        try:
            for offset, length in entries.extents(entry):
                if offset:
                    os.lseek(descriptor, offset, os.SEEK_SET)
                self._stream.pour(length, descriptor)
            if entry.sparse is not None:
                os.ftruncate(descriptor, entry.size)
            os.fchown(descriptor, entry.uid, entry.gid)
            os.fchmod(descriptor, entry.mode & 0o7777)
            attributes.give(descriptor, entries.attributes(entry))
            moment = entries.modified(entry)
            os.utime(descriptor, ns=(moment, moment))
        finally:
            os.close(descriptor)
        self.size += entry.size

    def _directory(self, path: str, entry: tarfile.TarInfo) -> None:
        try:
            os.mkdir(path, 0o700)
        except OSError:
            path = self._directory_at(path)
        os.chown(path, entry.uid, entry.gid)
        os.chmod(path, entry.mode & 0o7777)
        attributes.give(path, entries.attributes(entry))
        self._directories.append((path, entries.modified(entry)))

    def _directory_at(self, path: str) -> str:
        """Make a directory where there is something already, or nothing above it."""
        with self._settled(path) as (where, _):
            status = _status(where)
            if status is not None and not stat.S_ISDIR(status.st_mode):
                self._remove(where)
            if status is None or not stat.S_ISDIR(status.st_mode):
                os.mkdir(where, 0o700)
                if status is not None and self._below is not None:
                    # What it takes the place of hid the lower layers' directory, if there is one.
                    marks.make_opaque(where)
            return where

    def _device(self, path: str, entry: tarfile.TarInfo) -> None:
        device = 0
        if entry.type != tarfile.FIFOTYPE:
            device = os.makedev(entry.devmajor, entry.devminor)
            if entry.type == tarfile.CHRTYPE and device == 0:
                directory, _, name = path.rpartition("/")
                self._mark(directory, marks.PREFIX + name)
                return

        def make(where: str) -> None:
            os.mknod(where, _DEVICES[entry.type] | 0o600, device)
            os.chown(where, entry.uid, entry.gid, follow_symlinks=False)
            os.chmod(where, entry.mode & 0o7777)
            moment = entries.modified(entry)
            os.utime(where, ns=(moment, moment), follow_symlinks=False)

        self._place(path, make)

    def _hard_link(self, path: str, target: str) -> None:
        if path == target:
            os.lstat(path)  # GNU tar writes this for a file that it was given twice
            return

        def make(where: str) -> None:
            try:
                os.link(target, where, follow_symlinks=False)
            except FileNotFoundError:
                os.link(self._copy_up(target), where, follow_symlinks=False)

        self._place(path, make)

    def _mark(self, directory: str, name: str) -> None:
        """Hide what is below; where nothing is, there is nothing to do."""
        hidden = name.removeprefix(marks.PREFIX)
        if hidden in ("", ".", ".."):
            raise Malformed(f"invalid whiteout {name!r}")
        if self._below is None or (name.startswith(marks.META_PREFIX) and name != marks.OPAQUE):
            return
        if name != marks.OPAQUE:
            with self._settled(posixpath.join(directory, hidden)) as (where, _):
                try:
                    marks.make_whiteout(where)
                except FileExistsError:
                    if stat.S_ISDIR(os.lstat(where).st_mode):
                        marks.make_opaque(where)
        elif not directory:
            self._opaque_root = True
        else:
            with self._settled(posixpath.join(directory, hidden)) as (where, _):
                marks.make_opaque(posixpath.dirname(where) or ".")

    # Where it goes

    def _place(self, path: str, make: Callable[[str], T]) -> T:
        """Make something at a path: in place of what is there, with the directories above it."""
        try:
            return make(path)
        except (FileExistsError, FileNotFoundError, NotADirectoryError):
            pass
        with self._settled(path) as (where, _):
            if _status(where) is not None:
                self._remove(where)
            return make(where)

    @contextlib.contextmanager
    def _settled(self, path: str) -> Iterator[tuple[str, Trail]]:
        """Make the directories above a path; give the path without links, and what is below."""
        trail = Trail(self._below)
        try:
            head, _, name = path.rpartition("/")
            directory = self._walk(head, trail)
            yield (f"{directory}/{name}" if directory else name), trail
        finally:
            trail.close()

    def _walk(self, path: str, trail: Trail) -> str:
        """Go down a path, making what is missing; the trail goes along in the layers below."""
        waiting = path.split("/")[::-1]
        done: list[str] = []
        links = 0
        while waiting:
            name = waiting.pop()
            if name in ("", "."):
                continue
            if name == "..":
                done = done[:-1]
                trail.up()
                continue
            target = self._step("/".join((*done, name)), name, trail)
            if target is None:
                done.append(name)
                continue
            links += 1
            if links > _MOST_LINKS:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
            if target.startswith("/"):
                done = []
                trail.close()
            waiting.extend(target.split("/")[::-1])
        return "/".join(done)

    def _step(self, path: str, name: str, trail: Trail) -> str | None:
        """Go into a directory, made if need be; of a symbolic link, give where it leads."""
        status = _status(path)
        if status is None:
            lower = trail.look(name)
            if lower is not None and stat.S_ISLNK(lower.st_mode):
                return trail.link(name)
            os.mkdir(path, 0o755)
            if lower is not None and stat.S_ISDIR(lower.st_mode):
                self._copy_directory(path, lower, name, trail)
            else:
                trail.down(name, hidden=True)
        elif stat.S_ISLNK(status.st_mode):
            return os.readlink(path)
        elif stat.S_ISDIR(status.st_mode):
            trail.down(name, hidden=marks.is_opaque(path))
        elif marks.is_whiteout(status):
            os.unlink(path)
            os.mkdir(path, 0o755)
            marks.make_opaque(path)
            trail.down(name, hidden=True)
        else:
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)
        return None

    def _remove(self, path: str) -> None:
        status = os.lstat(path)
        if stat.S_ISDIR(status.st_mode):
            for directory, _, names in os.walk(path):
                self.size -= sum(_own_size(f"{directory}/{name}") for name in names)
            shutil.rmtree(path)
        else:
            self.size -= _own_size(path)
            os.unlink(path)

    # What is taken over from below

    def _copy_directory(self, path: str, lower: os.stat_result, name: str, trail: Trail) -> None:
        trail.down(name)
        assert trail.here is not None
        attributes.copy(trail.here, lower, path)
        self._directories.append((path, lower.st_mtime_ns))

    def _copy_up(self, path: str) -> str:
        """Bring a file of the layers below into this one. Raises `FileNotFoundError`."""
        with self._settled(path) as (where, trail):
            name = where.rpartition("/")[2]
            lower = trail.look(name)
            if lower is None or stat.S_ISDIR(lower.st_mode) or _status(where) is not None:
                raise FileNotFoundError(errno.ENOENT, "the target of a hard link is missing", path)
            if stat.S_ISLNK(lower.st_mode):
                os.symlink(trail.link(name), where)
                os.chown(where, lower.st_uid, lower.st_gid, follow_symlinks=False)
            elif stat.S_ISREG(lower.st_mode):
                source = os.open(name, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=trail.here)
                try:
                    _copy_content(source, where, lower.st_size)
                    attributes.copy(source, lower, where)
                finally:
                    os.close(source)
                self.size += lower.st_size
            else:
                os.mknod(where, stat.S_IFMT(lower.st_mode) | 0o600, lower.st_rdev)
                os.chown(where, lower.st_uid, lower.st_gid)
                os.chmod(where, stat.S_IMODE(lower.st_mode))
            times = (lower.st_atime_ns, lower.st_mtime_ns)
            os.utime(where, ns=times, follow_symlinks=False)
            return where

    # The end

    def finish(self) -> None:
        """Set what can be set only when all is there."""
        if self._opaque_root and self._below is not None:
            # overlayfs always joins the roots: what one hides is hidden name by name.
            for name in os.listdir(self._below):
                try:
                    marks.make_whiteout(name)
                except FileExistsError:
                    if stat.S_ISDIR(os.lstat(name).st_mode):
                        marks.make_opaque(name)
        for path, moment in reversed(self._directories):
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                os.utime(path, ns=(moment, moment), follow_symlinks=False)


def inside(name: str) -> str:
    """Give a name in a tar as a path from the root; `.` is the root itself."""
    path = posixpath.normpath(name.lstrip("/"))
    if path == ".." or path.startswith("../"):
        raise Malformed(f"{name!r} is outside of the root")
    return path


def _symlink(path: str, entry: tarfile.TarInfo) -> None:
    os.symlink(entry.linkname, path)
    os.chown(path, entry.uid, entry.gid, follow_symlinks=False)
    attributes.give_link(path, entries.attributes(entry))
    moment = entries.modified(entry)
    os.utime(path, ns=(moment, moment), follow_symlinks=False)


def _status(path: str) -> os.stat_result | None:
    try:
        return os.lstat(path)
    except FileNotFoundError:
        return None


def _own_size(path: str) -> int:
    """Give the bytes that go with a name: of a regular file's last one, all."""
    status = os.lstat(path)
    return status.st_size if stat.S_ISREG(status.st_mode) and status.st_nlink == 1 else 0


def _copy_content(source: int, path: str, size: int) -> None:
    target = os.open(path, _NEW_FILE, 0o600)
    try:
        while size and (count := os.sendfile(target, source, None, size)):
            size -= count
    finally:
        os.close(target)
