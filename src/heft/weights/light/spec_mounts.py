"""The mounts of a machine: `mounts` of the OCI runtime specification (config.md, Mounts).

The file systems that every machine has are Docker's (moby, oci/defaults.go).
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from heft.host.emulators import KIND, REGISTRY
from heft.model.machine import MountKind

if TYPE_CHECKING:
    from collections.abc import Iterable

    from heft.model.machine import MountPoint
    from heft.weights.base import Launch

INIT_TARGET = "/dev/init"
"""Where the small init is shown: on the machine's own /dev, so that nothing of it gets into the
image's tree, and it is there where the root is read-only."""

_SHARED = ("shared", "rshared")
_SLAVE = ("slave", "rslave")
_TMPFS_DEFAULTS = (("nosuid", "suid"), ("nodev", "dev"), ("noexec", "exec"))


def mounts(
    launch: Launch, *, init: str, shm: str, dev: str = "", emulators: bool = False
) -> list[dict[str, Any]]:
    """Give all mounts in the order in which to make them.

    `init` is the program to show at `INIT_TARGET` (empty: none), `shm` a directory to be /dev/shm
    (empty: one of its own), `dev` one to be /dev (empty: the runtime makes it); `emulators` says
    whether it has a binfmt_misc of its own.
    """
    asked = [mount_point(point) for point in launch.mounts]
    taken = {mount["destination"].rstrip("/") for mount in asked}
    result = [
        mount
        for mount in _standard(launch, shm, dev)
        if mount["destination"] not in taken
        and not ("/dev" in taken and mount["destination"].startswith("/dev/"))
    ]
    if emulators:
        place = str(REGISTRY)
        result.append(_mount(place, KIND, KIND, "nosuid", "noexec", "nodev"))
    if init:
        result.append(_mount(INIT_TARGET, "bind", init, "bind", "ro", "nosuid", "nodev"))
    return result + asked


def propagation(points: Iterable[MountPoint]) -> str:
    """Give the propagation that the root needs for these mounts; empty: the default."""
    kinds = {point.propagation for point in points}
    if not kinds.isdisjoint(_SHARED):
        return "shared"
    return "rslave" if not kinds.isdisjoint(_SLAVE) else ""


def _mount(target: str, kind: str, source: str, *options: str) -> dict[str, Any]:
    return {"destination": target, "type": kind, "source": source, "options": options}


def _standard(launch: Launch, shm: str, dev: str) -> Iterable[dict[str, Any]]:
    plain = ("nosuid", "noexec", "nodev")
    access = "rw" if launch.security.privileged else "ro"
    yield _mount("/proc", "proc", "proc", *plain)
    if dev:
        yield _mount("/dev", "bind", dev, "rbind", "nosuid", "noexec", "rprivate")
    else:
        yield _mount("/dev", "tmpfs", "tmpfs", "nosuid", "strictatime", "mode=755", "size=65536k")
    terminal = ("newinstance", "ptmxmode=0666", "mode=0620", "gid=5")
    yield _mount("/dev/pts", "devpts", "devpts", "nosuid", "noexec", *terminal)
    if launch.namespaces.network == "host":
        # sysfs shows the network namespace it is mounted from; only the host may mount that one.
        yield _mount("/sys", "bind", "/sys", "rbind", *plain, access)
    else:
        yield _mount("/sys", "sysfs", "sysfs", *plain, access)
    yield _mount("/sys/fs/cgroup", "cgroup", "cgroup", *plain, "relatime", access)
    # It shows the queues of the IPC namespace, whosever that is.
    if launch.ids is not None and launch.namespaces.ipc == "host":
        # Only the host's root may mount what is its own; it may not have done so.
        if os.path.isdir("/dev/mqueue"):
            yield _mount("/dev/mqueue", "bind", "/dev/mqueue", "bind", *plain)
    else:
        yield _mount("/dev/mqueue", "mqueue", "mqueue", *plain)
    if launch.namespaces.ipc == "none":
        return
    if launch.namespaces.ipc == "host" or shm:
        yield _mount("/dev/shm", "bind", shm or "/dev/shm", "rbind", *plain)  # noqa: S108 - the machine's
    else:
        size = f"size={launch.shm_size}"
        yield _mount("/dev/shm", "tmpfs", "shm", *plain, "mode=1777", size)  # noqa: S108 - the machine's


def mount_point(point: MountPoint) -> dict[str, Any]:
    """Turn one mount of the user's into the runtime's form."""
    if point.kind is MountKind.TMPFS:
        return _mount(point.target, "tmpfs", "tmpfs", *_tmpfs_options(point))
    access = _read_only(point) if point.read_only else ("rw",)
    spread = point.propagation or "rprivate"
    if not point.recursive:
        # An option that says "all below" would make crun show all below.
        return _mount(point.target, "bind", point.source, "bind", access[0], spread.lstrip("r"))
    shown = ("rbind", *access, spread)
    return _mount(point.target, "bind", point.source, *shown)


def _read_only(point: MountPoint) -> tuple[str, ...]:
    """Give the options under which what is mounted below is read-only too, if that is wanted.

    `rro` is mount_setattr(2) of Linux 5.12. Below a file nothing is mounted, and crun before 1.15
    takes `rro` for the word of a directory (containers/crun#1421).
    """
    is_file = os.path.exists(point.source) and not os.path.isdir(point.source)
    return ("ro",) if is_file or not point.read_only_below else ("ro", "rro")


def _tmpfs_options(point: MountPoint) -> list[str]:
    defaults = [no for no, yes in _TMPFS_DEFAULTS if yes not in point.options]
    options = dict.fromkeys((*defaults, *point.options))
    if point.read_only:
        options["ro"] = None
    return list(options)
