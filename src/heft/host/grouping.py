"""Control groups that Heft makes itself, where no runtime does it, and the limits written to them.

Sources: kernel documentation, admin-guide/cgroup-v2 and admin-guide/cgroup-v1.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from heft.failures import translated
from heft.host import cgroups

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from heft.host.cgroups import Group, Hierarchy

_CONTROLLERS = ("cpu", "memory", "pids", "io", "cpuset")
_SHARES_LOW, _SHARES_HIGH = 2, 262144
_WEIGHT_HIGH = 10000


@dataclass(frozen=True, slots=True)
class Limits:
    """What the processes of a group may use at most; 0 is no limit."""

    memory: int = 0
    """Bytes."""
    pids: int = 0
    cpu_quota: int = 0
    """Microseconds in every `cpu_period`."""
    cpu_period: int = 100_000
    cpu_shares: int = 0
    """v1's measure: 1024 is the usual part."""
    cpus: str = ""
    """Processors that they run on, as a list: `0-2,4`."""
    mems: str = ""
    """Nodes of memory that they are given pages of, as a list."""


def settings(limits: Limits, version: int) -> tuple[tuple[str, str, str], ...]:
    """Give the files to write: controller, name, value. Pure."""
    old = version == 1
    found: list[tuple[str, str, str]] = []
    if limits.memory:
        name = "memory.limit_in_bytes" if old else "memory.max"
        found.append(("memory", name, str(limits.memory)))
    if limits.pids:
        found.append(("pids", "pids.max", str(limits.pids)))
    if limits.cpu_quota and old:
        found.append(("cpu", "cpu.cfs_period_us", str(limits.cpu_period)))
        found.append(("cpu", "cpu.cfs_quota_us", str(limits.cpu_quota)))
    elif limits.cpu_quota:
        found.append(("cpu", "cpu.max", f"{limits.cpu_quota} {limits.cpu_period}"))
    if limits.cpu_shares and old:
        found.append(("cpu", "cpu.shares", str(limits.cpu_shares)))
    elif limits.cpu_shares:
        shares = min(max(limits.cpu_shares, _SHARES_LOW), _SHARES_HIGH)
        weight = 1 + (shares - _SHARES_LOW) * (_WEIGHT_HIGH - 1) // (_SHARES_HIGH - _SHARES_LOW)
        found.append(("cpu", "cpu.weight", str(weight)))
    if limits.cpus:
        found.append(("cpuset", "cpuset.cpus", limits.cpus))
    if limits.mems:
        found.append(("cpuset", "cpuset.mems", limits.mems))
    return tuple(found)


def make(group: Group, limits: Limits) -> None:
    """Make a group in every hierarchy, with limits; harmless when repeated. Blocks briefly.

    Raises `HostError` where the host does not take a limit.
    """
    with translated(f"make the cgroup {group.path}"):
        for hierarchy in group.layout.hierarchies:
            sets = "cpuset" in hierarchy.controllers
            if hierarchy.unified or not sets or limits.cpus or limits.mems:
                _make_directory(hierarchy, group.path)
    adjust(group, limits)


def move(pids: Iterable[int], group: Group) -> None:
    """Move processes into a group that there is; no harm if one has ended. Raises `HostError`.

    Those in it already, or in groups under it, stay where they are: a move costs the kernel some
    milliseconds, for which the processes stand still.
    """
    wanted = tuple(pids)
    for directory in group.directories():
        inside = cgroups.members((directory,))
        for pid in wanted:
            if pid in inside:
                continue
            with (
                translated(f"move a process into {directory}"),
                contextlib.suppress(ProcessLookupError),
            ):
                (directory / "cgroup.procs").write_text(str(pid))


def adjust(group: Group, limits: Limits) -> None:
    """Hold a group to other limits. Raises `HostError` where the host does not take one."""
    for controller, name, value in settings(limits, group.layout.version):
        directory = group.directory(controller)
        if directory is not None and directory.is_dir():
            with translated(f"set {name} of {group.path} to {value}"):
                (directory / name).write_text(value)


def _make_directory(hierarchy: Hierarchy, path: str) -> None:
    place = hierarchy.mount
    for word in path.strip("/").split("/"):
        if hierarchy.unified:
            _delegate(place)
        parent, place = place, place / word
        place.mkdir(exist_ok=True)
        if not hierarchy.unified and "cpuset" in hierarchy.controllers:
            for name in ("cpuset.cpus", "cpuset.mems"):
                if not (place / name).read_text().strip():
                    (place / name).write_text((parent / name).read_text())


def _delegate(directory: Path) -> None:
    """Let groups under one have controllers, as far as it has them itself."""
    for name in _CONTROLLERS:
        with contextlib.suppress(OSError):
            (directory / "cgroup.subtree_control").write_text(f"+{name}")
