"""What a daemon does when it starts: it takes over what runs, and finishes or undoes the rest.

The store says what was acknowledged or intended, the weights say what is. Whatever belongs to no
record is removed.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

import msgspec

from heft.engine import health, own_users, removal, restart, run, updates, weight_change
from heft.errors import HeftError
from heft.model.machine import Machine, Run, State
from heft.weights.abilities import Pausable
from heft.weights.base import Exit, Started

if TYPE_CHECKING:
    from collections.abc import Iterable

    from heft.engine.machines import Machines
    from heft.engine.parts import Parts

log = logging.getLogger(__name__)

HOST_WENT = 255
"""The exit code of a run that ended together with the host (moby, `restore`)."""
AT_ONCE = 16
"""How many machines are taken over at the same time."""
CAME_UP = frozenset({State.STARTING, State.RUNNING, State.PAUSED})


def volume_users(records: Iterable[Machine]) -> dict[str, set[str]]:
    """Give the machines that ran when the last daemon ended, by the volumes that they mount."""
    users: dict[str, set[str]] = {}
    for machine in records:
        for name in machine.volumes if machine.state in CAME_UP else ():
            users.setdefault(name, set()).add(machine.id)
    return users


async def recover(parts: Parts, machines: Machines) -> None:
    """Bring records and host together, and let machines start that are to start with the daemon."""
    came_up = [machine for machine in parts.records if machine.state in CAME_UP]
    room = asyncio.Semaphore(AT_ONCE)

    async def adopt(machine: Machine) -> Exit | None:
        async with room:
            return await _adopt(parts, machine)

    found = await asyncio.gather(*map(adopt, came_up))
    await _sweep(parts)
    for machine, exit_seen in zip(came_up, found, strict=True):
        if exit_seen is not None:
            await machines.life(machine.id).finish(exit_seen)
    for machine in parts.records:
        await _settle(parts, machines, machine)


async def _adopt(parts: Parts, machine: Machine) -> Exit | None:
    """Take over a run; give its end if it has ended meanwhile."""
    weight = parts.weight(machine)
    found = await weight.adopt(parts.launch(machine))
    change = parts.records.change
    if isinstance(found, Started):
        if machine.state is State.STARTING:
            begun = Run(
                pid=found.pid,
                started=_started(parts, machine),
                finished=machine.run.finished,
                health=health.initial(machine.config),
            )
            change(machine.id, state=State.RUNNING, run=begun)
        elif isinstance(weight, Pausable):
            # A pause that was not acknowledged is undone; one that was is made sure of.
            paused = machine.state is State.PAUSED
            try:
                await (weight.pause if paused else weight.resume)(machine.id)
            except HeftError as error:
                log.warning("container %s: it may not be %s: %s", machine.id, machine.state, error)
        if machine.adjusting:
            await _adjust(parts, machine)
        return None
    if found is None and machine.state is State.STARTING:
        await _undo_start(parts, machine)
        return None
    if machine.state is State.STARTING:
        change(machine.id, state=State.RUNNING, run=Run(started=_started(parts, machine)))
    return found or Exit(HOST_WENT, error="it ended with the host, or with its monitor")


async def _adjust(parts: Parts, machine: Machine) -> None:
    """Finish a change of limits."""
    try:
        await updates.adjust(parts, machine)
    except HeftError as error:
        log.warning("container %s: its new limits do not hold: %s", machine.id, error)


def _started(parts: Parts, machine: Machine) -> int:
    """Give about when a run began whose beginning was not recorded: its files' last change."""
    try:
        return parts.settings.layout.running(machine.id).stat().st_mtime_ns
    except FileNotFoundError:
        return machine.created


async def _undo_start(parts: Parts, machine: Machine) -> None:
    """Undo a start whose workload never ran: nobody was told of it."""
    before = State.EXITED if machine.run.started else State.CREATED
    await run.clear(parts, machine)
    parts.records.change(machine.id, state=before, endpoint=None, ids=None)


async def _sweep(parts: Parts) -> None:
    """Take the networks over, and remove what belongs to no machine that runs."""
    up = [machine for machine in parts.records if machine.is_up]
    endpoints = [machine.endpoint for machine in up if machine.endpoint is not None]
    await parts.networks.start(endpoints)
    for machine in parts.records:
        if not machine.is_up and (machine.endpoint is not None or machine.ids is not None):
            parts.records.change(machine.id, endpoint=None, ids=None)
    own_users.sweep(parts)
    for weight in parts.weights.values():
        await weight.sweep(frozenset(machine.id for machine in up))
    known = parts.records.ids
    directory = parts.settings.layout.machines
    directory.mkdir(mode=0o710, parents=True, exist_ok=True)
    for entry in directory.iterdir():
        if entry.name not in known:
            parts.trash.throw(entry)


async def _settle(parts: Parts, machines: Machines, machine: Machine) -> None:
    """Finish what was meant to happen to one machine."""
    if parts.records.get(machine.id) is None:
        return
    try:
        if machine.changing:
            await weight_change.clear(parts, machine.id)
            machine = parts.records.resolve(machine.id)
        if machine.state is State.CREATING:
            await machines.undo_creation(machine.id)
        elif machine.state is State.REMOVING:
            await removal.remove(parts, machine, volumes=machine.remove_volumes)
        elif machine.is_up:
            machines.adopt(machine)
        elif machine.state is State.RESTARTING:
            machines.life(machine.id).restart_after(restart.FIRST_DELAY)
        elif machine.host_config.auto_remove and machine.run.started:
            await removal.remove(parts, machine, volumes=True)
        elif machine.state is State.EXITED and restart.wanted_at_daemon_start(machine):
            _start_again(parts, machines, machine)
    except HeftError as error:
        log.warning("container %s: %s", machine.id, error)


def _start_again(parts: Parts, machines: Machines, machine: Machine) -> None:
    cleared = msgspec.structs.replace(machine.run, error="")
    parts.records.change(machine.id, state=State.RESTARTING, run=cleared, stopped_by_user=False)
    machines.life(machine.id).restart_after(0)
