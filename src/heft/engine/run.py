"""One run of a machine: how it begins, and what is put back when it has ended.

Both are written so that a daemon killed anywhere in them is followed by one that can finish or undo
them (`heft.engine.recovery`): what is about to be is recorded before it is, and every step can be
done again.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

import msgspec

from heft.engine import files, health, links, own_users
from heft.errors import HeftError, NoSpace, StartFailed
from heft.faults import reach
from heft.model.machine import Machine, Run, State
from heft.networks.ports import requested_ports
from heft.undo import Undo
from heft.weights.abilities import Informed

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from heft.engine.parts import Parts
    from heft.weights.base import Exit

log = logging.getLogger(__name__)

REFUSED = 128
"""The exit code of a run that the host refused, not the workload's file."""


def network_of(machine: Machine) -> str:
    """Give the network the machine is to be plugged into; empty where it has none of its own."""
    mode = machine.host_config.network_mode
    if mode in ("", "default"):
        return "bridge"
    return "" if mode.partition(":")[0] in ("none", "host", "container") else mode


async def begin(parts: Parts, machine: Machine, prepared: Callable[[], Awaitable[None]]) -> Machine:
    """Start the machine's workload, or leave everything as it was and raise.

    `prepared` is called when the machine can be attached to and nothing of it has run.
    """
    before = State.CREATED if machine.state is State.CREATED else State.EXITED
    change = parts.records.change
    change(machine.id, state=State.STARTING)
    try:
        async with Undo() as undo:
            reach("start.intended")
            started = await _begin(parts, machine, undo, prepared)
            undo.commit()
    except BaseException as error:
        code = error.exit_code if isinstance(error, StartFailed) else REFUSED
        failed = msgspec.structs.replace(machine.run, pid=0, exit_code=code, error=str(error))
        try:
            change(machine.id, state=before, endpoint=None, ids=None, run=failed)
        except NoSpace as full:
            error.add_note(f"it stays in state {State.STARTING}: {full}")
        raise
    reach("start.recorded")
    return started


async def _begin(
    parts: Parts, machine: Machine, undo: Undo, prepared: Callable[[], Awaitable[None]]
) -> Machine:
    weight = parts.weight(machine)
    parts.check_joined(machine)
    await parts.forwarding.begin(machine)
    await parts.make_base(machine)
    machine = await own_users.begin(parts, machine, undo)
    if network := network_of(machine):
        machine = await _plug(parts, machine, network, undo)
    reach("start.network")
    directory = parts.settings.layout.machine(machine.id)
    linked = links.host_lines(links.of(parts.records, machine))
    files.write(machine, directory, parts.networks.resolver(network) if network else (), linked)
    await parts.volumes.hold(machine.id, machine.volumes)
    undo.push("let go of its volumes", lambda: parts.volumes.release(machine.id))
    reach("start.files")
    launch = parts.launch(machine)
    await weight.prepare(launch)
    undo.push("discard the run", lambda: weight.discard(launch))
    await prepared()
    reach("start.prepared")
    begun = time.time_ns()  # before it can end: a guest tells when it did
    started = await weight.start(machine.id)
    reach("start.released")
    run = Run(
        pid=started.pid,
        started=begun,
        finished=machine.run.finished,  # as Docker has it: when the last one was over
        health=health.initial(machine.config),
    )
    machine = parts.records.change(machine.id, state=State.RUNNING, run=run)
    await _tell_linked(parts, machine)
    return machine


async def _tell_linked(parts: Parts, started: Machine) -> None:
    """Let the machines that link to one that has started know its address."""
    for machine in parts.records:
        if not machine.host_config.links or not machine.is_up or machine.id == started.id:
            continue
        found = links.of(parts.records, machine)
        if any(link.target.id == started.id for link in found):
            network = network_of(machine)
            resolvers = parts.networks.resolver(network) if network else ()
            directory = parts.settings.layout.machine(machine.id)
            files.write(machine, directory, resolvers, links.host_lines(found))
            await _tell_files(parts, machine)


async def _tell_files(parts: Parts, machine: Machine) -> None:
    """Let a machine have its new files. One that cannot is in the log: nobody else waits for it."""
    weight = parts.weight(machine)
    if isinstance(weight, Informed):
        try:
            await weight.tell_files(machine.id)
        except HeftError as error:
            log.warning("container %s: cannot be told of its links: %s", machine.id, error)


async def _plug(parts: Parts, machine: Machine, network: str, undo: Undo) -> Machine:
    host = machine.host_config
    asked = machine.endpoints_asked.get(network) or machine.endpoints_asked.get("default")
    names = (machine.name, machine.id[:12], machine.config.hostname)
    ports = requested_ports(
        machine.config.exposed_ports, host.port_bindings, host.publish_all_ports
    )
    endpoint = await parts.networks.connect(
        machine.id,
        network=network,
        names=tuple(dict.fromkeys((*names, *(asked.aliases if asked else ())))),
        ports=ports,
        asked=asked,
        last=machine.address,
        plug=parts.weight(machine).plug,
        owner=own_users.owner(parts, machine),
    )
    undo.push("unplug it", lambda: parts.networks.disconnect(endpoint))
    return parts.records.change(machine.id, endpoint=endpoint, address=endpoint.address)


async def end(parts: Parts, machine: Machine, how: Exit, then: State) -> Machine:
    """Record how the run ended, first of all, then remove every trace of it."""
    reach("exit.seen")
    run = msgspec.structs.replace(
        health.unwatched(machine.run),
        pid=0,
        # A guest's clock may be some milliseconds behind.
        finished=max(how.finished or time.time_ns(), machine.run.started),
        exit_code=how.code,
        oom_killed=how.oom_killed,
        error=how.error,
    )
    machine = parts.records.change(machine.id, state=then, run=run)
    reach("exit.recorded")
    await clear(parts, machine)
    return parts.records.change(machine.id, endpoint=None, ids=None)


async def clear(parts: Parts, machine: Machine) -> None:
    """Remove every trace of a run that is over; harmless when repeated.

    What cannot be removed now is logged, and swept at the next start.
    """
    try:
        await parts.weight(machine).discard(parts.launch(machine))
        reach("exit.discarded")
    except HeftError as error:
        log.warning("container %s: cannot clear its run: %s", machine.id, error)
    try:
        if machine.endpoint is not None:
            await parts.networks.disconnect(machine.endpoint)
        reach("exit.disconnected")
        await parts.volumes.release(machine.id)
        own_users.end(parts, machine)
    except HeftError as error:
        log.warning("container %s: cannot unplug it: %s", machine.id, error)
