"""What Docker knows and this host or Heft cannot do: refused, or warned of, beforehand.

What is wrong in itself is `heft.engine.validation`'s matter.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from heft.engine import launch, log_config
from heft.engine.syslog import target
from heft.errors import InvalidArgument, NotSupported
from heft.model.config import HostConfig
from heft.networks import ports

if TYPE_CHECKING:
    from collections.abc import Mapping

    from heft.model.config import EndpointConfig
    from heft.model.request import Update

JOURNAL = Path("/run/systemd/journal/socket")
"""Where journald listens (systemd-journald.service(8))."""
UNIFIED = Path("/sys/fs/cgroup/cgroup.controllers")
"""There where the host has cgroup v2 alone (cgroups(7))."""


def check(host: HostConfig, *, bounds_upper: bool) -> tuple[str, ...]:
    """Raise `NotSupported` for what cannot be done here; give warnings of what is left out.

    `bounds_upper`: the machine's weight can keep its writable layer to a size.
    """
    if host.device_requests:
        raise _no_devices(host)
    if host.storage_opt and not bounds_upper:
        raise NotSupported(
            "--storage-opt is supported only where the file system has project quotas"
            f" ({', '.join(sorted(host.storage_opt))})",
            hint="a volume, or a --tmpfs with a size, is bounded; so are machines with a disk",
        )
    if host.cpu_realtime_period or host.cpu_realtime_runtime:
        raise NotSupported(
            "--cpu-rt-period, --cpu-rt-runtime: CPU real-time scheduling of containers is not"
            " supported",
            hint="leave them out: --cpu-shares and --cpus say who has how much",
        )
    if host.isolation not in ("", "default"):
        raise NotSupported(
            f"--isolation {host.isolation}: invalid isolation: Linux has only the default",
            hint="leave it out",
        )
    if host.log_config.type == "journald" and not JOURNAL.exists():
        raise NotSupported(
            "journald is not enabled on this host", hint="use the log driver json-file or local"
        )
    if host.log_config.type == log_config.SYSLOG:
        target.check_socket(target.read(host.log_config.config))
    return (*_left_out(host), *ports.left_out(host.port_bindings))


def check_endpoints(asked: Mapping[str, EndpointConfig]) -> None:
    """Raise `InvalidArgument` for addresses that no network here gives."""
    for endpoint in asked.values():
        if (given := endpoint.ipam_config) is None:
            continue
        if given.ipv6_address:
            raise InvalidArgument(
                f"--ip6 {given.ipv6_address}: the networks here have no IPv6 addresses",
                hint="leave it out; --ip gives an IPv4 address",
            )
        if given.link_local_ips:
            raise InvalidArgument(
                f"--link-local-ip {given.link_local_ips[0]}: no network here gives such addresses",
                hint="leave it out; --ip gives an address of the network",
            )


def useless(asked: HostConfig | Update, *, own_kernel: bool) -> tuple[str, ...]:
    """Give warnings of what changes nothing, where it was asked for."""
    warnings = []
    if asked.kernel_memory:
        warnings.append("--kernel-memory changes nothing: the kernel has given it up; --memory")
    if not own_kernel:
        return tuple(warnings)
    found = {
        "--memory-swap": asked.memory_swap not in (0, 2 * max(asked.memory, 0)),
        "--memory-reservation": bool(asked.memory_reservation),
    }
    if isinstance(asked, HostConfig):
        options = launch.security_options(asked.security_opt)
        found["--memory-swappiness"] = asked.memory_swappiness not in (None, -1)
        found["--userns"] = asked.userns_mode not in ("", "host")
        found["--security-opt systempaths=…"] = bool(options["systempaths"])
    return (
        *warnings,
        *(f"{name} {_USELESS[name]}" for name, is_asked in found.items() if is_asked),
    )


_USELESS = {
    "--memory-swap": "changes nothing: a machine with a kernel of its own has no swap",
    "--memory-reservation": "changes nothing: the memory of such a machine's kernel is its own",
    "--memory-swappiness": "changes nothing: a machine with a kernel of its own has no swap",
    "--userns": "changes nothing: users of a kernel of its own are nobody on the host",
    "--security-opt systempaths=…": "changes nothing: what would be hidden is its own kernel's",
}


def _no_devices(host: HostConfig) -> NotSupported:
    asked = host.device_requests[0]
    capabilities = asked.get("Capabilities") or asked.get("capabilities") or []
    driver = asked.get("Driver") or ""
    shown = " ".join(f"[{' '.join(map(str, each))}]" for each in capabilities)
    return NotSupported(
        f'could not select device driver "{driver}" with capabilities: [{shown}]',
        hint="Heft has no drivers of GPUs: leave --gpus out; --device is there at light",
    )


def _left_out(host: HostConfig) -> tuple[str, ...]:
    """Give warnings in Docker's words (moby, daemon_unix.go)."""
    warnings = []
    if host.oom_kill_disable and not host.memory:
        warnings.append(
            "OOM killer is disabled for the container, but no memory limit is set, this can result"
            " in the system running out of resources."
        )
    if not UNIFIED.exists():
        return tuple(warnings)
    if host.oom_kill_disable:
        warnings.append("Your kernel does not support OomKillDisable. OomKillDisable discarded.")
    if host.memory_swappiness not in (None, -1):
        warnings.append(
            "Your kernel does not support memory swappiness capabilities or the cgroup is not"
            " mounted. Memory swappiness discarded."
        )
    return tuple(warnings)
