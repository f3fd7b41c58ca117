"""What the kernel takes a thread for when it touches files (credentials(7)).

File system ids are a thread's own, and the C library does not spread them over the others; so
everything here works on the calling thread alone.
"""

from __future__ import annotations

import contextlib
import ctypes
from typing import TYPE_CHECKING

from heft.host import syscalls

if TYPE_CHECKING:
    from collections.abc import Iterator

_VERSION_3 = 0x20080522
"""Of the layout of capabilities with 64 bits (linux/capability.h)."""
_NOBODY = -1
"""setfsuid(2): an id that is none changes nothing, and the present one is given."""


class _Header(ctypes.Structure):
    """`struct __user_cap_header_struct`; pid 0 is the calling thread."""

    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Sets(ctypes.Structure):
    """Two of `struct __user_cap_data_struct`: the lower and the upper half of each set."""

    _fields_ = (("words", ctypes.c_uint32 * 6),)


@contextlib.contextmanager
def files_owned_by(uid: int, gid: int) -> Iterator[None]:
    """Let this thread make files as these ids' for a while, with all rights that it has.

    Raises `OSError`. The kernel takes the capabilities over files away with the root's id; they
    are raised again.
    """
    libc = syscalls.libc
    header, sets = _Header(_VERSION_3, 0), _Sets()
    syscalls.checked(libc.capget(ctypes.byref(header), ctypes.byref(sets)))
    before = libc.setfsuid(_NOBODY), libc.setfsgid(_NOBODY)
    try:
        libc.setfsgid(gid)
        libc.setfsuid(uid)
        syscalls.checked(libc.capset(ctypes.byref(header), ctypes.byref(sets)))
        yield
    finally:
        libc.setfsuid(before[0])
        libc.setfsgid(before[1])


def become_root_of(user_namespace: int) -> None:
    """Enter a user namespace for good, as its root, with rights over what is its own alone.

    The process must have one thread (setns(2)). Raises `OSError`.
    """
    syscalls.checked(syscalls.libc.setns(user_namespace, syscalls.CLONE_NEWUSER))
    for call in (syscalls.libc.setresgid, syscalls.libc.setresuid):
        syscalls.checked(call(0, 0, 0))
    syscalls.checked(syscalls.libc.setgroups(0, None))
