"""Limits: `linux.resources` of the OCI runtime specification (config-linux.md, Control groups)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from heft.weights.light import devices

if TYPE_CHECKING:
    from collections.abc import Iterable

    from heft.model.config import ThrottleDevice
    from heft.weights.base import Resources, Security
    from heft.weights.light.devices import Device, Rule
    from heft.weights.light.host_facts import HostFacts

_CPU_PERIOD = 100_000
_NANO = 1_000_000_000
_EVERYTHING = {"allow": True, "access": "rwm"}
_NOTHING = {"allow": False, "access": "rwm"}


def resources(
    asked: Resources, security: Security, added: Iterable[Device], facts: HostFacts
) -> dict[str, Any]:
    """Give the limits that were asked for, as far as this host can hold them."""
    rules = _devices(security, added)
    return ({"devices": rules} if rules else {}) | _limits(asked, facts)


def adjusted(asked: Resources, facts: HostFacts) -> dict[str, Any]:
    """Give the limits for a machine that runs: what it may open was settled at its start."""
    return _limits(asked, facts)


def _limits(asked: Resources, facts: HostFacts) -> dict[str, Any]:
    parts = {
        "memory": _memory(asked, facts),
        "cpu": _cpu(asked),
        "pids": {"limit": asked.pids_limit} if asked.pids_limit > 0 else {},
        "blockIO": _block(asked, facts),
    }
    return {name: part for name, part in parts.items() if part}


def _given(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value not in (0, "", None, [])}


def _memory(asked: Resources, facts: HostFacts) -> dict[str, Any]:
    memory = _given(limit=asked.memory, reservation=asked.memory_reservation)
    if facts.swap_limits and asked.memory:
        # As Docker's: of memory and swap together; 0 is twice the memory, -1 is no limit.
        memory["swap"] = asked.memory_swap or 2 * asked.memory
    if facts.cgroup_version == 1:
        if asked.memory_swappiness is not None and asked.memory_swappiness >= 0:
            memory["swappiness"] = asked.memory_swappiness
        if asked.oom_kill_disable:
            memory["disableOOMKiller"] = True
    return memory


def _cpu(asked: Resources) -> dict[str, Any]:
    quota, period = asked.cpu_quota, asked.cpu_period
    if asked.nano_cpus:
        quota, period = asked.nano_cpus * _CPU_PERIOD // _NANO, _CPU_PERIOD
    return _given(
        shares=asked.cpu_shares,
        quota=max(quota, 0),
        period=period,
        cpus=asked.cpuset_cpus,
        mems=asked.cpuset_mems,
    )


def _block(asked: Resources, facts: HostFacts) -> dict[str, Any]:
    weights: dict[str, Any] = {}
    if facts.block_weights:
        weights = _given(
            weight=asked.blkio_weight,
            weightDevice=[
                _numbered(item.path, "weight", item.weight) for item in asked.blkio_weight_device
            ],
        )
    return weights | _given(
        throttleReadBpsDevice=_rates(asked.blkio_device_read_bps),
        throttleWriteBpsDevice=_rates(asked.blkio_device_write_bps),
        throttleReadIOPSDevice=_rates(asked.blkio_device_read_iops),
        throttleWriteIOPSDevice=_rates(asked.blkio_device_write_iops),
    )


def _rates(items: Iterable[ThrottleDevice]) -> list[dict[str, Any]]:
    return [_numbered(item.path, "rate", item.rate) for item in items]


def _numbered(path: str, name: str, value: int) -> dict[str, Any]:
    major, minor = devices.numbers(path)
    return {"major": major, "minor": minor, name: value}


def _devices(security: Security, added: Iterable[Device]) -> list[dict[str, Any]]:
    """Give the device rules; those of the standard devices are the runtime's own."""
    if security.privileged:
        return [_EVERYTHING]
    asked = [devices.rule(text) for text in security.device_rules]
    return [
        _NOTHING,
        *(_allowed(devices.Rule(item.kind, item.major, item.minor, item.access)) for item in added),
        *map(_allowed, asked),
    ]


def _allowed(rule: Rule) -> dict[str, Any]:
    result: dict[str, Any] = {"allow": True, "type": rule.kind, "access": rule.access}
    if rule.major is not None:
        result["major"] = rule.major
    if rule.minor is not None:
        result["minor"] = rule.minor
    return result
