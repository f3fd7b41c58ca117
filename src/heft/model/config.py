"""What a user asks of a machine, in the words of the Docker Engine API.

The fields have Docker's names on the wire (docs.docker.com/reference/api/engine, `ContainerConfig`
and `HostConfig`) because that is the vocabulary everybody's tools speak; in Python they are snake
case. Sizes are bytes, times nanoseconds unless a field says otherwise. A field that is `null` on
the wire is the same as one that is absent.
"""

from __future__ import annotations

from typing import Any

import msgspec

_IRREGULAR = {
    "blkio_device_read_iops": "BlkioDeviceReadIOps",
    "blkio_device_write_iops": "BlkioDeviceWriteIOps",
    "container_id_file": "ContainerIDFile",
    "ipam_config": "IPAMConfig",
    "ipv4_address": "IPv4Address",
    "ipv6_address": "IPv6Address",
    "link_local_ips": "LinkLocalIPs",
    "uts_mode": "UTSMode",
}


def wire_name(field: str) -> str:
    """Give the name that Docker's API has for a field: `nano_cpus` is `NanoCpus`."""
    return _IRREGULAR.get(field) or "".join(part.capitalize() for part in field.split("_"))


class Wire(msgspec.Struct, rename=wire_name, kw_only=True, frozen=True):
    """A value with Docker's names on the wire."""


class HealthConfig(Wire, frozen=True, kw_only=True):
    """A health check; times in nanoseconds, 0 is the default."""

    test: list[str] = []
    interval: int = 0
    timeout: int = 0
    start_period: int = 0
    start_interval: int = 0
    retries: int = 0


class Config(Wire, frozen=True, kw_only=True):
    """What does not depend on the host: the image's own settings, and the user's over them."""

    hostname: str = ""
    domainname: str = ""
    user: str = ""
    attach_stdin: bool = False
    attach_stdout: bool = False
    attach_stderr: bool = False
    exposed_ports: dict[str, dict[str, Any]] = {}
    tty: bool = False
    open_stdin: bool = False
    stdin_once: bool = False
    env: list[str] = []
    cmd: list[str] | None = None
    healthcheck: HealthConfig | None = None
    image: str = ""
    volumes: dict[str, dict[str, Any]] = {}
    working_dir: str = ""
    entrypoint: list[str] | None = None
    network_disabled: bool = False
    on_build: list[str] = []
    labels: dict[str, str] = {}
    stop_signal: str = ""
    stop_timeout: int | None = None
    """Seconds."""
    shell: list[str] | None = None


class PortBinding(Wire, frozen=True, kw_only=True):
    """One address and port of the host; the port is a number, a range, or empty for any free."""

    host_ip: str = ""
    host_port: str = ""


class RestartPolicy(Wire, frozen=True, kw_only=True):
    """When a machine that ended is started again."""

    name: str = ""
    """`no`, `always`, `on-failure`, `unless-stopped`; empty is `no`."""
    maximum_retry_count: int = 0


class LogConfig(Wire, frozen=True, kw_only=True):
    """Where output is kept; options are Docker's (`max-size`, `max-file`)."""

    type: str = ""
    config: dict[str, str] = {}


class DeviceMapping(Wire, frozen=True, kw_only=True):
    """A device of the host to be there in the machine; permissions of `r`, `w`, `m`."""

    path_on_host: str = ""
    path_in_container: str = ""
    cgroup_permissions: str = ""


class Ulimit(Wire, frozen=True, kw_only=True):
    """A resource limit (getrlimit(2)); -1 is unlimited."""

    name: str = ""
    soft: int = 0
    hard: int = 0


class ThrottleDevice(Wire, frozen=True, kw_only=True):
    """A rate for one block device, in bytes or operations a second."""

    path: str = ""
    rate: int = 0


class WeightDevice(Wire, frozen=True, kw_only=True):
    """A relative weight (10 to 1000) for one block device."""

    path: str = ""
    weight: int = 0


class BindOptions(Wire, frozen=True, kw_only=True):
    """How a bind mount is made."""

    propagation: str = ""
    non_recursive: bool = False
    create_mountpoint: bool = False
    read_only_non_recursive: bool = False
    read_only_force_recursive: bool = False


class VolumeDriver(Wire, frozen=True, kw_only=True):
    """The driver of a volume that a mount makes."""

    name: str = ""
    options: dict[str, str] = {}


class VolumeOptions(Wire, frozen=True, kw_only=True):
    """How a volume is mounted."""

    no_copy: bool = False
    labels: dict[str, str] = {}
    driver_config: VolumeDriver | None = None
    subpath: str = ""


class TmpfsOptions(Wire, frozen=True, kw_only=True):
    """Size in bytes, mode as a number."""

    size_bytes: int = 0
    mode: int = 0
    options: list[list[str]] = []


class Mount(Wire, frozen=True, kw_only=True):
    """A mount in the long syntax (`--mount`)."""

    type: str = ""
    source: str = ""
    target: str = ""
    read_only: bool = False
    consistency: str = ""
    bind_options: BindOptions | None = None
    volume_options: VolumeOptions | None = None
    tmpfs_options: TmpfsOptions | None = None


class HostConfig(Wire, frozen=True, kw_only=True):
    """What depends on the host: limits, mounts, networks, rights."""

    binds: list[str] = []
    container_id_file: str = ""
    log_config: LogConfig = LogConfig()
    network_mode: str = ""
    port_bindings: dict[str, list[PortBinding] | None] = {}
    restart_policy: RestartPolicy = RestartPolicy()
    auto_remove: bool = False
    volume_driver: str = ""
    volumes_from: list[str] = []
    console_size: list[int] = []
    """Rows and columns of the terminal at start; empty is unknown."""
    annotations: dict[str, str] = {}
    cap_add: list[str] = []
    cap_drop: list[str] = []
    cgroupns_mode: str = ""
    dns: list[str] = []
    dns_options: list[str] = []
    dns_search: list[str] = []
    extra_hosts: list[str] = []
    group_add: list[str] = []
    ipc_mode: str = ""
    cgroup: str = ""
    links: list[str] = []
    oom_score_adj: int = 0
    pid_mode: str = ""
    privileged: bool = False
    publish_all_ports: bool = False
    readonly_rootfs: bool = False
    security_opt: list[str] = []
    storage_opt: dict[str, str] = {}
    tmpfs: dict[str, str] = {}
    uts_mode: str = ""
    userns_mode: str = ""
    shm_size: int = 0
    sysctls: dict[str, str] = {}
    runtime: str = ""
    """The weight: `light`, `medium`, `heavy`, or empty for light."""
    isolation: str = ""
    cpu_shares: int = 0
    memory: int = 0
    nano_cpus: int = 0
    """CPUs in units of 1e-9."""
    cgroup_parent: str = ""
    blkio_weight: int = 0
    blkio_weight_device: list[WeightDevice] = []
    blkio_device_read_bps: list[ThrottleDevice] = []
    blkio_device_write_bps: list[ThrottleDevice] = []
    blkio_device_read_iops: list[ThrottleDevice] = []
    blkio_device_write_iops: list[ThrottleDevice] = []
    cpu_period: int = 0
    """Microseconds."""
    cpu_quota: int = 0
    """Microseconds."""
    cpu_realtime_period: int = 0
    cpu_realtime_runtime: int = 0
    cpuset_cpus: str = ""
    cpuset_mems: str = ""
    devices: list[DeviceMapping] = []
    device_cgroup_rules: list[str] = []
    device_requests: list[dict[str, Any]] = []
    kernel_memory: int = 0
    """Bytes; nothing is limited by it: the kernel has given it up."""
    memory_reservation: int = 0
    memory_swap: int = 0
    """Memory and swap together; 0 is twice the memory, -1 is unlimited."""
    memory_swappiness: int | None = None
    oom_kill_disable: bool | None = None
    pids_limit: int | None = None
    """0 and -1 are unlimited."""
    ulimits: list[Ulimit] = []
    mounts: list[Mount] = []
    masked_paths: list[str] | None = None
    readonly_paths: list[str] | None = None
    init: bool | None = None


class EndpointIPAM(Wire, frozen=True, kw_only=True):
    """Addresses asked for on a network."""

    ipv4_address: str = ""
    ipv6_address: str = ""
    link_local_ips: list[str] = []


class EndpointConfig(Wire, frozen=True, kw_only=True):
    """What a user asks of a machine's place on one network."""

    ipam_config: EndpointIPAM | None = None
    links: list[str] = []
    aliases: list[str] = []
    mac_address: str = ""
    driver_opts: dict[str, str] = {}
