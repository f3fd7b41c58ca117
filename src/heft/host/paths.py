"""Paths inside a tree that somebody else has made: an image's, or a machine's.

Symbolic links there may point anywhere, and change while we look. openat2(2) with
`RESOLVE_IN_ROOT` resolves a path as a process chrooted to the tree would: neither links nor `..`
lead out of it, and magic links of /proc are refused.

Everything here raises the plain `OSError` (`FileNotFoundError`, …), as callers must tell them
apart; a caller translates what is left.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from heft.host import syscalls

if TYPE_CHECKING:
    from pathlib import Path

_OPENAT2 = 437
_RESOLVE_NO_MAGICLINKS = 0x02
_RESOLVE_IN_ROOT = 0x10
_ATTEMPTS = 64


class _OpenHow(ctypes.Structure):
    """`struct open_how`."""

    _fields_ = (
        ("flags", ctypes.c_uint64),
        ("mode", ctypes.c_uint64),
        ("resolve", ctypes.c_uint64),
    )


def open_in_root(root: Path | int, path: str, flags: int, mode: int = 0) -> int:
    """Open `path` as seen from inside `root` (a directory, or a descriptor of one).

    `flags` and `mode` are those of open(2); close-on-exec is set. Raises `OSError`.
    """
    if not isinstance(root, int):
        directory = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            return open_in_root(directory, path, flags, mode)
        finally:
            os.close(directory)
    how = _OpenHow(
        flags=flags | os.O_CLOEXEC, mode=mode, resolve=_RESOLVE_IN_ROOT | _RESOLVE_NO_MAGICLINKS
    )
    name = os.fsencode(path) or b"/"
    for attempt in range(_ATTEMPTS):
        try:
            return syscalls.call(_OPENAT2, root, name, how, ctypes.sizeof(how))
        except OSError as error:
            # EAGAIN: something was renamed meanwhile, and the kernel cannot tell that the path
            # did not lead out; it says to try again.
            if error.errno != errno.EAGAIN or attempt == _ATTEMPTS - 1:
                error.filename = path
                raise
    raise AssertionError("the last attempt returns or raises")


def read_in_root(root: Path | int, path: str, limit: int) -> bytes:
    """Read a regular file inside `root`.

    Raises `OSError`: EFBIG if it has more than `limit` bytes, EINVAL if it is something else than
    a regular file (a FIFO is not waited for, a device not touched).
    """
    handle = open_in_root(root, path, os.O_PATH)
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise OSError(errno.EINVAL, "not a regular file", path)
        # Through the handle: whatever is at the path by now, this is what was looked at.
        with open(f"/proc/self/fd/{handle}", "rb") as file:
            content = file.read(limit + 1)
    finally:
        os.close(handle)
    if len(content) > limit:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), path)
    return content


def make_directories(root: Path | int, path: str, *, mode: int = 0o755) -> None:
    """Make a directory inside `root`, and those above it, where they are missing (`mkdir -p`).

    Raises `OSError`: ENOTDIR if something else is in the way.
    """
    parts = PurePosixPath("/", path).parts[1:]
    for count in range(1, len(parts) + 1):
        parent = open_in_root(root, "/".join(parts[: count - 1]), os.O_PATH | os.O_DIRECTORY)
        try:
            os.mkdir(parts[count - 1], mode, dir_fd=parent)
        except FileExistsError:
            # A link is followed, inside the tree, by the next step's look at it.
            pass
        finally:
            os.close(parent)
    os.close(open_in_root(root, "/".join(parts), os.O_PATH | os.O_DIRECTORY))
