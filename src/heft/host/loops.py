"""File systems in files, mounted through loop devices (loop(4)).

A file has one device at most, whoever mounts it and however often: the kernel keeps one view of a
file system for each device, and two of the same bytes would destroy it. Devices clear themselves
when the last mount is gone, also one that a killed process left in a namespace of its own.

Everything here is quick, but for what the disk takes; callers in the daemon use a thread.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
from pathlib import Path
from typing import TYPE_CHECKING

from heft.errors import HostError, NotSupported
from heft.failures import translated
from heft.host import mounts

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_CONTROL = "/dev/loop-control"
_DEVICES = Path("/sys/block")
_LOOP_CONFIGURE, _LOOP_GET_STATUS64, _LOOP_CTL_GET_FREE = 0x4C0A, 0x4C05, 0x4C82
_AUTOCLEAR = 4
_ATTEMPTS = 100


class _Info(ctypes.Structure):
    """`struct loop_info64` (linux/loop.h)."""

    _fields_ = (
        ("device", ctypes.c_uint64),
        ("inode", ctypes.c_uint64),
        ("rdevice", ctypes.c_uint64),
        ("offset", ctypes.c_uint64),
        ("sizelimit", ctypes.c_uint64),
        ("number", ctypes.c_uint32),
        ("encrypt_type", ctypes.c_uint32),
        ("encrypt_key_size", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
        ("file_name", ctypes.c_char * 64),
        ("crypt_name", ctypes.c_char * 64),
        ("encrypt_key", ctypes.c_uint8 * 32),
        ("init", ctypes.c_uint64 * 2),
    )


class _Config(ctypes.Structure):
    """`struct loop_config` (linux/loop.h)."""

    _fields_ = (
        ("fd", ctypes.c_uint32),
        ("block_size", ctypes.c_uint32),
        ("info", _Info),
        ("reserved", ctypes.c_uint64 * 8),
    )


def mount(file: Path, target: Path, kind: str, options: Sequence[str] = ()) -> None:
    """Mount the file system in a file, together with those who have it mounted already.

    Raises `NotSupported` where the host has no loop devices, `HostError`, `NoSpace`.
    """
    with translated(f"mount {file}"), _device(file) as device:
        name = os.readlink(f"/proc/self/fd/{device}")  # nobody else's while it is open
        mounts.mount(kind, target, source=name, options=options)


def attached(file: Path) -> int:
    """Give a descriptor of a file's device, which goes with the last one and the last mount.

    Raises `NotSupported`, `HostError`.
    """
    with translated(f"make a device of {file}"), _device(file) as device:
        return os.dup(device)


@contextlib.contextmanager
def _device(file: Path) -> Iterator[int]:
    """Give a descriptor of the file's device, which stays for as long as it is open."""
    with contextlib.ExitStack() as stack:
        # One at a time: of two that find none, each would take one. The device keeps what is open
        # of its file, so that the lock is on something that is opened apart, and ends with us.
        fcntl.flock(_open(file, stack), fcntl.LOCK_EX)
        backing = _open(file, stack)
        device = _find(backing)
        if device is None:
            device = _attach(backing)
        stack.callback(os.close, device)
        yield device


def _open(file: Path, stack: contextlib.ExitStack) -> int:
    descriptor = os.open(file, os.O_RDWR | os.O_CLOEXEC)
    stack.callback(os.close, descriptor)
    return descriptor


def _find(backing: int) -> int | None:
    """Open the device that a file has already."""
    name = os.readlink(f"/proc/self/fd/{backing}")
    for entry in _DEVICES.glob("loop*"):
        with contextlib.suppress(OSError):
            if (entry / "loop/backing_file").read_text().rstrip("\n") != name:
                continue
            device = os.open(f"/dev/{entry.name}", os.O_RDWR | os.O_CLOEXEC)
            # It may have been given to another file before it was opened; now it cannot any more.
            if _is_of(device, backing):
                return device
            os.close(device)
    return None


def _is_of(device: int, backing: int) -> bool:
    info, file = _Info(), os.fstat(backing)
    try:
        fcntl.ioctl(device, _LOOP_GET_STATUS64, info)
    except OSError:  # ENXIO: it has been cleared
        return False
    return (info.device, info.inode) == (file.st_dev, file.st_ino)


def _attach(backing: int) -> int:
    """Give the file a device that is free."""
    wanted = _Config(fd=backing, info=_Info(flags=_AUTOCLEAR))
    for _ in range(_ATTEMPTS):
        device = _open_free()
        try:
            fcntl.ioctl(device, _LOOP_CONFIGURE, wanted)
        except OSError as error:
            os.close(device)
            if error.errno != errno.EBUSY:  # somebody was quicker
                raise
        else:
            return device
    raise HostError("no loop device stays free for long enough")


def _open_free() -> int:
    try:
        control = os.open(_CONTROL, os.O_RDWR | os.O_CLOEXEC)
        try:
            number = fcntl.ioctl(control, _LOOP_CTL_GET_FREE)
        finally:
            os.close(control)
        return os.open(f"/dev/loop{number}", os.O_RDWR | os.O_CLOEXEC)
    except (FileNotFoundError, PermissionError, OSError) as error:
        raise NotSupported(
            f"no loop device can be had: {(error.strerror or str(error)).lower()}",
            hint=f"the host needs {_CONTROL} and a device node /dev/loopN",
        ) from error
