"""A machine goes from one weight to another: name, addresses, volumes and what it wrote stay.

It does not run meanwhile. The change is recorded first (`Machine.changing`); the upper is made
anew in the form of the new weight, beside the old one; one change of the record is the moment from
which on the machine is of the new weight; then the old upper goes. A daemon that comes after a
crash clears away whichever of the two the machine's weight does not have.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import msgspec

from heft.engine import creation, refusals, user_ranges
from heft.errors import Conflict, HeftError, NotSupported
from heft.failures import translated
from heft.faults import reach
from heft.host import emulators
from heft.model.machine import State
from heft.undo import Undo
from heft.uppers.carrying import carry
from heft.weights.abilities import Exchanging

if TYPE_CHECKING:
    from pathlib import Path

    from heft.engine.parts import Parts
    from heft.model.machine import Machine
    from heft.model.upper import Upper
    from heft.weights.base import Root

STILL = (State.CREATED, State.EXITED)


async def take(parts: Parts, machine: Machine, name: str) -> None:
    """Take a machine that does not run to another weight. Raises as `plan` and `change` do."""
    await change(parts, machine, await plan(parts, machine, name))


async def plan(parts: Parts, machine: Machine, name: str) -> Machine:
    """Give the machine as it would be at another weight (none: as it is); nothing is done yet.

    Raises `InvalidArgument` or `NotSupported` for a weight that is not there, does not work here,
    or refuses something that the machine was made with.
    """
    weight = creation.weight_named(parts, name) if name else machine.weight
    if weight == machine.weight:
        return machine
    new = _exchanging(parts, weight)
    _exchanging(parts, machine.weight)
    found = await parts.weights[weight].probe()
    if not found.ok:
        raise NotSupported(f"weight {weight} does not work here: {found.why}", hint=found.hint)
    host = msgspec.structs.replace(machine.host_config, runtime=weight)
    config = creation.of_kernel(parts, machine.config, host, weight)
    architecture = emulators.architecture(machine.platform)
    if not parts.weights[weight].own_kernel and not await asyncio.to_thread(
        emulators.can_execute, architecture
    ):
        raise NotSupported(
            f"this host's kernel executes no programs of {machine.platform}",
            hint="`make foreign` installs their emulator",
        )
    if parts.weights[weight].maps_users:
        user_ranges.check(host, parts.settings.remap)
    refusals.check(host, bounds_upper=parts.weights[weight].bounds_upper)
    planned = msgspec.structs.replace(
        machine, weight=weight, config=config, host_config=host, changing=weight
    )
    await new.accept(parts.launch(planned))
    return planned


async def change(parts: Parts, machine: Machine, planned: Machine) -> None:
    """Make a machine what was planned, or leave it as it was. It must not run."""
    if planned.weight == machine.weight:
        return
    if machine.state not in STILL:
        raise Conflict(
            f"container {machine.name} is {machine.state}: its weight cannot be changed now",
            hint=f"stop it first, or `heft restart --weight {planned.weight} {machine.name}`",
        )
    parts.records.change(machine.id, changing=planned.weight)
    async with Undo() as undo:
        undo.push("take its new upper away", lambda: clear(parts, machine.id))
        reach("weight.recorded")
        await parts.make_base(planned)
        old, new = _upper(parts, machine), _upper(parts, planned)
        if new != old:
            root = _root(parts, machine)
            await _settle(parts, root, keep=old)
            await carry(old, new, root.upper, machine.name)
        reach("weight.made")
        changed = parts.records.change(
            machine.id,
            weight=planned.weight,
            config=planned.config,
            host_config=planned.host_config,
        )
        undo.commit()
    reach("weight.switched")
    await clear(parts, machine.id)
    parts.tell(changed, "update", weight=changed.weight, oldWeight=machine.weight)


async def tried(parts: Parts, machine: Machine, planned: Machine) -> HeftError | None:
    """Make a machine what was planned; where that fails, it is as it was, and the reason given."""
    try:
        await change(parts, machine, planned)
    except HeftError as error:
        return error
    return None


async def clear(parts: Parts, machine_id: str) -> None:
    """End a change, finished or not: all goes that is not of the weight the machine has."""
    machine = parts.records.get(machine_id)
    if machine is None or not machine.changing:
        return
    with contextlib.suppress(NotSupported):
        await _settle(parts, _root(parts, machine), keep=_upper(parts, machine))
    reach("weight.cleared")
    parts.records.change(machine_id, changing="")


async def _settle(parts: Parts, root: Root, *, keep: Upper) -> None:
    """Throw away all but one of a machine's uppers."""
    for path in await asyncio.to_thread(_entries, root.upper):
        if path.name not in keep.names:
            parts.trash.throw(path)


def _entries(directory: Path) -> list[Path]:
    """Give what is in a directory: nothing, if the machine is being removed and it has gone."""
    with translated(f"look at {directory}"), contextlib.suppress(FileNotFoundError):
        return list(directory.iterdir())
    return []


def _exchanging(parts: Parts, weight: str) -> Exchanging:
    found = parts.weights.get(weight)
    if not isinstance(found, Exchanging):
        raise NotSupported(f"machines of weight {weight} keep it")
    return found


def _root(parts: Parts, machine: Machine) -> Root:
    return parts.launch(machine).root


def _upper(parts: Parts, machine: Machine) -> Upper:
    return _exchanging(parts, machine.weight).upper(_root(parts, machine))
