"""Rights and limits: of a process of heftd's, and of the kernel."""

from __future__ import annotations

import os
import resource
from functools import partial

from heft.doctor.check import (
    ALL,
    HEAVY,
    LIGHT,
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

_CAPABILITIES = {
    0: "CHOWN",
    1: "DAC_OVERRIDE",
    12: "NET_ADMIN",
    13: "NET_RAW",
    18: "SYS_CHROOT",
    19: "SYS_PTRACE",
    21: "SYS_ADMIN",
    27: "MKNOD",
    31: "SETFCAP",
}
"""Those that heftd cannot do without, by number (linux/capability.h)."""
_SYS_RESOURCE = 24
_DOCKER_DEFAULT = (*(0, 1, 3, 4, 5, 6, 7, 8, 10, 13, 18, 27, 29, 31),)
"""Docker's 14 capabilities of a machine."""
_GIB = 1 << 30


def capability_set(host: Host, name: str = "CapEff") -> int:
    """Read a set of this process's capabilities (proc(5), `status`)."""
    for line in host.text("/proc/self/status").splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1], 16)
    return 0


def capabilities(host: Host) -> Finding:
    """Look for those that heftd needs."""
    held = capability_set(host)
    if not held:
        return unknown("run as root: heftd does")
    absent = [name for number, name in _CAPABILITIES.items() if not held >> number & 1]
    return lacking(f"no CAP_{', CAP_'.join(absent)}") if absent else there("all that heftd needs")


def granted(host: Host) -> Finding:
    """Look whether a machine can be given what Docker gives it."""
    bounding = capability_set(host, "CapBnd")
    absent = [number for number in _DOCKER_DEFAULT if not bounding >> number & 1]
    return lacking(f"{len(absent)} of 14 cannot be given") if absent else there("all 14")


def raising(host: Host) -> Finding:
    """Look for CAP_SYS_RESOURCE."""
    held = capability_set(host)
    if not held:
        return unknown("run as root: heftd does")
    return (
        there("CAP_SYS_RESOURCE") if held >> _SYS_RESOURCE & 1 else lacking("no CAP_SYS_RESOURCE")
    )


def hard_limit(number: int, enough: int, host: Host) -> Finding:
    """Compare a hard limit of this process with what is enough (getrlimit(2))."""
    del host
    hard = resource.getrlimit(number)[1]
    if hard == resource.RLIM_INFINITY:
        return there("unlimited")
    return there(str(hard)) if hard >= enough else lacking(f"{hard}; {enough} would do")


def parameter(name: str, enough: int, host: Host) -> Finding:
    """Compare a kernel parameter with what is enough; one that is not there limits nothing."""
    text = host.text(f"/proc/sys/{name.replace('.', '/')}").strip()
    if not text:
        return there("no such limit")
    return there(text) if int(text) >= enough else lacking(f"{text}; {enough} would do")


def overcommit(host: Host) -> Finding:
    """Look whether memory that is mapped but not used counts (mode 2 of vm.overcommit_memory)."""
    mode = host.text("/proc/sys/vm/overcommit_memory").strip()
    return lacking("mode 2, strict") if mode == "2" else there(f"mode {mode}")


def memory(enough: int, host: Host) -> Finding:
    """Compare the memory that is available with what is enough."""
    for line in host.text("/proc/meminfo").splitlines():
        if line.startswith("MemAvailable:"):
            size = int(line.split()[1]) * 1024
            shown = f"{size / _GIB:.1f} GiB available"
            return there(shown) if size >= enough else lacking(shown)
    return unknown("no MemAvailable in /proc/meminfo")


def disk(enough: int, host: Host) -> Finding:
    """Compare the room for data with what is enough."""
    path = host.path(host.data)
    while not path.exists():
        path = path.parent
    space = os.statvfs(path)
    size = space.f_bavail * space.f_frsize
    shown = f"{size / _GIB:.1f} GiB free"
    return there(shown) if size >= enough else lacking(shown)


def _parameter(name: str, enough: int, helps: frozenset[str], lack: str) -> Check:
    return Check(
        name=name,
        kind=Kind.LIMIT,
        probe=partial(parameter, name, enough),
        helps=helps,
        lack=lack,
        remedy=f"sysctl -w {name}={enough}",
    )


def _hard_limit(name: str, enough: int, lack: str) -> Check:
    return Check(
        name=f"hard limit {name}",
        kind=Kind.LIMIT,
        probe=partial(hard_limit, getattr(resource, f"RLIMIT_{name.upper()}"), enough),
        helps=ALL,
        lack=lack,
        remedy=f"start heftd with a higher one (Limit{name.upper()}= of systemd, ulimit -H)",
    )


_guests = OWN_KERNEL
_light = weights(LIGHT)

CHECKS = (
    Check(
        name="capabilities",
        kind=Kind.LIMIT,
        probe=capabilities,
        required=ALL,
        lack="heftd cannot make mounts, links, devices and owners of files",
        remedy="run heftd as root, outside of an unprivileged container",
    ),
    Check(
        name="capabilities for machines",
        kind=Kind.LIMIT,
        probe=granted,
        helps=_light,
        lack="programs that count on Docker's default set may fail",
        remedy="run heftd with the full bounding set",
    ),
    Check(
        name="raising of limits",
        kind=Kind.LIMIT,
        probe=raising,
        helps=_light,
        lack="--ulimit and --oom-score-adj are cut to heftd's own hard limits",
        remedy="run heftd with CAP_SYS_RESOURCE",
    ),
    _hard_limit("nofile", 65536, "a host of some thousand machines needs more open files"),
    _hard_limit("nproc", 65536, "machines together cannot have more processes"),
    Check(
        name="hard limit memlock",
        kind=Kind.LIMIT,
        probe=partial(hard_limit, resource.RLIMIT_MEMLOCK, 64 << 20),
        helps=weights(HEAVY),
        lack="devices cannot be handed to heavy machines, nor their memory be locked",
        remedy="start heftd with a higher one (LimitMEMLOCK= of systemd)",
    ),
    _parameter("kernel.pid_max", 131072, ALL, "all machines together have that many processes"),
    _parameter("kernel.threads-max", 65536, ALL, "all machines together have that many threads"),
    _parameter("fs.file-max", 1 << 20, ALL, "all machines together have that many open files"),
    _parameter(
        "fs.inotify.max_user_instances",
        1024,
        _light,
        "some ten machines that run systemd use it up",
    ),
    _parameter(
        "fs.inotify.max_user_watches", 65536, _light, "tools that watch files fail in machines"
    ),
    _parameter(
        "kernel.keys.maxkeys", 200, _light, "machines with a user of their own fail to start"
    ),
    _parameter("kernel.keys.root_maxkeys", 10000, _light, "a keyring a machine: no more machines"),
    _parameter("user.max_mnt_namespaces", 4096, _light, "that many machines and execs at once"),
    _parameter("user.max_net_namespaces", 4096, _light, "that many machines at once"),
    _parameter(
        "net.ipv4.neigh.default.gc_thresh3",
        4096,
        ALL,
        "more machines than that on a network lose sight of each other",
    ),
    _parameter(
        "vm.max_map_count", 262144, weights(MEDIUM), "a guest with much memory in use is killed"
    ),
    Check(
        name="vm.overcommit_memory",
        kind=Kind.LIMIT,
        probe=overcommit,
        helps=_guests,
        lack="the memory of each guest counts in full, though most of it is shared or unused",
        remedy="sysctl -w vm.overcommit_memory=0",
    ),
    Check(
        name="memory",
        kind=Kind.LIMIT,
        probe=partial(memory, _GIB // 2),
        helps=ALL,
        lack="there is hardly room for machines",
        remedy="end what uses it, or add some",
    ),
    Check(
        name="disk",
        kind=Kind.LIMIT,
        probe=partial(disk, 2 * _GIB),
        helps=ALL,
        lack="there is hardly room for images",
        remedy="free some, or start heftd with --data elsewhere",
    ),
)
