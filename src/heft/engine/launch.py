"""From a machine's record to what its weight needs to know. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from heft.engine import boots, capabilities, init_systems, kit_choice, log_config
from heft.engine.validation import upper_size
from heft.errors import InvalidArgument
from heft.model.machine import MountKind, MountPoint
from heft.weights.base import Launch, Log, Namespaces, Process, Resources, Root, Security

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from heft.model.config import HostConfig
    from heft.model.machine import Exec, Machine

MASKED_PATHS = (
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
)
"""moby, oci/defaults.go."""
READONLY_PATHS = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")

GENERATED = {"hosts": "/etc/hosts", "hostname": "/etc/hostname", "resolv.conf": "/etc/resolv.conf"}
"""Files that Heft writes for a machine, and where it sees them."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where on this host a machine is to run."""

    directory: Path
    """What belongs to the machine."""
    run: Path
    """What belongs to this run of it."""
    layers: tuple[Path, ...]
    base: Path | None
    """The layers in one file, if the weight wants that and it has been made."""
    files: Path
    """The directory of the generated files: its own, or that of the machine whose network it
    shares."""
    cgroup_parent: str
    capabilities: frozenset[str]
    """Those that can be given at all."""
    joined: Mapping[str, Machine | None]
    """The machines whose namespaces it joins, by reference; None: there is none."""
    env: tuple[str, ...] = ()
    """What it is told of the machines that it links to."""
    kit: str = ""
    """The kit that machines of its weight have if they ask for none."""
    user_namespace: str = "host"
    """The file of its user namespace."""


def build(machine: Machine, place: Place) -> Launch:
    """Give everything that a weight needs to run the machine once."""
    host = machine.host_config
    size, files = log_config.limits(host)
    return Launch(
        id=machine.id,
        name=machine.name,
        hostname=machine.config.hostname,
        domainname=machine.config.domainname,
        platform=machine.platform,
        run=place.run,
        root=Root(
            place.layers,
            place.directory / "upper",
            host.readonly_rootfs,
            base=place.base,
            size=upper_size(host),
        ),
        process=_process(machine, place),
        init=bool(host.init),
        mounts=_mounts(machine, place),
        namespaces=_namespaces(host, place),
        endpoint=machine.endpoint,
        resources=resources(host),
        security=_security(host),
        log=Log(
            place.directory / "log" if log_config.is_kept(host) else None,
            size,
            files,
            journal=host.log_config.type == "journald",
            tag=log_config.tag(machine),
        ),
        shm_size=host.shm_size,
        sysctls=host.sysctls,
        annotations=host.annotations,
        cgroup_parent=host.cgroup_parent or place.cgroup_parent,
        ids=machine.ids,
        init_system=init_systems.boots(machine),
        cold_boot=boots.is_cold(machine.config, host),
        kit=kit_choice.of(machine.config, host, place.kit),
    )


def _process(machine: Machine, place: Place) -> Process:
    config, host = machine.config, machine.host_config
    rows, columns = (*host.console_size, 0, 0)[:2]
    return Process(
        argv=machine.argv,
        env=(*place.env, *config.env),
        cwd=config.working_dir or "/",
        user=config.user,
        groups=tuple(host.group_add),
        tty=config.tty,
        stdin=config.open_stdin,
        stdin_once=config.stdin_once,
        console_size=(rows, columns),
        capabilities=capabilities.settle(
            host.cap_add,
            host.cap_drop,
            privileged=host.privileged,
            available=place.capabilities,
        ),
        no_new_privileges=_options(host)["no-new-privileges"] == "true",
        limits=tuple(host.ulimits),
        oom_score_adj=host.oom_score_adj,
    )


def exec_process(machine: Machine, request: Exec, available: frozenset[str]) -> Process:
    """Give a further process of the machine; what the request does not say is as the first's."""
    host = machine.host_config
    privileged = request.privileged or host.privileged
    return Process(
        argv=request.argv,
        env=(*machine.config.env, *request.env),
        cwd=request.workdir or machine.config.working_dir or "/",
        user=request.user or machine.config.user,
        groups=tuple(host.group_add),
        tty=request.tty,
        stdin=request.attach_stdin,
        stdin_once=True,
        console_size=request.console_size,
        capabilities=capabilities.settle(
            host.cap_add, host.cap_drop, privileged=privileged, available=available
        ),
        no_new_privileges=_options(host)["no-new-privileges"] == "true",
        limits=tuple(host.ulimits),
        oom_score_adj=host.oom_score_adj,
    )


def _mounts(machine: Machine, place: Place) -> tuple[MountPoint, ...]:
    taken = {mount.target for mount in machine.mounts}
    generated = tuple(
        MountPoint(
            kind=MountKind.BIND, source=str(place.files / name), target=target, generated=True
        )
        for name, target in GENERATED.items()
        if target not in taken
    )
    return (*generated, *machine.mounts)


def _namespaces(host: HostConfig, place: Place) -> Namespaces:
    return Namespaces(
        network=_namespace(host.network_mode, "net", place)
        if host.network_mode.partition(":")[0] in ("none", "host", "container")
        else "private",
        pid=_namespace(host.pid_mode, "pid", place),
        ipc=host.ipc_mode
        if host.ipc_mode in ("none", "shareable")
        else _namespace(host.ipc_mode, "ipc", place),
        ipc_of=_joined_id(host.ipc_mode, place),
        uts="host" if host.uts_mode == "host" else "private",
        cgroup=host.cgroupns_mode or "",
        user=place.user_namespace,
    )


def _namespace(mode: str, kind: str, place: Place) -> str:
    name, _, reference = mode.partition(":")
    if name == "container":
        other = place.joined[reference]
        return f"/proc/{other.run.pid if other and other.is_up else 0}/ns/{kind}"
    return name if name in ("host", "none") else "private"


def _joined_id(mode: str, place: Place) -> str:
    name, _, reference = mode.partition(":")
    other = place.joined[reference] if name == "container" else None
    return other.id if other is not None else ""


def resources(host: HostConfig) -> Resources:
    """Give the limits that were asked for."""
    return Resources(
        memory=host.memory,
        memory_swap=host.memory_swap,
        memory_reservation=host.memory_reservation,
        memory_swappiness=None if host.memory_swappiness in (None, -1) else host.memory_swappiness,
        nano_cpus=host.nano_cpus,
        cpu_shares=host.cpu_shares,
        cpu_period=host.cpu_period,
        cpu_quota=host.cpu_quota,
        cpuset_cpus=host.cpuset_cpus,
        cpuset_mems=host.cpuset_mems,
        pids_limit=max(host.pids_limit or 0, 0),
        oom_kill_disable=bool(host.oom_kill_disable),
        blkio_weight=host.blkio_weight,
        blkio_weight_device=tuple(host.blkio_weight_device),
        blkio_device_read_bps=tuple(host.blkio_device_read_bps),
        blkio_device_write_bps=tuple(host.blkio_device_write_bps),
        blkio_device_read_iops=tuple(host.blkio_device_read_iops),
        blkio_device_write_iops=tuple(host.blkio_device_write_iops),
    )


def _security(host: HostConfig) -> Security:
    options = _options(host)
    open_paths = host.privileged or options["systempaths"] == "unconfined"
    masked = MASKED_PATHS if host.masked_paths is None else tuple(host.masked_paths)
    readonly = READONLY_PATHS if host.readonly_paths is None else tuple(host.readonly_paths)
    labels = (option.partition("=") for option in host.security_opt)
    return Security(
        privileged=host.privileged,
        seccomp={"builtin": "default"}.get(options["seccomp"], options["seccomp"])
        or ("unconfined" if host.privileged else "default"),
        masked_paths=() if open_paths else masked,
        readonly_paths=() if open_paths else readonly,
        apparmor=options["apparmor"],
        selinux=tuple(value for name, _, value in labels if name == "label"),
        devices=tuple(host.devices),
        device_rules=tuple(host.device_cgroup_rules),
    )


def _options(host: HostConfig) -> dict[str, str]:
    return security_options(host.security_opt)


def security_options(given: list[str]) -> dict[str, str]:
    """Read `--security-opt` values (`name=value`, or `name:value` as Docker once wrote them).

    Raises `InvalidArgument` for one that is not known.
    """
    options = {"seccomp": "", "apparmor": "", "no-new-privileges": "", "systempaths": ""}
    for text in given:
        if text == "no-new-privileges":
            options[text] = "true"
            continue
        separator = "=" if "=" in text else ":"
        name, _, value = text.partition(separator)
        if name == "label" and value:
            continue
        if name not in options or not value:
            raise InvalidArgument(f'invalid --security-opt 2: "{text}"')
        options[name] = value
    return options
