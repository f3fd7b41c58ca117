"""Runs within a machine, by the host's Python: tries what a workload should and should not do.

Prints a JSON object: what was tried, and "ok" or the name of the errno(3) it failed with.
Linux's own numbers of system calls are those of x86-64 and, from 424 on, of all architectures.
"""

import ctypes
import errno
import json
import os
import socket
import sys
import threading
from collections.abc import Callable
from pathlib import Path

_libc = ctypes.CDLL(None, use_errno=True)

CLONE_NEWUSER = 0x10000000
CLONE_NEWNS = 0x00020000
SIGCHLD = 17
MS_REMOUNT, MS_BIND = 32, 4096
PTRACE_ATTACH = 16
AF_VSOCK, AF_ALG = 40, 38
NUMBERS = {
    "ptrace": 101, "clone": 56, "syslog": 103, "pivot_root": 155, "mount": 165, "umount2": 166,
    "swapon": 167, "reboot": 169, "sethostname": 170, "iopl": 172, "init_module": 175,
    "settimeofday": 164, "acct": 163, "mknod": 133, "personality": 135, "chroot": 161,
    "mbind": 237, "kexec_load": 246, "add_key": 248, "request_key": 249, "keyctl": 250,
    "unshare": 272, "perf_event_open": 298, "name_to_handle_at": 303, "open_by_handle_at": 304,
    "setns": 308, "finit_module": 313, "bpf": 321, "userfaultfd": 323, "open_tree": 428,
    "fsopen": 430, "clone3": 435, "pidfd_getfd": 438, "io_uring_setup": 425,
}  # fmt: skip


def call(name: str, *arguments: object) -> int:
    """Make a system call by number; raise what it fails with."""
    result: int = _libc.syscall(NUMBERS[name], *arguments)
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def child(flags: int) -> None:
    """Make a process by clone(2), and wait for it."""
    pid = call("clone", flags | SIGCHLD, 0, 0, 0, 0)
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)


def child_by_clone3() -> None:
    """Make a process in a user namespace by clone3(2), whose flags a filter cannot see."""
    arguments = CLONE_NEWUSER.to_bytes(8, sys.byteorder) + bytes(24) + SIGCHLD.to_bytes(8, "little")
    pid = call("clone3", ctypes.create_string_buffer(arguments, 88), 88)
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)


def write(path: str, text: str) -> None:
    """Write to a file that is there."""
    with open(path, "r+") as file:
        file.write(text)


def write_again(path: str) -> None:
    """Write to a file what is in it: who is not confined changes nothing of the host's either."""
    with open(path, "r+") as file:
        text = file.read()
        file.seek(0)
        file.write(text)


def opened(path: str, flags: int = os.O_RDONLY) -> None:
    """Open a file, and read a byte of it if that is what it is opened for."""
    descriptor = os.open(path, flags)
    try:
        if flags == os.O_RDONLY:
            os.read(descriptor, 1)
    finally:
        os.close(descriptor)


def block_device() -> None:
    """Make the node of the host's first disk, and read of it."""
    os.mknod("/tmp/disk", 0o60600, os.makedev(8, 0))
    opened("/tmp/disk")


def kernel_memory() -> None:
    """Make the node of /dev/kmsg, and read of it: to make one is allowed, to open it is not."""
    os.mknod("/tmp/kmsg", 0o20600, os.makedev(1, 11))
    opened("/tmp/kmsg", os.O_RDONLY | os.O_NONBLOCK)


def new_cgroup() -> None:
    """Make a cgroup, in the one hierarchy of v2 or in any of v1."""
    root = Path("/sys/fs/cgroup")
    places = [root] if (root / "cgroup.controllers").exists() else list(root.glob("*/"))
    refusals = []
    for place in places:
        try:
            (place / "escape").mkdir()
        except OSError as error:
            refusals.append(error)
    if refusals and len(refusals) == len([p for p in places if p.exists()]):
        raise refusals[0]


def masked(path: str) -> None:
    """Read something that is hidden by an empty file or directory: EPERM stands for "empty"."""
    found = os.listdir(path) if Path(path).is_dir() else Path(path).read_bytes()
    if not found:
        raise PermissionError(errno.EPERM, "empty")


def foreign_processes() -> None:
    """See a process that is not the machine's: process 1 is ours, and few are there."""
    pids = [int(name) for name in os.listdir("/proc") if name.isdigit()]
    if len(pids) < 5 and 1 in pids:
        raise PermissionError(errno.EPERM, "none")


def trace_own_child() -> None:
    """Trace a child as a debugger does."""
    pid = os.fork()
    if pid == 0:
        threading.Event().wait(5)
        os._exit(0)
    try:
        call("ptrace", PTRACE_ATTACH, pid, 0, 0)
    finally:
        os.kill(pid, 9)
        os.waitpid(pid, 0)


def thread() -> None:
    """Run a thread to its end."""
    started = threading.Thread(target=lambda: None)
    started.start()
    started.join()


def no_more_capabilities() -> None:
    """Have another capability than Docker's fourteen, in any of the sets."""
    for line in Path("/proc/self/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name in ("CapPrm", "CapEff", "CapBnd") and int(value, 16) & ~0xA80425FB:
            return
    raise PermissionError(errno.EPERM, "none")


def drop_to_nobody() -> None:
    """Become another user, in a child."""
    pid = os.fork()
    if pid == 0:
        try:
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
        except OSError as error:
            os._exit(error.errno or 1)
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if code:
        raise OSError(code, os.strerror(code))


def closed_socket(family: int, kind: int, protocol: int = 0) -> None:
    """Open a socket and close it."""
    socket.socket(family, kind, protocol).close()


TRIES: dict[str, Callable[[], object]] = {
    # what is denied
    "mount a tmpfs": lambda: call("mount", b"none", b"/tmp", b"tmpfs", 0, None),
    "mount proc": lambda: call("mount", b"proc", b"/tmp", b"proc", 0, None),
    "remount the root": lambda: call("mount", b"none", b"/sys", None, MS_REMOUNT | MS_BIND, None),
    "unmount proc": lambda: call("umount2", b"/proc/sys", 2),
    "the new mount calls": lambda: call("fsopen", b"tmpfs", 0),
    "clone a mount": lambda: call("open_tree", -100, b"/", 1),
    "pivot_root": lambda: call("pivot_root", b"/tmp", b"/tmp"),
    "user namespace": lambda: call("unshare", CLONE_NEWUSER),
    "user namespace by clone": lambda: child(CLONE_NEWUSER),
    "user namespace by clone3": child_by_clone3,
    "mount namespace": lambda: call("unshare", CLONE_NEWNS),
    "enter a namespace": lambda: call("setns", os.open("/proc/self/ns/net", os.O_RDONLY), 0),
    "add a key": lambda: call("add_key", b"user", b"name", b"x", 1, -3),
    "request a key": lambda: call("request_key", b"user", b"name", None, 0),
    "read keyrings": lambda: call("keyctl", 0, -3, 1),
    "a raw disk": block_device,
    "the kernel's log": kernel_memory,
    "the kernel's log by syslog": lambda: call("syslog", 3, ctypes.create_string_buffer(16), 16),
    "/dev/mem": lambda: opened("/dev/mem"),
    "/proc/kcore": lambda: masked("/proc/kcore"),
    "/proc/keys": lambda: masked("/proc/keys"),
    "/proc/timer_list": lambda: masked("/proc/timer_list"),
    "/sys/firmware": lambda: masked("/sys/firmware"),
    "/proc/sysrq-trigger": lambda: write("/proc/sysrq-trigger", "h"),
    "/proc/sys": lambda: write_again("/proc/sys/kernel/core_pattern"),
    "/proc/sys/vm": lambda: write("/proc/sys/vm/drop_caches", "0"),
    "/proc/irq": lambda: write("/proc/irq/default_smp_affinity", "1"),
    "/sys": lambda: write("/sys/kernel/profiling", "0"),
    "a new cgroup": new_cgroup,
    "bpf": lambda: call("bpf", 0, ctypes.create_string_buffer(128), 128),
    "perf": lambda: call("perf_event_open", ctypes.create_string_buffer(128), 0, -1, -1, 0),
    "userfaultfd": lambda: call("userfaultfd", 0),
    "io_uring": lambda: call("io_uring_setup", 1, ctypes.create_string_buffer(128)),
    "trace process 1 of the host": lambda: call("ptrace", PTRACE_ATTACH, 1 << 21, 0, 0),
    "see processes of the host": foreign_processes,
    "another process's descriptors": lambda: call("pidfd_getfd", 0, 0, 0),
    "open by handle": lambda: call(
        "open_by_handle_at", 0, ctypes.create_string_buffer(b"\x08\0\0\0\1\0\0\0", 64), 0
    ),
    "load a module": lambda: call("init_module", b"", 0, b""),
    "load a module from a file": lambda: call("finit_module", 0, b"", 0),
    "another kernel": lambda: call("kexec_load", 0, 0, None, 0),
    "swap": lambda: call("swapon", b"/tmp/swap", 0),
    "accounting": lambda: call("acct", b"/tmp/acct"),
    "reboot": lambda: call("reboot", 0xFEE1DEAD, 672274793, 0, None),
    "set the clock": lambda: call("settimeofday", ctypes.create_string_buffer(16), None),
    "set the host name": lambda: call("sethostname", b"x", 1),
    "ports of the hardware": lambda: call("iopl", 3),
    "memory policy": lambda: call("mbind", 0, 0, 0, 0, 0, 0),
    "another personality": lambda: call("personality", 0x0040000),
    "vsock": lambda: closed_socket(AF_VSOCK, socket.SOCK_STREAM),
    "more capabilities": no_more_capabilities,
    "raise a limit beyond the hard one": lambda: os.setpriority(os.PRIO_PROCESS, 0, -5),
    "files of the host": lambda: opened("/host-only"),
    "files of another machine": lambda: opened("/other-machine"),
    # what is allowed
    "a thread": thread,
    "a process": lambda: child(0),
    "a debugger": trace_own_child,
    "chroot": lambda: os.chroot("/"),
    "another user": drop_to_nobody,
    "make a device node": lambda: os.mknod("/tmp/null", 0o20600, os.makedev(1, 3)),
    "change an owner": lambda: (Path("/var/own").touch(), os.chown("/var/own", 1000, 1000)),
    "a raw socket": lambda: closed_socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP),
    "a packet socket": lambda: closed_socket(socket.AF_PACKET, socket.SOCK_RAW),
    "a low port": lambda: socket.create_server(("127.0.0.1", 80)).close(),
    "the plain personality": lambda: call("personality", 0),
    "a file's handle": lambda: call(
        "name_to_handle_at",
        -100,
        b"/dev",
        ctypes.create_string_buffer((128).to_bytes(4, sys.byteorder), 256),
        ctypes.byref(ctypes.c_int()),
        0,
    ),
    "/dev/null": lambda: opened("/dev/null", os.O_WRONLY),
    "/dev/urandom": lambda: opened("/dev/urandom"),
    "/dev/shm": lambda: Path("/dev/shm/x").write_text("x"),
    "a terminal": lambda: [os.close(descriptor) for descriptor in os.openpty()],
    "shared memory": lambda: memoryview(bytearray(1)),
    "the processor's facts": lambda: opened("/proc/cpuinfo"),
}


def tried(attempt: Callable[[], object]) -> str:
    """Try something in a process of its own, so that nothing of it stays in this one."""
    pid = os.fork()
    if pid == 0:
        code = 255
        try:
            attempt()
        except OSError as error:
            code = error.errno or 254
        else:
            code = 0
        finally:
            os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return errno.errorcode.get(code, str(code)) if code else "ok"


def main() -> None:
    """Try everything."""
    print(json.dumps({name: tried(attempt) for name, attempt in TRIES.items()}))  # noqa: T201 - its answer


if __name__ == "__main__":
    main()
