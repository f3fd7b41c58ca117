"""System calls that a thread, and what it starts, cannot make any more (seccomp(2), libseccomp)."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import functools
import os
from typing import TYPE_CHECKING

from heft.errors import HostError, NotSupported
from heft.host import syscalls

if TYPE_CHECKING:
    from collections.abc import Iterator

LIBRARY = "libseccomp.so.2"
_MASKED_EQUAL = 7
_NAMESPACES = (
    *(syscalls.CLONE_NEWNS, syscalls.CLONE_NEWCGROUP, syscalls.CLONE_NEWUTS),
    *(syscalls.CLONE_NEWIPC, syscalls.CLONE_NEWUSER, syscalls.CLONE_NEWPID),
    syscalls.CLONE_NEWNET,
)
_ALLOW = 0x7FFF0000
_ERRNO = 0x00050000
"""seccomp.h."""

OF_NO_FILE = (
    *("acct", "add_key", "bpf", "clock_adjtime", "clock_settime", "delete_module"),
    *("fanotify_init", "finit_module", "fsconfig", "fsmount", "fsopen", "fspick", "init_module"),
    *("io_uring_enter", "io_uring_register", "io_uring_setup", "ioperm", "iopl", "kcmp"),
    *("kexec_file_load", "kexec_load", "keyctl", "kill", "lookup_dcookie", "mbind"),
    *("migrate_pages", "mount", "mount_setattr", "move_mount", "move_pages", "mq_open", "msgget"),
    *("name_to_handle_at", "nfsservctl", "open_by_handle_at", "open_tree", "perf_event_open"),
    *("personality", "pidfd_getfd", "pidfd_open", "pidfd_send_signal", "pivot_root"),
    *("process_madvise", "process_vm_readv", "process_vm_writev", "ptrace", "quotactl"),
    *("quotactl_fd", "reboot", "request_key", "semget", "set_mempolicy", "setdomainname"),
    *("sethostname", "setns", "settimeofday", "shmget", "socket", "swapoff", "swapon", "syslog"),
    *("tgkill", "tkill", "umount2", "unshare", "userfaultfd", "vmsplice"),
)
"""What nobody needs who only works on files: calls that make or change something of the host's,
reach other processes, or lead to parts of the kernel that are hard to get right."""


@functools.cache
def load() -> ctypes.CDLL:
    """Give the library: loaded before a thread has another root, where it would be another file."""
    try:
        library = ctypes.CDLL(LIBRARY)
    except OSError as error:
        raise NotSupported(
            f"{LIBRARY} is not installed", hint="apt-get install libseccomp2"
        ) from error
    library.seccomp_init.restype = ctypes.c_void_p
    return library


def deny(names: tuple[str, ...]) -> None:
    """Let these calls fail with EPERM, in this thread for good; it gains no privileges any more.

    Raises `NotSupported`, `HostError`.
    """
    with _filter(_ALLOW, _ERRNO | errno.EPERM, names) as (library, context):
        _load(library, context)


def allow_only(names: tuple[str, ...]) -> None:
    """Let all calls but these fail with EPERM; otherwise as `deny`."""
    with _filter(_ERRNO | errno.EPERM, _ALLOW, names) as (library, context):
        _load(library, context)


def written(names: tuple[str, ...]) -> int:
    """Give a file in memory with the filter that denies them, for a program that is to have it.

    It can make no namespaces either, by whichever call. Raises `NotSupported`, `HostError`.
    """
    with _filter(_ALLOW, _ERRNO | errno.EPERM, names) as (library, context):
        _deny_namespaces(library, context)
        file = os.memfd_create("filter", os.MFD_CLOEXEC)
        if failed := library.seccomp_export_bpf(context, file):
            os.close(file)
            raise HostError(f"cannot write a filter of system calls: {os.strerror(-failed)}")
        os.lseek(file, 0, os.SEEK_SET)
        return file


class _Comparison(ctypes.Structure):
    """`struct scmp_arg_cmp`: for `_MASKED_EQUAL`, whether (argument & mask) is a value."""

    _fields_ = (
        ("argument", ctypes.c_uint),
        ("operator", ctypes.c_int),
        ("mask", ctypes.c_uint64),
        ("value", ctypes.c_uint64),
    )


def _deny_namespaces(library: ctypes.CDLL, context: ctypes.c_void_p) -> None:
    """Let clone(2) make none; clone3(2), whose flags no filter sees, is as on older kernels."""
    clone = library.seccomp_syscall_resolve_name(b"clone")
    refused = ctypes.c_uint32(_ERRNO | errno.EPERM)
    failed = 0
    for flag in _NAMESPACES:
        asked = _Comparison(0, _MASKED_EQUAL, flag, flag)
        failed = failed or library.seccomp_rule_add_array(
            context, refused, clone, 1, ctypes.byref(asked)
        )
    newer = library.seccomp_syscall_resolve_name(b"clone3")
    absent = ctypes.c_uint32(_ERRNO | errno.ENOSYS)
    failed = failed or library.seccomp_rule_add(context, absent, newer, 0)
    if failed:
        raise HostError(f"cannot filter clone: {os.strerror(-failed)}")


def _load(library: ctypes.CDLL, context: ctypes.c_void_p) -> None:
    if failed := library.seccomp_load(context):
        raise HostError(f"cannot filter system calls: {os.strerror(-failed)}")


@contextlib.contextmanager
def _filter(
    usually: int, action: int, names: tuple[str, ...]
) -> Iterator[tuple[ctypes.CDLL, ctypes.c_void_p]]:
    """Answer these calls with an action, and all others as is usual."""
    library = load()
    context = ctypes.c_void_p(library.seccomp_init(ctypes.c_uint32(usually)))
    if not context:
        raise HostError("cannot make a filter of system calls")
    try:
        for name in names:
            number = library.seccomp_syscall_resolve_name(name.encode())
            # Those that an architecture has not are numbered below zero, and need no rule.
            failed = number >= 0 and library.seccomp_rule_add(
                context, ctypes.c_uint32(action), number, 0
            )
            if failed:
                raise HostError(f"cannot filter {name}: {os.strerror(-failed)}")
        yield library, context
    finally:
        library.seccomp_release(context)
