"""The entries of a tar, put into a tree that others may be changing at the same time.

Every entry is made in its directory's descriptor, by its last name, and links are not followed
there. How a directory is found is the caller's matter (`Opener`): it must not leave the tree. What
an entry takes the place of is replaced whole (a file by rename), and `undo` removes what was new.
The rules are those of Docker's `docker cp` (moby, pkg/archive, `Unpack`).
"""

from __future__ import annotations

import contextlib
import errno
import os
import posixpath
import shutil
import stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from tarfile import TarInfo

    from heft.tars import reading

    Opener = Callable[[str], int]
    """Gives the descriptor of a directory of the tree, by its path (`.`: the tree itself)."""
    Pour = Callable[[int, int], None]
    """Writes the next so many bytes of the tar, those of the entry at hand, to a descriptor."""
    Entry = TarInfo | reading.Entry

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_CACHED = 64
"""Directories that are kept open."""
_LARGEST_MAJOR, _LARGEST_MINOR = (1 << 12) - 1, (1 << 20) - 1
_LARGEST_ID = (1 << 32) - 2
_LARGEST_TIME = 1 << 62
_ALLOWED = frozenset({"security.capability", "system.posix_acl_access", "system.posix_acl_default"})


class Refused(ValueError):
    """An entry that leads out of the tree, or cannot be made of what is there."""


class Landing:
    """Puts entries into the tree that `opener` opens directories of.

    `owner` is user and group of everything; None: as the tar has it. With `same_kind` nothing but
    a directory takes the place of a directory, nor the other way round; without, whatever is there
    goes. `as_root` is off for a user who can give nothing away, and makes no devices.
    """

    def __init__(
        self,
        opener: Opener,
        *,
        owner: tuple[int, int] | None = None,
        same_kind: bool = True,
        as_root: bool = True,
    ) -> None:
        self._opener = opener
        self._owner = owner
        self._same_kind = same_kind
        self._as_root = as_root
        self._open: dict[str, int] = {}
        self._made: list[str] = []
        self._times: list[tuple[str, int]] = []

    # Entries

    def add(
        self,
        entry: Entry,
        extents: Sequence[tuple[int, int]],
        pour: Pour,
        attributes: Mapping[str, bytes],
        moment: int,
    ) -> None:
        """Put one entry there; `moment` is its time in nanoseconds since 1970.

        `extents` are offset and length of each stretch of a file's data, in the order in which
        `pour` gives them. Raises `Refused`, `OSError`.
        """
        path = inside(entry.name)
        moment = max(-_LARGEST_TIME, min(moment, _LARGEST_TIME))
        if path == ".":
            if not entry.isdir():
                raise Refused(f"{entry.name!r} is not a directory")
            return
        head, _, name = path.rpartition("/")
        try:
            directory = self._directory(head or ".")
        except RecursionError:
            raise Refused(f"{path[:100]!r}… is below too many directories") from None
        try:
            if entry.isdir():
                self._make_directory(directory, name, path, entry, attributes)
                self._times.append((path, moment))
            elif entry.isreg():
                self._make_file(directory, name, path, entry, extents, pour, attributes, moment)
            else:
                self._clear(directory, name, path)
                self._make_other(directory, name, entry)
                self._made.append(path)
                if not entry.islnk():
                    os.utime(name, ns=(moment, moment), dir_fd=directory, follow_symlinks=False)
        except OSError as error:
            error.filename = entry.name
            raise

    def _make_file(
        self,
        directory: int,
        name: str,
        path: str,
        entry: Entry,
        extents: Sequence[tuple[int, int]],
        pour: Pour,
        attributes: Mapping[str, bytes],
        moment: int,
    ) -> None:
        written = name
        try:
            descriptor = os.open(name, _NEW, 0o600, dir_fd=directory)
            self._made.append(path)
        except FileExistsError:
            self._clear(directory, name, path, keep_file=True)
            written = f".heft-{os.urandom(6).hex()}"
            descriptor = os.open(written, _NEW, 0o600, dir_fd=directory)
            self._made.append(posixpath.join(posixpath.dirname(path), written))
        try:
            for offset, length in extents:
                if offset:
                    os.lseek(descriptor, offset, os.SEEK_SET)
                pour(length, descriptor)
            if entry.sparse is not None:
                os.ftruncate(descriptor, entry.size)
            self._dress(descriptor, entry, attributes)
            os.utime(descriptor, ns=(moment, moment))
        finally:
            os.close(descriptor)
        if written != name:
            self._move(directory, written, name)

    def _move(self, directory: int, written: str, name: str) -> None:
        """Let a finished file take the place of another."""
        try:
            os.rename(written, name, src_dir_fd=directory, dst_dir_fd=directory)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(written, dir_fd=directory)
            raise
        finally:
            self._made.pop()

    def _make_directory(
        self,
        directory: int,
        name: str,
        path: str,
        entry: Entry,
        attributes: Mapping[str, bytes],
    ) -> None:
        try:
            os.mkdir(name, 0o700, dir_fd=directory)
            self._made.append(path)
        except FileExistsError:
            status = os.stat(name, dir_fd=directory, follow_symlinks=False)
            if not stat.S_ISDIR(status.st_mode):
                if self._same_kind:
                    raise Refused(
                        f'cannot overwrite non-directory "{path}" with directory'
                    ) from None
                os.unlink(name, dir_fd=directory)
                os.mkdir(name, 0o700, dir_fd=directory)
                self._made.append(path)
        opened = os.open(name, _DIRECTORY, dir_fd=directory)
        try:
            self._dress(opened, entry, attributes)
        finally:
            os.close(opened)

    def _make_other(self, directory: int, name: str, entry: Entry) -> None:
        if "\0" in entry.linkname:
            raise Refused(f"the target of the link {entry.name!r} has a null byte in it")
        if entry.issym():
            os.symlink(entry.linkname, name, dir_fd=directory)
        elif entry.islnk():
            target = inside(entry.linkname)
            head, _, last = target.rpartition("/")
            above = self._directory(head or ".")
            os.link(last, name, src_dir_fd=above, dst_dir_fd=directory, follow_symlinks=False)
            return
        elif entry.isfifo():
            os.mkfifo(name, entry.mode & 0o777, dir_fd=directory)
        elif entry.isdev() and self._as_root:
            _make_device(directory, name, entry)
        else:
            raise Refused(f"unhandled tar header type {entry.type!r} at {entry.name!r}")
        if self._as_root:
            uid, gid = self._owner_of(entry)
            os.chown(name, uid, gid, dir_fd=directory, follow_symlinks=False)

    def _dress(self, descriptor: int, entry: Entry, attributes: Mapping[str, bytes]) -> None:
        """Set owner, mode and attributes, in this order: a change of owner takes some away.

        What is so already is left alone: to set it again costs as much as to set another.
        """
        status = os.fstat(descriptor)
        if self._as_root and (owner := self._owner_of(entry)) != (status.st_uid, status.st_gid):
            os.fchown(descriptor, *owner)
        os.fchmod(descriptor, entry.mode & 0o7777)
        for name, value in attributes.items():
            if name.startswith("user.") or (self._as_root and name in _ALLOWED):
                _set_attribute(descriptor, name, value)

    def _owner_of(self, entry: Entry) -> tuple[int, int]:
        uid, gid = self._owner or (entry.uid, entry.gid)
        if not (0 <= uid <= _LARGEST_ID and 0 <= gid <= _LARGEST_ID):
            raise Refused(f"the owner of {entry.name!r} is out of range")
        return uid, gid

    def _clear(self, directory: int, name: str, path: str, *, keep_file: bool = False) -> None:
        """Make room for something that is no directory."""
        try:
            status = os.stat(name, dir_fd=directory, follow_symlinks=False)
        except FileNotFoundError:
            return
        if not stat.S_ISDIR(status.st_mode):
            if not keep_file:
                os.unlink(name, dir_fd=directory)
            return
        if self._same_kind:
            raise Refused(f'cannot overwrite directory "{path}" with non-directory')
        shutil.rmtree(name, dir_fd=directory)
        self._forget_directories()

    # Directories

    def _directory(self, path: str) -> int:
        """Give the descriptor of a directory, made with those above it if it is not there."""
        if (known := self._open.get(path)) is not None:
            return known
        if len(self._open) >= _CACHED:
            self._forget_directories()
        try:
            found = self._opener(path)
        except FileNotFoundError:
            head, _, name = path.rpartition("/")
            above = self._directory(head or ".")
            with contextlib.suppress(FileExistsError):
                os.mkdir(name, 0o755, dir_fd=above)
                self._made.append(path)
            found = self._opener(path)
        self._open[path] = found
        return found

    def _forget_directories(self) -> None:
        for descriptor in self._open.values():
            os.close(descriptor)
        self._open.clear()

    # The end

    def finish(self) -> None:
        """Set the directories' times, which their files' making has changed."""
        for path, moment in reversed(self._times):
            head, _, name = path.rpartition("/")
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                directory = self._directory(head or ".")
                os.utime(name, ns=(moment, moment), dir_fd=directory, follow_symlinks=False)
        self._forget_directories()

    def undo(self) -> None:
        """Remove what was not there before; whatever resists is left."""
        for path in reversed(self._made):
            head, _, name = path.rpartition("/")
            with contextlib.suppress(OSError):
                directory = self._directory(head or ".")
                try:
                    os.unlink(name, dir_fd=directory)
                except OSError as error:
                    if error.errno not in (errno.EISDIR, errno.EPERM):
                        raise
                    os.rmdir(name, dir_fd=directory)
        self._forget_directories()


def inside(name: str) -> str:
    """Give a name in a tar as a path from the tree's root; `.` is the root itself."""
    path = posixpath.normpath(name.lstrip("/"))
    if path == ".." or path.startswith("../") or "\0" in path:
        raise Refused(f"{name!r} is outside of the root")
    return path


def _make_device(directory: int, name: str, entry: Entry) -> None:
    major, minor = entry.devmajor, entry.devminor
    if not (0 <= major <= _LARGEST_MAJOR and 0 <= minor <= _LARGEST_MINOR):
        raise Refused(f"the device number of {entry.name!r} is out of range")
    if entry.ischr() and major == minor == 0:
        # It is what overlayfs marks removed files with.
        raise Refused(f"the device number of {entry.name!r} is reserved")
    kind = stat.S_IFCHR if entry.ischr() else stat.S_IFBLK
    os.mknod(name, kind | (entry.mode & 0o777), os.makedev(major, minor), dir_fd=directory)


def _set_attribute(descriptor: int, name: str, value: bytes) -> None:
    if "\0" in name:
        raise Refused(f"the name of an attribute has a null byte in it: {name!r}")
    try:
        os.setxattr(descriptor, name, value)
    except OSError as error:
        if error.errno != errno.EOPNOTSUPP:  # a tmpfs of an older kernel has no `user.`
            raise
