"""A tar, put into a directory of a machine; if anything is wrong, what was new is taken back."""

from __future__ import annotations

import errno
import os
import posixpath
from typing import TYPE_CHECKING

from heft.files.incoming import incoming
from heft.files.tasks import Stopped
from heft.host import paths
from heft.images.entries import attributes, entries, extents, modified
from heft.tars.landing import Landing

if TYPE_CHECKING:
    from heft.files.child import LookUp
    from heft.files.plan import Plan

ROOT_READ_ONLY = "container rootfs is marked read-only"
VOLUME_READ_ONLY = "mounted volume is marked read-only"
"""Docker's words."""
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY


def unpack(root: int, plan: Plan, look_up: LookUp) -> None:
    """Put the tar on standard input into `plan.path`. Raises as `Landing.add` does.

    Raises `FileNotFoundError` and `NotADirectoryError` for the path, `PermissionError` without a
    number where the machine itself could not write.
    """
    path = posixpath.normpath("/" + plan.path.lstrip("/"))
    target = _open_target(root, path)
    _check_writable(root, target)
    owner = look_up(root, plan.owner) if plan.owner else None

    def opener(below: str) -> int:
        # From the root: links on the way may be absolute, or climb above the target.
        return paths.open_in_root(root, f"{path}/{below}", _DIRECTORY)

    landing = Landing(opener, owner=owner, same_kind=plan.same_kind)
    stream = incoming(0)
    try:
        for entry in entries(stream):
            landing.add(
                entry,
                extents(entry) if entry.isreg() else (),
                stream.pour,
                attributes(entry),
                modified(entry),
            )
        stream.read_end()
        landing.finish()
    except BaseException as error:
        take_back(landing)
        if isinstance(error, OSError) and error.errno == errno.EROFS:
            raise PermissionError(VOLUME_READ_ONLY) from error
        if isinstance(error, FileNotFoundError):
            # The path that was asked for is there: it is the tar that names what is not.
            where = error.filename or plan.path
            raise ValueError(f"{where}: no such file or directory") from error
        raise


def take_back(landing: Landing) -> None:
    """Undo what was landed, also where the work is stopped in the middle of that, which it is once.

    A daemon that is killed is both: the tar's end, and a reason to stop.
    """
    try:
        landing.undo()
    except Stopped:
        landing.undo()
        raise


def _open_target(root: int, path: str) -> int:
    try:
        return paths.open_in_root(root, path, _DIRECTORY)
    except NotADirectoryError as error:
        raise ValueError("extraction point is not a directory") from error


def _check_writable(root: int, target: int) -> None:
    if not os.fstatvfs(target).f_flag & os.ST_RDONLY:
        return
    same = os.fstat(root).st_dev == os.fstat(target).st_dev
    raise PermissionError(ROOT_READ_ONLY if same else VOLUME_READ_ONLY)
