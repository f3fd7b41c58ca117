"""The plan of a machine as an OCI runtime reads it (OCI runtime specification 1.0, config.md).

Everything here is pure: what has to be looked up is looked up before, and comes in `Findings`.
Defaults are Docker's (moby, oci/defaults.go and daemon/oci_linux.go).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from heft.errors import InvalidArgument, NotSupported
from heft.weights.light.spec_mounts import INIT_TARGET, mounts, propagation
from heft.weights.light.spec_resources import resources

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from heft.model.config import Ulimit
    from heft.model.ids import IdRange
    from heft.weights.base import Launch, Process
    from heft.weights.light.devices import Device
    from heft.weights.light.host_facts import HostFacts
    from heft.weights.light.users import Identity

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_GROUPS = 1 << 31
"""Ids that a group can have (ip-sysctl.rst, ping_group_range)."""
_UNLIMITED = (1 << 64) - 1
_BPF_ANNOTATION = "run.oci.seccomp_bpf_data"
"""crun.1: a filter that is compiled already, in base64; it takes the place of the profile."""


@dataclass(frozen=True, slots=True)
class Findings:
    """What was looked up for one machine."""

    facts: HostFacts
    identity: Identity
    cgroup_path: str = ""
    devices: tuple[Device, ...] = ()
    init: str = ""
    """The small init on the host; empty if the machine gets none."""
    shm: str = ""
    """A directory of the host to be /dev/shm; empty: the machine's own."""
    dev: str = ""
    """A directory of the host to be /dev, with all devices; empty: the runtime makes them."""
    emulators: bool = False
    """Whether the machine has a binfmt_misc of its own."""
    seccomp: msgspec.Raw | None = None
    """`linux.seccomp`; None: no filter (or a compiled one)."""
    seccomp_compiled: str = ""
    """The same, compiled by crun before, in base64."""


def config(launch: Launch, findings: Findings) -> bytes:
    """Give config.json of the machine. Raises `InvalidArgument`."""
    annotations = dict(launch.annotations)
    if findings.seccomp_compiled:
        annotations[_BPF_ANNOTATION] = findings.seccomp_compiled
    plan: dict[str, Any] = {
        "ociVersion": "1.0.2",
        "process": process(launch, launch.process, findings),
        "root": {"path": str(launch.run / "rootfs"), "readonly": launch.root.read_only},
        "mounts": mounts(
            launch,
            init=findings.init,
            shm=findings.shm,
            dev=findings.dev,
            emulators=findings.emulators,
        ),
        "annotations": annotations,
        "linux": _linux(launch, findings),
    }
    if launch.namespaces.uts == "private":
        plan["hostname"] = launch.hostname
        if launch.ids is not None and launch.domainname:
            # It cannot set the kernel's parameter itself; runtimes of the specification 1.1 do.
            plan["domainname"] = launch.domainname
    return msgspec.json.encode(plan)


def _linux(launch: Launch, findings: Findings) -> dict[str, Any]:
    security = launch.security
    linux: dict[str, Any] = {
        "namespaces": _namespaces(launch, findings.facts),
        "cgroupsPath": findings.cgroup_path,
        "resources": resources(launch.resources, security, findings.devices, findings.facts),
        "devices": [] if findings.dev else [_device(device) for device in findings.devices],
        "sysctl": _sysctls(launch),
        "maskedPaths": security.masked_paths,
        "readonlyPaths": security.readonly_paths,
    }
    if launch.ids is not None:
        # The namespace has them already; a runtime must know whom to give terminals and pipes to.
        linux["uidMappings"] = [_mapping(each) for each in launch.ids.users]
        linux["gidMappings"] = [_mapping(each) for each in launch.ids.groups]
    if findings.seccomp is not None:
        linux["seccomp"] = findings.seccomp
    if spread := propagation(launch.mounts):
        linux["rootfsPropagation"] = spread
    return linux


def process(launch: Launch, asked: Process, findings: Findings) -> dict[str, Any]:
    """Give `process` for the workload, or for a further process of the machine."""
    facts = findings.facts
    argv: tuple[str, ...] = asked.argv
    if findings.init:
        argv = (INIT_TARGET, "--", *argv)
    capabilities = [name for name in asked.capabilities if name in facts.capabilities]
    identity = findings.identity
    plan: dict[str, Any] = {
        "terminal": asked.tty,
        "user": {
            "uid": identity.uid,
            "gid": identity.gid,
            "additionalGids": identity.groups,
        },
        "args": argv,
        "env": environment(asked, launch.hostname, identity.home),
        "cwd": asked.cwd or "/",
        "capabilities": {
            "bounding": capabilities,
            "effective": capabilities,
            "permitted": capabilities,
        },
        "rlimits": _limits(asked.limits, facts),
        "noNewPrivileges": asked.no_new_privileges,
        "oomScoreAdj": _oom_score(asked.oom_score_adj, facts),
    }
    rows, columns = asked.console_size
    if asked.tty and rows and columns:
        plan["consoleSize"] = {"height": rows, "width": columns}
    if profile := _apparmor(launch, facts):
        plan["apparmorProfile"] = profile
    if facts.selinux and (label := _selinux(launch.security.selinux)):
        plan["selinuxLabel"] = label
    return plan


def environment(asked: Process, hostname: str, home: str) -> list[str]:
    """Give the environment: what Docker adds, then what was asked for; the last of a name counts.

    A name without a value takes the variable away.
    """
    values = {"PATH": _PATH, "HOSTNAME": hostname, "HOME": home}
    if asked.tty:
        values["TERM"] = "xterm"
    for entry in asked.env:
        name, given, value = entry.partition("=")
        if given:
            values[name] = value
        else:
            values.pop(name, None)
    return [f"{name}={value}" for name, value in values.items()]


def _limits(asked: Sequence[Ulimit], facts: HostFacts) -> list[dict[str, Any]]:
    result = []
    for limit in asked:
        if limit.name not in facts.limits:
            raise InvalidArgument(f"invalid ulimit type: {limit.name}")
        most = _UNLIMITED
        if "CAP_SYS_RESOURCE" not in facts.capabilities:
            most = _number(facts.limits[limit.name])
        hard = min(_number(limit.hard), most)
        soft = min(_number(limit.soft), hard)
        result.append({"type": f"RLIMIT_{limit.name.upper()}", "hard": hard, "soft": soft})
    return result


def _number(limit: int) -> int:
    return _UNLIMITED if limit < 0 else limit


def _oom_score(asked: int, facts: HostFacts) -> int:
    may_lower = "CAP_SYS_RESOURCE" in facts.capabilities
    return asked if may_lower else max(asked, facts.oom_score_adj)


def _apparmor(launch: Launch, facts: HostFacts) -> str:
    """Give the profile's name. Raises `NotSupported` where one is asked for that cannot be."""
    asked = launch.security.apparmor
    if facts.apparmor:
        return asked
    if asked not in ("", "unconfined", "docker-default"):
        raise NotSupported(
            f"apparmor profile {asked}: AppArmor is not enabled on this host",
            hint="leave the --security-opt out",
        )
    return ""


def _selinux(options: Iterable[str]) -> str:
    """Give the process label: Docker's usual one, with the parts that options name replaced."""
    parts = {"user": "system_u", "role": "system_r", "type": "container_t", "level": "s0"}
    for option in options:
        name, _, value = option.partition(":")
        if name == "disable":
            return ""
        if name in parts:
            parts[name] = value
    return ":".join(parts.values())


def _namespaces(launch: Launch, facts: HostFacts) -> list[dict[str, str]]:
    asked = launch.namespaces
    network = asked.network
    if network == "private" and launch.endpoint is not None:
        network = launch.endpoint.namespace
    wanted = {
        "pid": asked.pid,
        "ipc": "private" if asked.ipc in ("none", "shareable") else asked.ipc,
        "uts": asked.uts,
        "mount": "private",
        "network": "private" if network == "none" else network,
        # Docker's defaults: on v1 a process in a cgroup namespace would see nothing useful.
        "user": asked.user,
        "cgroup": asked.cgroup or ("host" if facts.cgroup_version == 1 else "private"),
    }
    result = []
    for kind, how in wanted.items():
        if how == "private":
            result.append({"type": kind})
        elif how != "host":
            result.append({"type": kind, "path": how})
    return result


def _device(device: Device) -> dict[str, Any]:
    return {
        "path": device.path,
        "type": device.kind,
        "major": device.major,
        "minor": device.minor,
        "fileMode": device.mode,
        "uid": device.uid,
        "gid": device.gid,
    }


def _mapping(ids: IdRange) -> dict[str, int]:
    return {"containerID": ids.inside, "hostID": ids.outside, "size": ids.count}


def _sysctls(launch: Launch) -> dict[str, str]:
    sysctls = {}
    if launch.namespaces.network in ("private", "none"):
        sysctls["net.ipv4.ip_unprivileged_port_start"] = "0"
        groups = min(launch.ids.groups[0].count, _GROUPS) if launch.ids else _GROUPS
        sysctls["net.ipv4.ping_group_range"] = f"0 {groups - 1}"
    if launch.domainname and launch.namespaces.uts == "private" and launch.ids is None:
        sysctls["kernel.domainname"] = launch.domainname
    return sysctls | launch.sysctls
