"""The door to the system calls that Python has no function for.

Calls added to Linux since 5.1 have the same number on every architecture (but alpha), so that they
can be made through syscall(2) without a table.
"""

from __future__ import annotations

import ctypes
import os

libc = ctypes.CDLL(None, use_errno=True)
"""The C library, for the functions that are called as they are, with `checked`."""
_syscall = libc.syscall
_syscall.restype = ctypes.c_long

CLONE_NEWNS, CLONE_NEWCGROUP, CLONE_NEWUTS = 0x00020000, 0x02000000, 0x04000000
CLONE_NEWIPC, CLONE_NEWUSER, CLONE_NEWPID = 0x08000000, 0x10000000, 0x20000000
CLONE_NEWNET = 0x40000000
"""The kinds of namespaces (linux/sched.h)."""
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_REMOUNT, MS_BIND = 0x1, 0x2, 0x4, 0x20, 0x1000
MS_REC, MS_PRIVATE, MS_SLAVE, MS_SHARED = 0x4000, 1 << 18, 1 << 19, 1 << 20
"""What a mount is to be, and how (linux/mount.h)."""
MNT_DETACH, UMOUNT_NOFOLLOW = 0x2, 0x8
"""How one is taken away (linux/fs.h)."""

Argument = int | bytes | None | ctypes.Structure
"""Numbers, strings (terminated by the call), null, and structures (passed by reference)."""


def _converted(argument: Argument) -> object:
    if isinstance(argument, int):
        return ctypes.c_long(argument)
    if isinstance(argument, ctypes.Structure):
        return ctypes.byref(argument)
    return ctypes.c_char_p(argument)


def _failed() -> OSError:
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number))


def call(number: int, *arguments: Argument) -> int:
    """Make the system call of this number; raise the `OSError` that its errno stands for."""
    result = int(_syscall(ctypes.c_long(number), *map(_converted, arguments)))
    if result < 0:
        raise _failed()
    return result


def checked(result: int) -> int:
    """Give what a function of the C library gave, or raise the `OSError` that it left in errno."""
    if result < 0:
        raise _failed()
    return result


def mount(source: bytes, target: bytes, kind: bytes, flags: int, data: bytes) -> None:
    """Make a mount; `data` must be shorter than a page (4096 bytes)."""
    if libc.mount(source, target, kind, ctypes.c_ulong(flags), data):
        raise _failed()


def umount2(target: bytes, flags: int) -> None:
    """Take a mount away."""
    if libc.umount2(target, flags):
        raise _failed()
