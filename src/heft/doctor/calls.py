"""The system calls that Python 3.11 has no function for, made through libc."""

from __future__ import annotations

import ctypes
import os

CLONE_NEWTIME = 0x00000080
CLONE_NEWNS = 0x00020000
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

MS_REC = 0x4000
MS_PRIVATE = 1 << 18

# Calls added since Linux 5.1 have one number on all architectures (but alpha).
IO_URING_SETUP = 425
OPEN_TREE = 428
PIDFD_OPEN = 434
OPENAT2 = 437
MOUNT_SETATTR = 442
USERFAULTFD = {"x86_64": 323, "aarch64": 282, "riscv64": 282, "ppc64le": 364, "s390x": 355}

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def unshare(flags: int) -> None:
    """Leave namespaces for new ones (unshare(2))."""
    _checked(_libc.unshare(flags))


def mount(source: str, target: str, kind: str, flags: int = 0, options: str = "") -> None:
    """Mount a file system (mount(2))."""
    _checked(
        _libc.mount(
            source.encode(),
            target.encode(),
            kind.encode(),
            ctypes.c_ulong(flags),
            options.encode() or None,
        )
    )


def syscall(number: int, *arguments: int | bytes | ctypes.Array[ctypes.c_char]) -> int:
    """Make a system call by number; numbers are longs, bytes and buffers are passed by address."""
    converted = [ctypes.c_long(item) if isinstance(item, int) else item for item in arguments]
    return _checked(int(_libc.syscall(ctypes.c_long(number), *converted)))


def prctl(option: int, *arguments: int) -> int:
    """Ask about or change this process (prctl(2))."""
    given = (*arguments, 0, 0, 0, 0)[:4]
    return _checked(_libc.prctl(option, *map(ctypes.c_ulong, given)))


def ptrace(request: int, pid: int = 0) -> None:
    """Trace a process, or be traced (ptrace(2)); without address and data."""
    _libc.ptrace.restype = ctypes.c_long
    _checked(_libc.ptrace(ctypes.c_long(request), ctypes.c_long(pid), None, None))


def madvise(address: int, length: int, advice: int) -> None:
    """Advise the kernel about memory (madvise(2))."""
    _checked(_libc.madvise(ctypes.c_void_p(address), ctypes.c_size_t(length), advice))
