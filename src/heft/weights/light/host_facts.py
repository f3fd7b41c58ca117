"""What the spec of a machine depends on besides the machine: this host and this daemon.

A daemon without CAP_SYS_RESOURCE cannot give a process more than it has itself (setrlimit(2),
proc(5) on `oom_score_adj`); a kernel without swap accounting refuses limits on swap. What is asked
for is cut to what is possible, as the alternative is a machine that does not start.
"""

from __future__ import annotations

import os
import resource
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from heft.model.capabilities import ALL

if TYPE_CHECKING:
    from heft.host.cgroups import Layout

RESOURCES = {
    name.removeprefix("RLIMIT_").lower(): getattr(resource, name)
    for name in dir(resource)
    if name.startswith("RLIMIT_")
}
"""Resource limits by the names that Docker's `--ulimit` takes."""


@dataclass(frozen=True, slots=True)
class HostFacts:
    """What this daemon on this host can give to a machine."""

    machine: str
    """The architecture, and `release` the kernel, as uname(2) has them."""
    release: str
    capabilities: frozenset[str]
    """Those that this process may hand on (its bounding set)."""
    limits: dict[str, int]
    """Its own hard limits by name; -1 is unlimited."""
    oom_score_adj: int
    """The lowest that it may set without CAP_SYS_RESOURCE."""
    cgroup_version: int
    swap_limits: bool
    block_weights: bool
    apparmor: bool
    selinux: bool


def gather(layout: Layout) -> HostFacts:
    """Look at the host and at this process."""
    names = os.uname()
    return HostFacts(
        machine=names.machine,
        release=names.release,
        capabilities=_bounding(Path("/proc/self/status").read_text(encoding="utf-8")),
        limits={name: resource.getrlimit(number)[1] for name, number in RESOURCES.items()},
        oom_score_adj=int(Path("/proc/self/oom_score_adj").read_text(encoding="utf-8")),
        cgroup_version=layout.version,
        swap_limits=_has_file(layout, "memory", "memory.memsw.limit_in_bytes", "memory.swap.max"),
        block_weights=_has_file(layout, "blkio", "blkio.weight", "io.weight"),
        apparmor=_is_enabled(Path("/sys/module/apparmor/parameters/enabled"), "Y"),
        selinux=Path("/sys/fs/selinux/enforce").exists(),
    )


def _bounding(status: str) -> frozenset[str]:
    line = next(line for line in status.splitlines() if line.startswith("CapBnd:"))
    bits = int(line.split()[1], 16)
    return frozenset(name for number, name in enumerate(ALL) if bits >> number & 1)


def _has_file(layout: Layout, controller: str, v1: str, v2: str) -> bool:
    """Say whether groups have a file (on v2 the root group, of all groups, has no limits)."""
    if layout.version == 1:
        hierarchy = layout.holding(controller)
        return hierarchy is not None and (hierarchy.mount / v1).exists()
    return any(True for item in layout.hierarchies for _ in item.mount.glob(f"*/{v2}"))


def _is_enabled(path: Path, word: str) -> bool:
    try:
        return path.read_text(encoding="utf-8").startswith(word)
    except OSError:
        return False
