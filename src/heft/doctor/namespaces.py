"""Namespaces, and the system calls by which machines are put into them and kept hold of."""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from functools import partial

from heft.doctor import calls
from heft.doctor.check import ALL, LIGHT, Check, Finding, Host, Kind, weights
from heft.doctor.child import Refused, attempt, direct

_NOBODY = 65534
_BAD_DESCRIPTOR = -1
_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _SECCOMP_MODE_FILTER = 38, 22, 2
_ALLOW_ALL = struct.pack("HBBI", 0x06, 0, 0, 0x7FFF0000)
"""One instruction of a filter: `BPF_RET | BPF_K`, SECCOMP_RET_ALLOW (seccomp(2))."""
_BUILD = "use a kernel that has it; every kernel of a distribution does"


def namespace(flag: int, host: Host) -> Finding:
    """Make one."""
    del host
    return attempt(lambda: "", unshare=flag)


def pid_namespace(host: Host) -> Finding:
    """Make one, and be process 1 in it."""
    del host

    def first() -> str:
        calls.unshare(calls.CLONE_NEWPID)
        pid = os.fork()
        if pid == 0:
            os._exit(0 if os.getpid() == 1 else 1)
        if os.waitpid(pid, 0)[1]:
            raise Refused("its first process is not process 1")
        return ""

    return attempt(first)


def user_namespace(host: Host) -> Finding:
    """Make one, and say whether an ordinary user could."""
    del host
    found = attempt(lambda: "for root", unshare=calls.CLONE_NEWUSER)

    def as_nobody() -> str:
        if os.geteuid() == 0:
            os.setgroups([])
            os.setresgid(_NOBODY, _NOBODY, _NOBODY)
            os.setresuid(_NOBODY, _NOBODY, _NOBODY)
        calls.unshare(calls.CLONE_NEWUSER)
        return "for every user"

    everyone = attempt(as_nobody)
    return everyone if everyone.state is found.state else found


def system_calls(host: Host) -> Finding:
    """Make those that Heft stands on, wrongly: any error but ENOSYS says that they are there."""
    del host
    named: dict[str, tuple[int, tuple[int | bytes, ...]]] = {
        "open_tree": (calls.OPEN_TREE, (_BAD_DESCRIPTOR, b"", 0)),
        "mount_setattr": (calls.MOUNT_SETATTR, (_BAD_DESCRIPTOR, b"", 0, b"", 0)),
        "openat2": (calls.OPENAT2, (_BAD_DESCRIPTOR, b"", b"", 0)),
        "pidfd_open": (calls.PIDFD_OPEN, (0, 0)),
    }

    def ask() -> str:
        absent = [name for name, (number, wrong) in named.items() if not _known(number, *wrong)]
        if absent:
            raise Refused(f"{', '.join(absent)} missing")
        return ", ".join(named)

    return direct(ask)


def _known(number: int, *arguments: int | bytes) -> bool:
    try:
        calls.syscall(number, *arguments)
    except OSError as error:
        return error.errno != errno.ENOSYS
    return True


def seccomp(host: Host) -> Finding:
    """Install a filter that allows everything."""
    del host

    def install() -> str:
        program = ctypes.create_string_buffer(_ALLOW_ALL)
        header = struct.pack("HxxxxxxP", 1, ctypes.addressof(program))
        buffer = ctypes.create_string_buffer(header)
        calls.prctl(_PR_SET_NO_NEW_PRIVS, 1)
        calls.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.addressof(buffer))
        return "filters"

    return attempt(install)


def _namespace(name: str, flag: int, lack: str, *, required: frozenset[str]) -> Check:
    return Check(
        name=f"{name} namespace",
        kind=Kind.KERNEL,
        probe=partial(namespace, flag),
        required=required,
        lack=lack,
        remedy=_BUILD,
    )


CHECKS = (
    _namespace(
        "mount", calls.CLONE_NEWNS, "a machine has no file tree of its own", required=weights(LIGHT)
    ),
    _namespace(
        "network",
        calls.CLONE_NEWNET,
        "a machine has no network of its own",
        required=weights(LIGHT),
    ),
    _namespace(
        "uts", calls.CLONE_NEWUTS, "a machine has no host name of its own", required=weights(LIGHT)
    ),
    _namespace("ipc", calls.CLONE_NEWIPC, "machines share System V IPC", required=weights(LIGHT)),
    Check(
        name="pid namespace",
        kind=Kind.KERNEL,
        probe=pid_namespace,
        required=weights(LIGHT),
        lack="a machine sees the host's processes",
        remedy=_BUILD,
    ),
    Check(
        name="cgroup namespace",
        kind=Kind.KERNEL,
        probe=partial(namespace, calls.CLONE_NEWCGROUP),
        helps=weights(LIGHT),
        lack="on cgroup v2, machines do not start unless with --cgroupns host",
        remedy=_BUILD,
    ),
    Check(
        name="user namespace",
        kind=Kind.KERNEL,
        probe=user_namespace,
        helps=weights(LIGHT),
        lack="root in a machine cannot be mapped to another user of the host",
        remedy="set user.max_user_namespaces and kernel.unprivileged_userns_clone with sysctl",
    ),
    Check(
        name="time namespace",
        kind=Kind.KERNEL,
        probe=partial(namespace, calls.CLONE_NEWTIME),
        helps=weights(LIGHT),
        lack="a machine's monotonic clock is the host's, wherever it was started",
        remedy="use a kernel since 5.6",
    ),
    Check(
        name="system calls",
        kind=Kind.KERNEL,
        probe=system_calls,
        required=ALL,
        lack="Heft cannot mount, open and hold on to what belongs to a machine",
        remedy="use a kernel since 5.12",
    ),
    Check(
        name="seccomp",
        kind=Kind.KERNEL,
        probe=seccomp,
        required=weights(LIGHT),
        lack="machines start with --security-opt seccomp=unconfined only, with every system call",
        remedy=_BUILD,
    ),
)
