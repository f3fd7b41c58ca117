"""System calls that a thread, and what it starts, cannot make any more (seccomp(2), libseccomp)."""

from __future__ import annotations

import ctypes
import errno
import functools
import os

from heft.errors import HostError, NotSupported

LIBRARY = "libseccomp.so.2"
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
    _filter(_ALLOW, _ERRNO | errno.EPERM, names)


def allow_only(names: tuple[str, ...]) -> None:
    """Let all calls but these fail with EPERM; otherwise as `deny`."""
    _filter(_ERRNO | errno.EPERM, _ALLOW, names)


def _filter(usually: int, action: int, names: tuple[str, ...]) -> None:
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
        if failed := library.seccomp_load(context):
            raise HostError(f"cannot filter system calls: {os.strerror(-failed)}")
    finally:
        library.seccomp_release(context)
