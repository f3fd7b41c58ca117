"""What the kernel gives to guests with a kernel of their own: acceleration, memory, tracing."""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import shutil
import signal
from functools import partial

from heft.doctor import calls, kvm
from heft.doctor.check import (
    HEAVY,
    MEDIUM,
    OWN_KERNEL,
    Check,
    Finding,
    Host,
    Kind,
    lacking,
    there,
    unknown,
    weights,
)
from heft.doctor.child import Refused, attempt, direct

_PAGE = mmap.PAGESIZE
_MADV_MERGEABLE = 12
_PTRACE_TRACEME = 0
_RING_PARAMETERS = 120
"""`sizeof(struct io_uring_params)`."""
_EXECUTABLE_PLACE = "/dev/shm"  # noqa: S108 - what is made there has no name


def device(name: str, host: Host) -> Finding:
    """Open a device node."""

    def opened() -> str:
        try:
            os.close(os.open(host.path(name), os.O_RDWR | os.O_CLOEXEC))
        except FileNotFoundError as error:
            raise Refused(f"no {name}") from error
        return name

    return direct(opened)


def userfaultfd(host: Host) -> Finding:
    """Ask for one."""
    number = calls.USERFAULTFD.get(host.machine)
    if number is None:
        return unknown(f"not known how on {host.machine}")

    def asked() -> str:
        os.close(calls.syscall(number, os.O_CLOEXEC))
        return "given"

    return direct(asked)


def io_uring(host: Host) -> Finding:
    """Make a ring of one entry."""
    del host

    def made() -> str:
        parameters = ctypes.create_string_buffer(_RING_PARAMETERS)
        try:
            os.close(calls.syscall(calls.IO_URING_SETUP, 1, parameters))
        except OSError as error:
            if error.errno == errno.EPERM:
                raise Refused("forbidden by kernel.io_uring_disabled or a filter") from error
            raise
        return "made a ring"

    return direct(made)


def same_page_merging(host: Host) -> Finding:
    """Offer a page of a child for merging."""

    def offered() -> str:
        page = mmap.mmap(-1, _PAGE)
        calls.madvise(ctypes.addressof(ctypes.c_char.from_buffer(page)), _PAGE, _MADV_MERGEABLE)
        runs = host.text("/sys/kernel/mm/ksm/run").strip() == "1"
        return "running" if runs else "off until a machine asks for it"

    return attempt(offered)


def tracing(host: Host) -> Finding:
    """Have a child traced, as User Mode Linux does with its processes."""
    del host

    def traced() -> str:
        pid = os.fork()
        if pid == 0:
            calls.ptrace(_PTRACE_TRACEME)
            os.kill(os.getpid(), signal.SIGSTOP)
            os._exit(0)
        _, status = os.waitpid(pid, 0)
        if not os.WIFSTOPPED(status):
            raise Refused("a traced process was not stopped")
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        return "a traced child stopped"

    return attempt(traced)


def executable_memory(host: Host) -> Finding:
    """Map a nameless file of a tmpfs for execution, as User Mode Linux does with its memory."""

    def mapped() -> str:
        place = host.path(_EXECUTABLE_PLACE)
        file = os.open(place, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            os.truncate(file, _PAGE)
            everything = mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC
            mmap.mmap(file, _PAGE, mmap.MAP_SHARED, everything).close()
        finally:
            os.close(file)
        space = os.statvfs(place)
        return f"{_EXECUTABLE_PLACE}, {space.f_bavail * space.f_frsize >> 20} MiB free"

    return direct(mapped)


def xen(host: Host) -> Finding:
    """Look whether this host is a Xen domain that starts others (Documentation/ABI, sysfs)."""
    if host.text("/sys/hypervisor/type").strip() != "xen":
        return lacking("this host does not run on Xen")
    if "control_d" not in host.text("/proc/xen/capabilities"):
        return lacking("this domain is not the one that starts others")
    return there("dom0") if shutil.which("xl") else lacking("dom0, without xl")


def huge_pages(host: Host) -> Finding:
    """Look whether a guest's memory gets huge pages by itself."""
    setting = host.text("/sys/kernel/mm/transparent_hugepage/enabled")
    if not setting:
        return lacking("the kernel has none")
    chosen = setting.partition("[")[2].partition("]")[0]
    return lacking(chosen) if chosen == "never" else there(chosen)


CHECKS = (
    Check(
        name="KVM",
        kind=Kind.KERNEL,
        probe=kvm.probe,
        helps=weights(HEAVY),
        lack="code in heavy machines is translated (TCG): some 4 times slower",
        remedy="switch on virtualization in the firmware (or nested, in the host's hypervisor); "
        "modprobe kvm_intel or kvm_amd; where /dev/kvm is root's alone, chgrp kvm and chmod 660 it",
    ),
    Check(
        name="userfaultfd",
        kind=Kind.KERNEL,
        probe=userfaultfd,
        helps=weights(HEAVY),
        lack="a snapshot is read whole before its machine runs on",
        remedy="run heftd as root, or sysctl -w vm.unprivileged_userfaultfd=1",
    ),
    Check(
        name="same-page merging",
        kind=Kind.KERNEL,
        probe=same_page_merging,
        helps=OWN_KERNEL,
        lack="equal memory of guests is not shared, so fewer of them fit",
        remedy="use a kernel with CONFIG_KSM",
    ),
    Check(
        name="io_uring",
        kind=Kind.KERNEL,
        probe=io_uring,
        helps=weights(HEAVY),
        lack="disks of heavy machines are served by threads",
        remedy="sysctl -w kernel.io_uring_disabled=0",
    ),
    Check(
        name="vfio",
        kind=Kind.KERNEL,
        probe=partial(device, "/dev/vfio/vfio"),
        helps=weights(HEAVY),
        lack="no device of the host can be handed to a heavy machine",
        remedy="boot with intel_iommu=on or amd_iommu=on; modprobe vfio-pci",
    ),
    Check(
        name="transparent huge pages",
        kind=Kind.KERNEL,
        probe=huge_pages,
        helps=weights(HEAVY),
        lack="memory of heavy machines costs more address translation",
        remedy="echo madvise > /sys/kernel/mm/transparent_hugepage/enabled",
    ),
    Check(
        name="tracing",
        kind=Kind.KERNEL,
        probe=tracing,
        required=weights(MEDIUM),
        lack="User Mode Linux cannot run its processes",
        remedy="sysctl -w kernel.yama.ptrace_scope=1; allow ptrace in the container's filter",
    ),
    Check(
        name="executable shared memory",
        kind=Kind.KERNEL,
        probe=executable_memory,
        required=weights(MEDIUM),
        lack="User Mode Linux has no place for a guest's memory",
        remedy="mount -o remount,exec /dev/shm",
    ),
    Check(
        name="Xen",
        kind=Kind.KERNEL,
        probe=xen,
        helps=weights(MEDIUM),
        lack="there is no medium:xen; medium is User Mode Linux: a system call costs some 50 µs",
        remedy="nothing, if this host does not run on Xen; in its dom0: apt-get install xen-utils",
    ),
)
