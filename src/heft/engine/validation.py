"""What of a request is refused before anything is made, in Docker's words. Pure."""

from __future__ import annotations

import os
import re
import signal
from typing import TYPE_CHECKING

from heft.engine import log_config
from heft.engine.sizes import parse_size
from heft.errors import InvalidArgument
from heft.networks.ports import requested_ports

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from heft.model.config import Config, EndpointConfig, HostConfig, RestartPolicy

LEAST_MEMORY = 6 * 1024 * 1024
"""Bytes (moby, daemon_unix.go, `linuxMinMemory`)."""
LEAST_SHARES, MOST_SHARES = 2, 262144
LEAST_BLKIO, MOST_BLKIO = 10, 1000
_MAC = re.compile("[0-9A-Fa-f]{2}(?::[0-9A-Fa-f]{2}){5}")
ULIMITS = frozenset(
    (
        "core cpu data fsize locks memlock msgqueue nice nofile nproc rss rtprio rttime "
        "sigpending stack"
    ).split()
)


def check(config: Config, host: HostConfig) -> tuple[str, ...]:
    """Raise `InvalidArgument` for what can never be run; give warnings for the rest."""
    _check_process(config)
    check_restart(host.restart_policy)
    if host.auto_remove and host.restart_policy.name not in ("", "no"):
        raise InvalidArgument("can't create 'AutoRemove' container with restart policy")
    _check_modes(host)
    check_cpu(host)
    _check_block_io(host)
    _check_ulimits(host)
    log_config.check(host)
    requested_ports(config.exposed_ports, host.port_bindings, host.publish_all_ports)
    return _check_memory(host)


def _check_process(config: Config) -> None:
    if config.working_dir and not config.working_dir.startswith("/"):
        raise InvalidArgument(
            f"the working directory '{config.working_dir}' is invalid,"
            " it needs to be an absolute path"
        )
    for variable in config.env:
        if variable.startswith("=") or not variable or "\0" in variable:
            raise InvalidArgument(f"invalid environment variable: {variable}")
    if config.stop_signal:
        signal_number(config.stop_signal)
    _check_text("hostname", config.hostname, 64)
    _check_text("domainname", config.domainname, 253)
    for argument in (*(config.entrypoint or ()), *(config.cmd or ()), config.user):
        if "\0" in argument:
            raise InvalidArgument(f"an argument holds a NUL character: {argument!r}")


def _check_text(what: str, value: str, most: int) -> None:
    if len(value) > most or any(each.isspace() or each == "\0" for each in value):
        raise InvalidArgument(f"invalid {what}: {value!r}: at most {most} characters, no spaces")


def check_endpoints(asked: Mapping[str, EndpointConfig]) -> None:
    """Raise `InvalidArgument` for hardware addresses of no card, and names that are none."""
    for endpoint in asked.values():
        if endpoint.mac_address:
            _check_mac(endpoint.mac_address)
        for alias in endpoint.aliases:
            _check_text("network alias", alias, 253)


def _check_mac(text: str) -> None:
    octets = [int(pair, 16) for pair in text.split(":")] if _MAC.fullmatch(text) else []
    why = ""
    if not octets:
        why = "it is not six pairs of hexadecimal digits with colons between them"
    elif octets[0] & 1:
        why = "it is a group's (its first byte is odd), not one card's"
    elif not any(octets):
        why = "it is nobody's"
    if why:
        raise InvalidArgument(
            f"invalid MAC address: {text}: {why}", hint="--mac-address 02:42:c0:a8:00:02"
        )


def check_restart(policy: RestartPolicy) -> None:
    """Raise `InvalidArgument` for a restart policy that does not exist or has a wrong count."""
    known = ("", "no", "always", "on-failure", "unless-stopped")
    if policy.name not in known:
        raise InvalidArgument(
            f"invalid restart policy: unknown policy '{policy.name}';"
            " use one of 'no', 'always', 'on-failure', or 'unless-stopped'"
        )
    if policy.maximum_retry_count < 0:
        raise InvalidArgument("invalid restart policy: maximum retry count cannot be negative")
    if policy.maximum_retry_count and policy.name != "on-failure":
        raise InvalidArgument(
            "invalid restart policy: maximum retry count can only be used with 'on-failure'"
        )


_MODES = {
    "ipc_mode": ("", "none", "private", "shareable", "host", "container:"),
    "pid_mode": ("", "host", "container:"),
    "uts_mode": ("", "host"),
    "cgroupns_mode": ("", "private", "host"),
}


def _check_modes(host: HostConfig) -> None:
    if ".." in host.cgroup_parent.split("/") or any(c in host.cgroup_parent for c in "\0\n"):
        raise InvalidArgument(f"invalid cgroup parent: {host.cgroup_parent!r}")
    for field, allowed in _MODES.items():
        given: str = getattr(host, field)
        name, colon, target = given.partition(":")
        if name + colon not in allowed or (colon and not target):
            what = field.removesuffix("_mode").removesuffix("ns").upper()
            raise InvalidArgument(f"invalid {what} mode: {given}")
    if host.network_mode.startswith("container:") and (
        host.port_bindings or host.publish_all_ports
    ):
        raise InvalidArgument(
            "conflicting options: port publishing and the container type network mode"
        )
    if host.shm_size < 0:
        raise InvalidArgument("SHM size can not be less than 0")
    if not -1000 <= host.oom_score_adj <= 1000:
        raise InvalidArgument(
            f"Invalid value {host.oom_score_adj}, range for oom score adj is [-1000, 1000]"
        )


def _check_memory(host: HostConfig) -> tuple[str, ...]:
    if 0 < host.memory < LEAST_MEMORY or host.memory < 0:
        raise InvalidArgument("Minimum memory limit allowed is 6MB")
    if host.memory_swap > 0 and not host.memory:
        raise InvalidArgument("You should always set the Memory limit when using Memoryswap limit")
    if 0 < host.memory_swap < host.memory:
        raise InvalidArgument(
            "Minimum memoryswap limit should be larger than memory limit, see usage"
        )
    if host.memory and host.memory < host.memory_reservation:
        raise InvalidArgument(
            "Minimum memory limit can not be less than memory reservation limit, see usage"
        )
    if host.memory_swappiness is not None and not -1 <= host.memory_swappiness <= 100:
        raise InvalidArgument(
            f"Invalid value: {host.memory_swappiness}, valid memory swappiness range is 0-100"
        )
    return ()


def check_cpu(host: HostConfig) -> None:
    """Raise `InvalidArgument` for processors that this host has not, or shares of them."""
    cpus = os.cpu_count() or 1
    if host.nano_cpus and (host.cpu_quota or host.cpu_period):
        raise InvalidArgument(
            "Conflicting options: Nano CPUs and CPU Period/Quota cannot both be set."
        )
    if host.nano_cpus < 0 or host.nano_cpus > cpus * 10**9:
        raise InvalidArgument(
            f"range of CPUs is from 0.01 to {cpus}.00, as there are only {cpus} CPUs available"
        )
    if host.cpu_period and not 1000 <= host.cpu_period <= 1000000:
        raise InvalidArgument(
            "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)"
        )
    if host.cpu_quota > 0 and host.cpu_quota < 1000:
        raise InvalidArgument("CPU cfs quota can not be less than 1ms (i.e. 1000)")
    if host.cpu_shares and not LEAST_SHARES <= host.cpu_shares <= MOST_SHARES:
        raise InvalidArgument(
            f"invalid CPU shares {host.cpu_shares}: range is [{LEAST_SHARES}, {MOST_SHARES}]"
        )
    if host.cpuset_cpus:
        asked = parse_cpuset(host.cpuset_cpus)
        if not asked <= set(range(cpus)):
            raise InvalidArgument(
                f"Requested CPUs are not available - requested {host.cpuset_cpus},"
                f" available: 0-{cpus - 1}"
            )
    if host.cpuset_mems:
        parse_cpuset(host.cpuset_mems)


def _check_block_io(host: HostConfig) -> None:
    """Compare with the kernel's range of weights (moby, daemon_unix.go)."""
    weights = (host.blkio_weight, *(each.weight for each in host.blkio_weight_device))
    if any(weight and not LEAST_BLKIO <= weight <= MOST_BLKIO for weight in weights):
        raise InvalidArgument("Range of blkio weight is from 10 to 1000")
    rates = (
        *host.blkio_device_read_bps,
        *host.blkio_device_write_bps,
        *host.blkio_device_read_iops,
        *host.blkio_device_write_iops,
    )
    for rate in rates:
        if rate.rate < 0:
            raise InvalidArgument(f"invalid rate for device {rate.path}: {rate.rate}")


def parse_cpuset(text: str) -> set[int]:
    """Give the numbers of a list as `0-2,5` (cpuset(7), "List format")."""
    numbers: set[int] = set()
    for part in text.split(","):
        first, _, last = part.strip().partition("-")
        if not first.isdecimal() or not (last or first).isdecimal() or len(part) > 16:
            raise InvalidArgument(f"Invalid value {text} for cpuset cpus")
        numbers.update(range(int(first), min(int(last or first), 8192) + 1))
    return numbers


def _check_ulimits(host: HostConfig) -> None:
    for limit in host.ulimits:
        if limit.name not in ULIMITS:
            raise InvalidArgument(f"invalid ulimit type: {limit.name}")
        if limit.hard != -1 and (limit.soft > limit.hard or limit.soft == -1):
            raise InvalidArgument(
                f"ulimit soft limit must be less than or equal to hard limit:"
                f" {limit.soft} > {limit.hard}"
            )


def upper_size(host: HostConfig) -> int:
    """Give the bytes that the machine's writable layer may have; 0: nothing was said.

    Raises `InvalidArgument` for any other storage option than `size`.
    """
    for name in host.storage_opt:
        if name != "size":
            raise InvalidArgument(f"unknown option in --storage-opt: {name}", hint="size=20G")
    return parse_size(host.storage_opt.get("size", "0"), "--storage-opt size")


def signal_number(name: str) -> int:
    """Give the number of a signal by name (with or without SIG) or number."""
    text = name.strip().upper()
    if text.isdecimal():
        if 1 <= int(text) <= int(signal.SIGRTMAX):
            return int(text)
        raise InvalidArgument(f"Invalid signal: {name}")
    text = "SIG" + text.removeprefix("SIG")
    base, sign, offset = text.partition("+") if "+" in text else text.partition("-")
    try:
        number = int(signal.Signals[base])
        number += int(sign + offset) if sign else 0
    except (KeyError, ValueError):
        raise InvalidArgument(f"Invalid signal: {name}") from None
    return number


def check_targets(targets: Iterable[str]) -> None:
    """Raise `InvalidArgument` where two mounts have one target."""
    seen: set[str] = set()
    for target in targets:
        if target in seen:
            raise InvalidArgument(f"Duplicate mount point: {target}")
        seen.add(target)
