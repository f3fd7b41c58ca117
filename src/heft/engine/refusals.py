"""What Docker knows and this host or Heft cannot do: refused, or warned of, beforehand.

What is wrong in itself is `heft.engine.validation`'s matter.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from heft.engine import log_config
from heft.engine.syslog import target
from heft.errors import NotSupported

if TYPE_CHECKING:
    from heft.model.config import HostConfig

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
        raise NotSupported("CPU real-time scheduling of containers is not supported")
    if host.isolation not in ("", "default"):
        raise NotSupported(f"invalid isolation: {host.isolation}: Linux has only the default")
    if host.log_config.type == "journald" and not JOURNAL.exists():
        raise NotSupported(
            "journald is not enabled on this host", hint="use the log driver json-file or local"
        )
    if host.log_config.type == log_config.SYSLOG:
        target.check_socket(target.read(host.log_config.config))
    return _left_out(host)


def _no_devices(host: HostConfig) -> NotSupported:
    asked = host.device_requests[0]
    capabilities = asked.get("Capabilities") or asked.get("capabilities") or []
    driver = asked.get("Driver") or ""
    shown = " ".join(f"[{' '.join(map(str, each))}]" for each in capabilities)
    return NotSupported(
        f'could not select device driver "{driver}" with capabilities: [{shown}]',
        hint="Heft has no drivers of GPUs: hand devices on with --device",
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
