"""A machine's user namespace: made before its first process, recorded before it is made.

It is pinned under the run directory while the machine runs, as its network's link and its mounts
need it before there is a process in it. Machines with a kernel of their own have users of their own
anyway, and get none. Who joins another machine's namespaces joins that of its users too: without,
it would have no rights in the others (user_namespaces(7)). Machines of another platform get one in
which all users are the host's, for an emulator of their own.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from heft.engine import user_ranges
from heft.errors import Conflict
from heft.faults import reach
from heft.host import emulators, user_namespaces
from heft.model.ids import SAME

if TYPE_CHECKING:
    from heft.engine.parts import Parts
    from heft.model.ids import IdMap
    from heft.model.machine import Machine
    from heft.undo import Undo

HOST = "host"


async def begin(parts: Parts, machine: Machine, undo: Undo) -> Machine:
    """Give a machine that starts its users, where they are not the host's.

    Raises `NotSupported` or `Conflict` where the host has no ids for it.
    """
    ids = _choose(parts, machine)
    if ids is not None:
        machine = parts.records.change(machine.id, ids=ids)
    reach("start.users")
    if ids is not None and not joined(parts, machine):
        pin = parts.settings.layout.user_namespace(machine.id)
        await user_namespaces.make(pin, *ids.lines)
        undo.push("let go of its user namespace", lambda: _remove(pin))
    return machine


def path(parts: Parts, machine: Machine) -> str:
    """Give the file of its user namespace; `host` where it has none of its own."""
    if machine.ids is None:
        return HOST
    others = joined(parts, machine)
    if others:
        return f"/proc/{others[0].run.pid}/ns/user"
    return str(parts.settings.layout.user_namespace(machine.id))


def owner(parts: Parts, machine: Machine) -> Path | None:
    """Give the namespace that its network namespace is to belong to; None: the host's."""
    return None if machine.ids is None else Path(path(parts, machine))


def end(parts: Parts, machine: Machine) -> None:
    """Let go of the user namespace of a run that is over; harmless when repeated."""
    user_namespaces.remove(parts.settings.layout.user_namespace(machine.id))


def sweep(parts: Parts) -> None:
    """Let go of all that belong to no machine that runs."""
    directory = parts.settings.layout.user_namespaces
    for pin in directory.iterdir() if directory.is_dir() else ():
        machine = parts.records.get(pin.name)
        if machine is None or not machine.is_up:
            user_namespaces.remove(pin)


def joined(parts: Parts, machine: Machine) -> list[Machine]:
    """Give the machines that it shares its users with, if there are any."""
    host = machine.host_config
    if user_ranges.mode(host) == HOST:
        return []
    modes = (host.network_mode, host.pid_mode, host.ipc_mode)
    named = (mode.partition(":") for mode in modes)
    found = (parts.records.find(name) for kind, _, name in named if kind == "container")
    return [other for other in found if other is not None]


def _choose(parts: Parts, machine: Machine) -> IdMap | None:
    if not parts.weight(machine).maps_users:
        return None
    user_ranges.check(machine.host_config, parts.settings.remap)
    others = joined(parts, machine)
    if not others:
        used = (other.ids for other in parts.records)
        taken = (ids for ids in used if ids is not None and ids != SAME)
        chosen = user_ranges.choose(machine.host_config, parts.settings.remap, taken)
        return chosen or (SAME if _is_emulated(machine) else None)
    ids = others[0].ids
    if any(other.ids != ids for other in others):
        raise Conflict(
            f"container {machine.id} cannot share namespaces of machines whose users differ",
            hint="start them with the same --userns",
        )
    return ids


def _is_emulated(machine: Machine) -> bool:
    """Say whether a machine of another platform gets a namespace for its emulator's sake alone.

    Not one that is to have rights on the host, or was said to have the host's users.
    """
    if not emulators.are_namespaced() or not user_ranges.are_possible(machine.host_config):
        return False
    return emulators.needed(emulators.architecture(machine.platform)) is not None


async def _remove(pin: Path) -> None:
    user_namespaces.remove(pin)
