"""How a machine goes: recorded first, then done step by step, each harmless when repeated."""

from __future__ import annotations

from typing import TYPE_CHECKING

from heft.engine import run
from heft.errors import Conflict, NotFound
from heft.faults import reach
from heft.model.machine import Machine, State

if TYPE_CHECKING:
    from heft.engine.parts import Parts

NEVER_RAN = frozenset({State.CREATED, State.EXITED})
"""States in which nothing of a run is left: there is nothing to clear up."""


async def remove(parts: Parts, machine: Machine, *, volumes: bool) -> None:
    """Remove the machine and all that is its own; with `volumes`, its anonymous volumes too."""
    clean = machine.state in NEVER_RAN and machine.endpoint is None
    if machine.state is not State.REMOVING:
        machine = parts.records.change(
            machine.id, state=State.REMOVING, remove_volumes=volumes, endpoint=machine.endpoint
        )
    reach("remove.intended")
    if not clean:
        await run.clear(parts, machine)
    await parts.forwarding.end(machine.id)
    reach("remove.discarded")
    parts.trash.throw(parts.settings.layout.machine(machine.id))
    reach("remove.directory")
    if machine.remove_volumes:
        remove_anonymous(parts, machine)
    parts.records.forget(machine.id)
    reach("remove.recorded")
    parts.tell(machine, "destroy")


def remove_anonymous(parts: Parts, machine: Machine) -> None:
    """Remove the volumes that were made for this machine and that no other uses."""
    for mount in machine.mounts:
        if not mount.anonymous:
            continue
        others = [user for user in volume_users(parts, mount.volume) if user != machine.id]
        try:
            parts.volumes.remove(mount.volume, users=others)
        except (NotFound, Conflict):
            continue


def volume_users(parts: Parts, name: str) -> list[str]:
    """Give the ids of the machines that mount a volume."""
    return [
        machine.id
        for machine in parts.records
        if any(mount.volume == name for mount in machine.mounts)
    ]


def in_use(machine: Machine) -> Conflict:
    """Say why a machine that is up is not removed."""
    how = {
        State.PAUSED: "container is paused and must be unpaused first",
        State.RESTARTING: "container is restarting: stop the container before removing or force"
        " remove",
    }.get(machine.state, "container is running: stop the container before removing or force remove")
    return Conflict(f'cannot remove container "/{machine.name}": {how}')
