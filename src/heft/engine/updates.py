"""Changing a machine's limits and restart policy: what they are then, and how that comes about.

The rules of what can follow upon what are Docker's (moby, container/container_unix.go,
`UpdateContainer`).
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import msgspec

from heft.engine import refusals, validation
from heft.errors import Conflict, HeftError, NotSupported
from heft.faults import reach
from heft.model.request import Update
from heft.weights.abilities import Adjustable, Exchanging

if TYPE_CHECKING:
    from heft.engine.parts import Parts
    from heft.model.config import HostConfig
    from heft.model.machine import Machine

log = logging.getLogger(__name__)

LIMITS = tuple(field for field in Update.__struct_fields__ if field != "restart_policy")


def merged(host: HostConfig, asked: Update) -> HostConfig:
    """Give the settings with the changes made. Raises `Conflict` in Docker's words."""
    if asked.nano_cpus > 0 and host.cpu_period > 0:
        raise _conflicting("Nano CPUs cannot be updated as CPU Period has already been set")
    if asked.nano_cpus > 0 and host.cpu_quota > 0:
        raise _conflicting("Nano CPUs cannot be updated as CPU Quota has already been set")
    if asked.cpu_period > 0 and host.nano_cpus > 0:
        raise _conflicting("CPU Period cannot be updated as NanoCPUs has already been set")
    if asked.cpu_quota > 0 and host.nano_cpus > 0:
        raise _conflicting("CPU Quota cannot be updated as NanoCPUs has already been set")
    if asked.memory > host.memory_swap > 0 and not asked.memory_swap:
        raise Conflict(
            "Memory limit should be smaller than already set memoryswap limit,"
            " update the memoryswap at the same time"
        )
    changes = {
        field: value for field in LIMITS if (value := getattr(asked, field)) not in (0, "", None)
    }
    if asked.pids_limit is not None:
        changes["pids_limit"] = asked.pids_limit
    if asked.restart_policy.name:
        if host.auto_remove and asked.restart_policy.name != "no":
            raise Conflict(
                "Restart policy cannot be updated because AutoRemove is enabled for the container"
            )
        changes["restart_policy"] = asked.restart_policy
    return msgspec.structs.replace(host, **changes)


def _conflicting(why: str) -> Conflict:
    return Conflict(f"Conflicting options: {why}")


async def update(parts: Parts, machine: Machine, asked: Update) -> tuple[str, ...]:
    """Record the changes, and hold a machine that runs to them; or neither. Gives warnings.

    They are recorded as on their way, so that a daemon that comes after a crash makes it so.
    """
    old = machine.host_config
    new = merged(old, asked)
    validation.check(machine.config, new)
    changes = any(getattr(new, field) != getattr(old, field) for field in LIMITS)
    if changes:
        await _check(parts, machine, new)
        machine = parts.records.resolve(machine.id)  # it may have ended meanwhile
    warnings = refusals.useless(asked, own_kernel=parts.weight(machine).own_kernel)
    if not (changes and machine.is_up):
        parts.records.change(machine.id, host_config=new)
        return warnings
    machine = parts.records.change(machine.id, host_config=new, adjusting=True)
    reach("update.recorded")
    try:
        await adjust(parts, machine)
    except BaseException:
        if parts.records.get(machine.id) is None:
            raise  # it ended meanwhile, and was removed
        machine = parts.records.change(machine.id, host_config=old)
        try:
            await adjust(parts, machine)
        except HeftError as error:
            log.warning("container %s: its old limits do not hold: %s", machine.id, error)
        raise
    return warnings


async def _check(parts: Parts, machine: Machine, new: HostConfig) -> None:
    """Raise for limits that the host or the machine's weight refuses, whether it runs or not."""
    weight = parts.weight(machine)
    refusals.check(new, bounds_upper=weight.bounds_upper)
    if isinstance(weight, Exchanging):
        await weight.accept(parts.launch(msgspec.structs.replace(machine, host_config=new)))


async def adjust(parts: Parts, machine: Machine) -> None:
    """Hold a machine that runs to what is recorded; harmless when repeated."""
    weight = parts.weight(machine)
    if not isinstance(weight, Adjustable):
        raise NotSupported(
            f"the limits of a machine of weight {weight.name} cannot be changed while it runs",
            hint="stop it first",
        )
    await weight.adjust(parts.launch(machine))
    reach("update.adjusted")
    if parts.records.get(machine.id) is not None:
        parts.records.change(machine.id, adjusting=False)
