"""A machine's upper, read as overlayfs keeps it: as differences, and as the tar of a layer.

Marks of overlayfs (kernel documentation, filesystems/overlayfs): a character device 0:0 hides a
name of the layers below, the attribute `trusted.overlay.opaque` all that a directory has there.
Uppers are only ever mounted without redirects and without metadata-only copies, so that there are
no others. In the tar they are `.wh.NAME` and `.wh..wh..opq` (OCI image-spec, layer.md).

The upper may be that of a running machine: it is walked by descriptors, and no link is followed.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from heft.images import marks
from heft.model.files import Change, ChangeKind
from heft.tars.landing import Refused

if TYPE_CHECKING:
    from collections.abc import Iterator

    from heft.tars.packing import Packer

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Upper:
    """An upper (`diff`, an open directory) over the tree of the layers below (-1: there is none).

    `skip` are paths that the runtime made to mount on: they are not counted while they are empty
    and new. `every_mark`: it is a layer, whose marks are all of its tar, whatever is below.
    """

    def __init__(
        self, diff: int, lower: int, skip: frozenset[str], *, every_mark: bool = False
    ) -> None:
        self._diff = diff
        self._lower = lower
        self._skip = skip
        self._every_mark = every_mark

    # Differences

    def changes(self) -> Iterator[Change]:
        """Give all differences, a directory before what is in it, names in order."""
        yield from self._changes(self._diff, self._lower, "")

    def _changes(self, upper: int, lower: int, path: str) -> Iterator[Change]:
        names = set(os.listdir(upper))
        for name in sorted(names | self._hidden_by(upper, lower, names, path)):
            below = f"{path}/{name}"
            status, was = _look(upper, name), _look(lower, name)
            if status is None or marks.is_whiteout(status):
                if was is not None:
                    yield Change(below, ChangeKind.DELETED)
            elif stat.S_ISDIR(status.st_mode):
                yield from self._directory(upper, lower, name, below, status, was)
            elif not (was is None and self._is_point(below, status)):
                kind = ChangeKind.ADDED if was is None else ChangeKind.MODIFIED
                yield Change(below, kind)

    def _directory(
        self,
        upper: int,
        lower: int,
        name: str,
        path: str,
        status: os.stat_result,
        was: os.stat_result | None,
    ) -> Iterator[Change]:
        opened = _enter(upper, name)
        if opened < 0:
            return
        same = was is not None and stat.S_ISDIR(was.st_mode)
        beneath = _enter(lower, name) if same else -1
        try:
            below = list(self._changes(opened, beneath, path))
            if was is None:
                if below or not self._is_point(path, status, opened):
                    yield Change(path, ChangeKind.ADDED)
            elif below or not (same and self._is_same(opened, status, was, path)):
                yield Change(path, ChangeKind.MODIFIED)
            yield from below
        finally:
            os.close(opened)
            if beneath >= 0:
                os.close(beneath)

    def _is_same(self, opened: int, now: os.stat_result, was: os.stat_result, path: str) -> bool:
        """Say whether a directory without differences in it is as it was below."""
        if (now.st_mode, now.st_uid, now.st_gid) != (was.st_mode, was.st_uid, was.st_gid):
            return False
        # Making a mount point in it is no change of the machine's.
        return now.st_mtime_ns == was.st_mtime_ns or any(
            f"{path}/{name}" in self._skip for name in os.listdir(opened)
        )

    def _hidden_by(self, upper: int, lower: int, names: set[str], path: str) -> set[str]:
        """Give the names below that an opaque directory hides."""
        if lower < 0 or not path or not _is_opaque(upper):
            return set()
        return set(os.listdir(lower)) - names

    def _is_point(self, path: str, status: os.stat_result, opened: int = -1) -> bool:
        """Say whether this is a mount point that the runtime made, and nothing else."""
        if path not in self._skip:
            return False
        if opened >= 0:
            return all(
                f"{path}/{name}" in self._skip or not _is_content(opened, name)
                for name in os.listdir(opened)
            )
        return stat.S_ISREG(status.st_mode) and status.st_size == 0

    # The layer

    def pack(self, packer: Packer) -> None:
        """Write the upper as the tar of a layer. Raises `Refused` for a name that none can have."""
        self._pack(packer, self._diff, self._lower, "")
        packer.finish()

    def _pack(self, packer: Packer, upper: int, lower: int, path: str) -> None:
        if path and (lower >= 0 or self._every_mark) and _is_opaque(upper):
            packer.empty(f"{path}/{marks.OPAQUE}")
        for name in sorted(os.listdir(upper)):
            below = f"{path}/{name}" if path else name
            status = _look(upper, name)
            if status is None:
                continue
            if name.startswith(marks.PREFIX):
                raise Refused(
                    f"/{below} cannot be part of an image: names that begin with"
                    f" {marks.PREFIX} are marks of layers; rename it"
                )
            was = _look(lower, name)
            if marks.is_whiteout(status):
                if was is not None or self._every_mark:
                    packer.empty(f"{path}/{marks.PREFIX}{name}".lstrip("/"))
            elif stat.S_ISDIR(status.st_mode):
                self._pack_directory(packer, upper, lower, name, below, was)
            elif not (was is None and self._is_point(f"/{below}", status)):
                packer.entry(upper, name, below, status)

    def _pack_directory(
        self,
        packer: Packer,
        upper: int,
        lower: int,
        name: str,
        path: str,
        was: os.stat_result | None,
    ) -> None:
        opened = _enter(upper, name)
        if opened < 0:
            return
        same = was is not None and stat.S_ISDIR(was.st_mode)
        beneath = _enter(lower, name) if same else -1
        try:
            if was is None and self._is_point(f"/{path}", os.fstat(opened), opened):
                return
            packer.directory(opened, path)
            self._pack(packer, opened, beneath, path)
        finally:
            os.close(opened)
            if beneath >= 0:
                os.close(beneath)


def _look(directory: int, name: str) -> os.stat_result | None:
    if directory < 0:
        return None
    try:
        return os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return None


def _enter(directory: int, name: str) -> int:
    """Open a directory; -1 if it is none any more."""
    try:
        return os.open(name, _DIRECTORY, dir_fd=directory)
    except (FileNotFoundError, NotADirectoryError):
        return -1


def _is_opaque(directory: int) -> bool:
    try:
        return os.getxattr(directory, marks.OPAQUE_ATTRIBUTE) == b"y"
    except OSError:
        return False


def _is_content(directory: int, name: str) -> bool:
    """Say whether something is more than an empty file or directory."""
    status = _look(directory, name)
    if status is None:
        return False
    if stat.S_ISDIR(status.st_mode):
        return True
    return not (stat.S_ISREG(status.st_mode) and status.st_size == 0)
