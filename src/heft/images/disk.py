"""What the store asks of its file system beyond files and directories."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import struct
from typing import TYPE_CHECKING

from heft.host.syscalls import checked, libc
from heft.images.forward import write_all

if TYPE_CHECKING:
    from pathlib import Path

_LONG = struct.calcsize("l")
_GET_FLAGS = (2 << 30) | (_LONG << 16) | (ord("f") << 8) | 1
_SET_FLAGS = (1 << 30) | (_LONG << 16) | (ord("f") << 8) | 2
"""`FS_IOC_GETFLAGS` and `FS_IOC_SETFLAGS` (ioctl_iflags(2))."""
_TOP_OF_HIERARCHIES = 0x00020000
_STEP = 8 << 20
"""Bytes of a file after which the disk is to begin with them."""
_WRITE = 2
"""`SYNC_FILE_RANGE_WRITE` (sync_file_range(2))."""


class Growing:
    """A file that is written from its beginning on, while the disk writes what is there already.

    What waits for the disk at the end then waits for the rest. It is no promise: errors of the disk
    are told to whoever asks for one (`sync`).
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._size = self._begun = 0

    def write(self, data: bytes | memoryview) -> None:
        """Write all of it. Raises `OSError`."""
        write_all(self._descriptor, data)
        self._size += len(data)
        if (more := self._size - self._begun) >= _STEP:
            _check(os.fstatvfs(self._descriptor), 0, "")
            begun = ctypes.c_int64(self._begun)
            libc.sync_file_range(self._descriptor, begun, ctypes.c_int64(more), _WRITE)
            self._begun = self._size


def sync(directory: str) -> None:
    """Write back the file system that a directory is on (syncfs(2)). Raises `OSError`."""
    root = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        checked(libc.syncfs(root))
    finally:
        os.close(root)


def check_room(size: int, path: str) -> None:
    """Raise `OSError` (ENOSPC) if a file of so many bytes would take the disk's last hundredth.

    So does one more of any kind, where so few are left that the disk can have.

    A few bytes of a compressed or sparse file can stand for more than any disk has; what else is on
    the disk, the store above all, must not find it full meanwhile.
    """
    _check(os.statvfs("."), size, path)


def _check(space: os.statvfs_result, size: int, path: str) -> None:
    room = (space.f_bavail - space.f_blocks // 100) * space.f_frsize
    if size > room or space.f_favail < space.f_files // 100:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)


def spread(directory: Path) -> None:
    """Let the trees under a directory be far apart on the disk, where the file system can.

    ext4 looks for every new inode past all that were deleted in the same block group within the
    last minutes: a layer made where one was removed takes several times as long. Under a directory
    with the attribute `T` (chattr(1)), each directory begins in a group of its own.
    """
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with contextlib.suppress(OSError):
            value = bytearray(_LONG)
            fcntl.ioctl(descriptor, _GET_FLAGS, value)
            (flags,) = struct.unpack_from("i", value)  # an int, whatever the number says
            fcntl.ioctl(descriptor, _SET_FLAGS, struct.pack("i", flags | _TOP_OF_HIERARCHIES))
    finally:
        os.close(descriptor)
