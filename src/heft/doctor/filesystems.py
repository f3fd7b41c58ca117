"""File systems that machines' roots are made of."""

from __future__ import annotations

import os
from functools import partial

from heft.doctor import calls
from heft.doctor.check import (
    FOREIGN,
    LIGHT,
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

_OVERLAY_OPTIONS = "index=off,redirect_dir=off,metacopy=off"
_NOT_AN_UPPER = ("overlay", "nfs", "nfs4", "fuse", "vfat", "exfat", "9p", "virtiofs", "tmpfs")
"""What overlayfs refuses as the place of an upper, or what a machine's files would not outlive."""


def overlay(host: Host) -> Finding:
    """Join two directories on a tmpfs, write through the join, and hide a file by a whiteout."""
    del host

    def join() -> str:
        calls.mount("tmpfs", "/tmp", "tmpfs")  # noqa: S108 - in a mount namespace of its own
        os.chdir("/tmp")  # noqa: S108 - as above
        for name in ("lower", "upper", "work", "root"):
            os.mkdir(name)
        with open("lower/old", "w", encoding="utf-8"):
            pass
        places = "lowerdir=lower,upperdir=upper,workdir=work"
        calls.mount("overlay", "root", "overlay", 0, f"{places},{_OVERLAY_OPTIONS}")
        os.unlink("root/old")
        if os.lstat("upper/old").st_rdev != 0:
            raise Refused("a removed file left no whiteout")
        return "joined, written, hidden"

    return attempt(join, unshare=calls.CLONE_NEWNS)


def registered(kind: str, host: Host) -> Finding:
    """Look whether the kernel has the file system, or a module for it."""
    names = [line.split()[-1] for line in host.text("/proc/filesystems").splitlines() if line]
    if kind in names:
        return there("in the kernel")
    modules = host.text(f"/lib/modules/{host.release}/modules.dep")
    if any(
        line.partition(":")[0].split("/")[-1].startswith(f"{kind}.ko")
        for line in modules.splitlines()
    ):
        return there("as a module")
    return lacking("neither in the kernel nor as a module")


def data_directory(host: Host) -> Finding:
    """Look on what file system the data is (or will be)."""
    path = host.path(host.data)
    while not path.exists():
        path = path.parent
    kind = mounted_kind(host.text("/proc/self/mountinfo"), os.stat(path).st_dev)
    if not kind:
        return unknown(f"the file system of {host.data} is not in mountinfo")
    if kind.startswith(_NOT_AN_UPPER):
        return lacking(f"{host.data} is on {kind}")
    return there(f"{host.data} is on {kind}")


def mounted_kind(mountinfo: str, device: int) -> str:
    """Find the kind of the file system with a device number in the text of mountinfo (proc(5))."""
    wanted = f"{os.major(device)}:{os.minor(device)}"
    for line in mountinfo.splitlines():
        left, _, right = line.partition(" - ")
        if left.split()[2] == wanted:
            return right.split()[0]
    return ""


def binfmt_misc(host: Host) -> Finding:
    """Mount it, where nobody else sees it."""
    del host

    def mounted() -> str:
        calls.mount("binfmt_misc", "/tmp", "binfmt_misc")  # noqa: S108 - as above
        with open("/tmp/status", encoding="ascii") as file:  # noqa: S108 - as above
            status = file.read().strip()
        if status != "enabled":
            raise Refused(status)
        return status

    return attempt(mounted, unshare=calls.CLONE_NEWNS)


def loop(host: Host) -> Finding:
    """Open the door to loop devices."""

    def opened() -> str:
        os.close(os.open(host.path("/dev/loop-control"), os.O_RDWR | os.O_CLOEXEC))
        return "/dev/loop-control"

    return direct(opened)


CHECKS = (
    Check(
        name="overlayfs",
        kind=Kind.KERNEL,
        probe=overlay,
        required=weights(LIGHT),
        lack="a machine has no writable layer over its image",
        remedy="modprobe overlay, or use a kernel that has it",
    ),
    Check(
        name="place of the data",
        kind=Kind.FILE,
        probe=data_directory,
        required=weights(LIGHT),
        lack="overlayfs takes no writable layer there",
        remedy="put /var/lib/heft on ext4, xfs or btrfs, or start heftd with --data elsewhere",
    ),
    Check(
        name="erofs",
        kind=Kind.KERNEL,
        probe=partial(registered, "erofs"),
        helps=weights(LIGHT),
        lack="the merged base of an image can be read by guests, but not mounted on the host",
        remedy="modprobe erofs, or use a kernel that has it",
    ),
    Check(
        name="loop devices",
        kind=Kind.KERNEL,
        probe=loop,
        helps=OWN_KERNEL | {LIGHT},
        lack="a disk image cannot be mounted on the host: changing a machine's weight copies it",
        remedy="modprobe loop",
    ),
    Check(
        name="binfmt_misc",
        kind=Kind.KERNEL,
        probe=binfmt_misc,
        required=weights(FOREIGN),
        lack="programs of another architecture cannot be executed on this kernel",
        remedy="modprobe binfmt_misc; or run foreign machines at the heavy weight",
    ),
)
