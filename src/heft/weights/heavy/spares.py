"""Spares: guests that were restored ahead, rehearsed, and wait to become the next machines.

Restoring a guest takes QEMU some 50 ms, and the kernel's code that makes a machine of it takes
software translation some 200 ms when it is first met; a spare has both behind it. There is one for
the template that machines were last made from, stopped, so that it takes no processor's time, and
it ends when no such machine was started for a while.

A spare is a run of a machine that nobody knows (RUNS/ID, control group ID): a daemon that is killed
leaves it to the next one's sweep, at every step of its way to a machine's run.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import os
import secrets
import shutil
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from heft.errors import HeftError, HostError
from heft.failures import translated
from heft.faults import reach
from heft.guest import disks, monitors, rehearsal, setup, shaping, shares
from heft.guest.agent import Agent
from heft.guest.link import Link
from heft.guest.monitors import RunDirectory
from heft.guest.shares import Shared
from heft.guest.tokens import Tokens
from heft.guest.wire import unix_connector
from heft.host import grouping, processes, taps, usage
from heft.undo import Undo
from heft.weights.heavy import hypervisor, qemu
from heft.weights.heavy.control import control
from heft.weights.heavy.guests import surroundings

if TYPE_CHECKING:
    from pathlib import Path

    from heft.host.cgroups import Group
    from heft.weights.base import Launch
    from heft.weights.heavy.guests import Guests, Plan

_log = logging.getLogger(__name__)

QUIET_SECONDS = 0.05
"""How long after a start a spare is begun with."""
_UPPER = 64 << 20
_ANSWER_SECONDS = 30.0
_ROOM = 4
"""So many times its memory must be free on the host."""
_PART = 64
"""Of the processor, while it rehearses, where 1024 is the usual one: machines that run go first."""


@dataclass(frozen=True, slots=True)
class Spare:
    """A guest that waits."""

    plan: Plan
    run: Path
    group: Group
    started: hypervisor.Started
    largest: int
    """Bytes of the largest disk that it can have: it may make no larger file."""

    def is_for(self, plan: Plan, size: int) -> bool:
        """Say whether it can become a machine with such a plan, and a disk of so many bytes."""
        return self.plan == plan and size <= self.largest


@dataclass(frozen=True, slots=True)
class Taken:
    """What was a spare, and is a machine's guest."""

    started: hypervisor.Started
    plugged: asyncio.Task[None]
    """Is done when the machine's network is there; removing an interface takes the kernel long."""


class Spares:
    """The spare, if there is one, and what makes the next."""

    def __init__(self, run: Path, guests: Guests, seconds: float) -> None:
        self._run = run
        self._guests = guests
        self._seconds = seconds
        self._spare: Spare | None = None
        self._like: tuple[Launch, Plan, int] | None = None
        """The last machine, and the bytes of its disk: it may be gone already."""
        self._used = 0.0
        self._moved = asyncio.Event()
        """Something was taken or used since it was last looked at."""
        self._keeping: asyncio.Task[None] | None = None

    # To become a machine

    async def take(self, launch: Launch, plan: Plan, group: Group, size: int) -> Taken | None:
        """Let the spare, if there is one for it, be the guest of a machine with a disk of a size.

        Its run is the machine's then, in the machine's control group, with the machine's disks.
        """
        spare = self._spare
        if spare is None or not _can_be(launch) or not spare.is_for(plan, size):
            return None
        self._spare = None
        plugging = asyncio.create_task(_plug(spare, launch))
        try:
            if not spare.started.monitor.is_alive():
                raise HostError("its QEMU has ended")
            await asyncio.to_thread(_move, spare, launch.run, group)
            await _furnish(launch)
            await spare.group.remove()
        except BaseException as error:
            plugging.cancel()
            await asyncio.gather(plugging, return_exceptions=True)
            await group.end()
            await self._end(spare)
            await asyncio.to_thread(shutil.rmtree, launch.run, ignore_errors=True)
            if not isinstance(error, HeftError):
                raise
            _log.warning("a spare guest is of no use: %s", error)
            return None
        _log.debug("%s: the spare guest is taken", launch.id)
        return Taken(spare.started, plugging)

    def used(self, launch: Launch, plan: Plan, size: int) -> None:
        """Hear that a machine was started: there is to be a spare for the next one like it.

        It may be gone already, with its disk, which has so many bytes.
        """
        if not self._seconds or plan.template is None or not _can_be(launch):
            return
        self._like, self._used = (launch, plan, size), time.monotonic()
        self._moved.set()
        if self._keeping is None or self._keeping.done():
            self._keeping = asyncio.create_task(self._keep())

    # To be made, and to end

    async def _keep(self) -> None:
        """Have a spare for what was last started, until nothing was started for a while."""
        while (left := self._used + self._seconds - time.monotonic()) > 0:
            assert self._like is not None
            launch, plan, size = self._like
            if self._spare is not None and self._spare.is_for(plan, size):
                self._moved.clear()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(left):
                        await self._moved.wait()
                continue
            await asyncio.sleep(QUIET_SECONDS)
            await self._drop()
            if usage.available_memory() < _ROOM * plan.shape.memory:
                break
            try:
                self._spare = await self._make(launch, plan, size)
            except HeftError as error:
                _log.warning("no spare guest could be made: %s", error)
                break
        await self._drop()
        self._like = None  # a template that was collected goes with its memory

    async def _make(self, like: Launch, plan: Plan, size: int) -> Spare:
        identity = secrets.token_hex(32)
        machine = rehearsal.machine(like, identity, self._run / identity)
        group = self._guests.group(machine)
        async with Undo() as undo:
            undo.push("the spare guest", lambda: monitors.discard(machine.run, group))
            limits = dataclasses.replace(
                shaping.limits(machine.resources, plan.shape), cpu_shares=_PART
            )
            await asyncio.to_thread(grouping.make, group, limits)
            RunDirectory(machine.run).make(monitors.user_of(identity), (group.path,))
            await disks.make_upper(machine.run / disks.NAME, _UPPER)
            largest = max(size, _UPPER)
            started = hypervisor.start(machine, plan, group, (), largest)
            spare = Spare(plan, machine.run, group, started, largest)
            undo.push("its QEMU", lambda: self._end(spare))
            await _rehearse(machine, started)
            undo.commit()
        _log.debug("%s: a spare guest waits", identity)
        return spare

    async def _drop(self) -> None:
        if self._spare is not None:
            spare, self._spare = self._spare, None
            await self._end(spare)

    async def _end(self, spare: Spare) -> None:
        await monitors.discard(spare.run, spare.group)
        spare.started.close()
        await processes.gone(spare.started.pidfd)

    async def close(self) -> None:
        """End the spare."""
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.gather(self._keeping, return_exceptions=True)
        await self._drop()


def _can_be(launch: Launch) -> bool:
    """Say whether a machine has no devices but those of a template."""
    return not (launch.cold_boot or setup.loads_modules(launch) or shares.shared_points(launch))


async def _rehearse(machine: Launch, started: hypervisor.Started) -> None:
    own = RunDirectory(machine.run).own
    async with control(own, qemu.CONTROL) as told:
        RunDirectory(machine.run).close_off()
        await told.load(started.state)
        link = Link(unix_connector(str(own / qemu.AGENT)), Tokens(machine.run / "tokens"), "spare")
        try:
            fields = rehearsal.fields(machine, surroundings(machine, Shared()))
            await asyncio.gather(link.open(_ANSWER_SECONDS), Agent(link).rehearse(fields))
        finally:
            await link.close()
        await told.execute("stop")


def _move(spare: Spare, run: Path, group: Group) -> None:
    """Let the spare's run be a machine's. At each step its group is one of those noted in it."""
    before, after = RunDirectory(spare.run), RunDirectory(run)
    before.note_groups(spare.group.path, group.path)
    grouping.move(spare.group.processes(), group)
    reach("spare.moved")
    with translated(f"make {run}"):
        os.rename(spare.run, run)
    reach("spare.renamed")
    after.note_groups(group.path)
    (run / disks.NAME).unlink()  # QEMU has it open, until it has the machine's


async def _plug(spare: Spare, launch: Launch) -> None:
    if launch.endpoint is None:
        return
    tap = os.dup(spare.started.tap)  # whoever started the guest may have let go of it meanwhile
    try:
        await taps.plug(tap, launch.endpoint.interface)
    finally:
        os.close(tap)


async def _furnish(launch: Launch) -> None:
    """Put the machine's own disks behind the devices of a guest, and let it go on."""
    assert launch.root.base is not None
    paths = (launch.root.base, disks.of(launch.root))
    async with control(RunDirectory(launch.run).own, qemu.CONTROL) as told:
        for number, (name, path) in enumerate(zip(qemu.DISKS, paths, strict=True)):
            read_only = name == "base"
            with translated(f"open the disks of {launch.id}"):
                disk = os.open(path, (os.O_RDONLY if read_only else os.O_RDWR) | os.O_CLOEXEC)
            try:
                await told.change_disk(name, number, disk, read_only=read_only)
            finally:
                os.close(disk)
        await told.execute("cont")
