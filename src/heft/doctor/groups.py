"""Control groups: which version is mounted, what can be limited."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import partial

from heft.doctor.check import ALL, LIGHT, Check, Finding, Host, Kind, lacking, there, weights

_ROOT = "/sys/fs/cgroup"


@dataclass(frozen=True, slots=True)
class Groups:
    """What is mounted: v1 hierarchies by controller, and where the v2 hierarchy is."""

    v1: dict[str, str]
    v2: str = ""
    v2_controllers: frozenset[str] = frozenset()

    @property
    def version(self) -> str:
        """Give the name of the layout (cgroups(7))."""
        if self.v1:
            return "hybrid" if self.v2 else "v1"
        return "v2" if self.v2 else ""

    def has(self, controller: str, v1_name: str) -> bool:
        """Say whether a controller can be used."""
        return v1_name in self.v1 if self.v1 else controller in self.v2_controllers


def groups(host: Host) -> Groups:
    """Look at the mounts under /sys/fs/cgroup."""
    v1: dict[str, str] = {}
    v2 = ""
    for line in host.text("/proc/self/mountinfo").splitlines():
        left, _, right = line.partition(" - ")
        place, (kind, _, options) = left.split()[4], right.split(" ", 2)
        if not place.startswith(_ROOT):
            continue
        if kind == "cgroup":
            v1.update(dict.fromkeys(options.split(","), place))
        elif kind == "cgroup2":
            v2 = place
    controllers = host.text(f"{v2}/cgroup.controllers").split() if v2 else []
    return Groups(v1, v2, frozenset(controllers))


def hierarchy(host: Host) -> Finding:
    """Say which layout it is, and whether groups can be made in it."""
    found = groups(host)
    if not found.version:
        return lacking("none is mounted under /sys/fs/cgroup")
    place = found.v1.get("pids") or found.v1.get("memory") or found.v2
    if not os.access(host.path(place), os.W_OK) and os.geteuid() == 0:
        return lacking(f"{place} is read-only")
    stray = (
        f", {', '.join(sorted(found.v2_controllers))} in v2"
        if found.v1 and found.v2_controllers
        else ""
    )
    return there(f"{found.version}{stray}")


def controller(name: str, v1_name: str, host: Host) -> Finding:
    """Say whether a controller is there."""
    found = groups(host)
    if not found.version:
        return lacking("no cgroups")
    return there(found.version) if found.has(name, v1_name) else lacking(f"not in {found.version}")


def devices(host: Host) -> Finding:
    """Say how devices are kept from machines: a v1 controller, or a BPF program on v2."""
    found = groups(host)
    if found.v1:
        return controller("devices", "devices", host)
    return there("by BPF") if found.v2 else lacking("no cgroups")


def swap(host: Host) -> Finding:
    """Look whether swap is accounted for, in some group below the root."""
    found = groups(host)
    if found.v1:
        name = f"{found.v1.get('memory', '')}/memory.memsw.limit_in_bytes"
        return (
            there() if host.path(name).exists() else lacking("the kernel does not account for it")
        )
    below = host.path(found.v2).glob("*/memory.swap.max") if found.v2 else iter(())
    return there() if next(below, None) else lacking("the kernel does not account for it")


def _controller(name: str, v1_name: str, lack: str) -> Check:
    return Check(
        name=f"cgroup {name}",
        kind=Kind.KERNEL,
        probe=partial(controller, name, v1_name),
        helps=ALL,
        lack=lack,
        remedy=f"mount the {v1_name} controller (v1), or boot without cgroup_disable={v1_name}",
    )


CHECKS = (
    Check(
        name="cgroups",
        kind=Kind.KERNEL,
        probe=hierarchy,
        required=weights(LIGHT),
        helps=ALL - {LIGHT},
        lack="machines cannot be limited, measured or ended as one",
        remedy="mount -t cgroup2 none /sys/fs/cgroup (systemd does)",
    ),
    _controller("memory", "memory", "--memory has no effect"),
    _controller("cpu", "cpu", "--cpus and --cpu-shares have no effect"),
    _controller("cpuset", "cpuset", "--cpuset-cpus has no effect"),
    _controller("pids", "pids", "--pids-limit has no effect: a fork bomb reaches the host"),
    _controller("io", "blkio", "--blkio-weight has no effect, and stats show no disk traffic"),
    Check(
        name="cgroup devices",
        kind=Kind.KERNEL,
        probe=devices,
        helps=weights(LIGHT),
        lack="a machine that may make device nodes can use every device",
        remedy="mount the devices controller (v1)",
    ),
    Check(
        name="swap accounting",
        kind=Kind.KERNEL,
        probe=swap,
        helps=ALL,
        lack="--memory-swap has no effect",
        remedy="boot with swapaccount=1",
    ),
)
