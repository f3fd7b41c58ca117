"""What the daemon says of itself and of its host."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import msgspec

from heft.model.machine import State
from heft.weights.base import Availability


class Info(msgspec.Struct, frozen=True, kw_only=True):
    """A look at everything at once. Sizes are bytes."""

    id: str
    name: str
    """The host's name."""
    machines: dict[State, int]
    images: int
    weights: dict[str, Availability]
    default_weight: str
    remaps_users: bool = False
    """Whether machines that say nothing about it have users of their own."""
    cgroup_version: str
    cgroup_driver: str = "cgroupfs"
    root: str
    """The directory of what outlives the host's boot."""
    kernel: str
    operating_system: str
    architecture: str
    cpus: int
    memory: int


class Host(msgspec.Struct, frozen=True):
    """What of a host does not change while it runs."""

    name: str
    kernel: str
    operating_system: str
    architecture: str
    cpus: int
    memory: int
    cgroup_version: str


def look_at_host() -> Host:
    """Ask the kernel and os-release(5)."""
    unified = Path("/sys/fs/cgroup/cgroup.controllers").exists()
    return Host(
        name=platform.node(),
        kernel=platform.release(),
        operating_system=_operating_system(),
        architecture=platform.machine(),
        cpus=os.cpu_count() or 1,
        memory=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        cgroup_version="2" if unified else "1",
    )


def _operating_system() -> str:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", "Linux")
    except OSError:
        return "Linux"
