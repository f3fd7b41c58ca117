"""Heavy: a stock kernel on virtual hardware of its own, by QEMU.

A machine is restored from a template, where there can be one, and is then told by the agent's
protocol what it is. Its root is the image's base below and its upper above, each a disk. QEMU runs
in a jail, outlives the daemon, and stays when the guest is over until it was seen how.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from heft.errors import HeftError, HostError, NotSupported
from heft.faults import reach
from heft.guest import (
    architectures,
    disks,
    ending,
    kits,
    measuring,
    monitors,
    shaping,
    shares,
)
from heft.guest.clocks import Clocks
from heft.guest.monitors import RunDirectory
from heft.guest.refusals import refuse
from heft.guest.run import KILLED, GuestRun
from heft.guest.runs import Runs
from heft.guest.shaping import Shape
from heft.guest.wire import unix_connector
from heft.host import grouping, processes
from heft.model.network import Plug
from heft.undo import Undo
from heft.weights.base import Accelerator, Availability, Exit, Started, Stats
from heft.weights.heavy import hypervisor, qemu, watching
from heft.weights.heavy.boards import BOARDS
from heft.weights.heavy.console import Console
from heft.weights.heavy.control import control
from heft.weights.heavy.guests import Guests, surroundings
from heft.weights.heavy.spares import Spares, Taken

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from heft.guest.kits import Kits
    from heft.guest.runs import Beginning
    from heft.guest.shares import Shared
    from heft.host.cgroups import Group
    from heft.host.processes import ProcessId
    from heft.weights.base import Launch, Resources, Session


@dataclass(frozen=True, slots=True)
class HeavySettings:
    """Where runs are, and what is kept for all of them."""

    run: Path
    """The directory of the runs' directories (`run/ID`)."""
    templates: Path
    cgroup_parent: str = "/heft"
    spare_seconds: float = 0.0
    """How long a guest is kept ready for the next machine; 0: none is."""


@dataclass(slots=True)
class _Watched:
    """A run, and what watches its monitor."""

    run: GuestRun
    pidfd: int
    """Of its monitor; -1: it has ended."""
    group: Group
    shape: Shape
    why: str = "its QEMU was killed"
    """Why its monitor ends, if the guest does not go down by itself."""
    watching: asyncio.Task[None] | None = None
    console: Console = field(init=False)

    def __post_init__(self) -> None:
        self.console = Console(lends=BOARDS[self.shape.architecture].lends_console)


@dataclass(frozen=True, slots=True)
class _Guest:
    """A guest that is to become a machine."""

    watched: _Watched
    started: hypervisor.Started
    shared: Shared
    taken: Taken | None
    """What becomes of a spare; None: it is none."""


class HeavyWeight(Runs[_Watched]):
    """`heft.weights.base.Weight` and all of `heft.weights.abilities`; what runs have by `Runs`."""

    name = "heavy"
    plug = Plug.TAP
    needs_base = True
    bounds_upper = True
    maps_users = False
    own_kernel = True

    def __init__(self, settings: HeavySettings, kits_: Kits) -> None:
        super().__init__()
        self._settings = settings
        self._guests = Guests(settings.templates, settings.cgroup_parent, kits_)
        self._spares = Spares(settings.run, self._guests, settings.spare_seconds)
        self._clocks: Clocks | None = None

    def kit(self, platform: str) -> str:
        """Give the usual one where guests cannot be of a platform: `accept` refuses that."""
        try:
            return architectures.of_platform(platform).kit
        except NotSupported:
            return kits.DEFAULT

    def takes_kit(self, name: str) -> bool:
        """Say whether its kernel, for all that its name tells, runs on hardware."""
        return name not in (kits.PROCESS, kits.XEN)

    async def probe(self) -> Availability:
        """Say whether machines can be run so here."""
        try:
            return Availability(ok=True, detail=await self._guests.describe())
        except HeftError as error:
            return Availability(ok=False, why=error.message, hint=error.hint)

    async def warm(
        self, kit: str, resources: Resources, report: Callable[[str], object], *, template: bool
    ) -> str:
        """Make what machines with a kit and these limits start from."""
        return await self._guests.warm(kit, resources, report, template=template)

    async def collect(self) -> None:
        """Remove what was made for kits that are not there any more."""
        await self._guests.collect()

    async def accelerator(self, machine_id: str) -> Accelerator:
        """Say what a machine that runs has its code executed by."""
        shape = self._watched(machine_id).shape
        return Accelerator(shape.accelerator, await self._guests.why(shape))

    async def accept(self, launch: Launch) -> None:
        """Raise for what it refuses of a machine."""
        refuse(launch)
        await shares.check_kinds(launch)
        architecture = architectures.of_platform(launch.platform)
        shaping.shape(launch.resources, "tcg", architecture.name)

    async def prepare(self, launch: Launch) -> None:
        """Do everything that comes before the workload's first instruction."""
        async with self._begun(launch, GuestRun.begin) as watched:
            reach("heavy.held")
            watched.watching = asyncio.create_task(self._watch(watched))

    @contextlib.asynccontextmanager
    async def _begun(self, launch: Launch, begin: Beginning) -> AsyncIterator[_Watched]:
        refuse(launch)
        with self._once(launch):
            try:
                async with (
                    disks.guarded(disks.of(launch.root), launch.name) as size,
                    self._spawned(launch, size) as guest,
                ):
                    await self._begin(guest, begin)
                    yield guest.watched
            finally:
                await self._guests.release(launch)

    @contextlib.asynccontextmanager
    async def _spawned(self, launch: Launch, size: int) -> AsyncIterator[_Guest]:
        """Start a machine's QEMU, in its group and with what serves its volumes."""
        plan = await self._guests.plan(launch)
        if launch.run.exists():
            await self.discard(launch)
        group = await self._group(launch)
        async with Undo() as undo:
            undo.push(f"the run of {launch.id}", lambda: self.discard(launch))
            limits = shaping.limits(launch.resources, plan.shape)
            await asyncio.to_thread(grouping.make, group, limits)
            reach("heavy.grouped")
            async with shares.serve(launch, group, self._guests.server) as shared:
                taken = await self._spares.take(launch, plan, group, size)
                if taken is not None:
                    started = taken.started
                else:
                    started = hypervisor.start(launch, plan, group, shared.served, size)
                reach("heavy.spawned")
                try:
                    run = self._run_of(launch, started.monitor)
                    watched = _Watched(run, started.pidfd, group, plan.shape)
                    self._runs[launch.id] = watched
                    RunDirectory(launch.run).write(started.monitor, plan.shape)
                    reach("heavy.recorded")
                    yield _Guest(watched, started, shared, taken)
                finally:
                    started.close()
                    if taken is not None:
                        await asyncio.wait({taken.plugged})
            undo.commit()
        self._spares.used(launch, plan, size)

    async def _begin(self, guest: _Guest, begin: Beginning) -> None:
        """Let QEMU take its state, and the guest become the machine."""
        run = guest.watched.run
        launch = run.launch
        try:
            if guest.taken is None:
                async with control(RunDirectory(launch.run).own, qemu.CONTROL) as told:
                    RunDirectory(launch.run).close_off()
                    if guest.started.state >= 0:
                        await told.load(guest.started.state)
            await begin(run, await asyncio.to_thread(surroundings, launch, guest.shared))
            if guest.taken is not None:
                await guest.taken.plugged
            await self._guests.release(launch)
        except HostError as error:
            if said := guest.started.complaint():
                error.add_note(f"QEMU said: {said}")
            if said := guest.shared.complaint():
                error.add_note(f"what serves its volumes said: {said}")
            raise

    async def adopt(self, launch: Launch) -> Exit | Started | None:
        """Take over what an earlier daemon started."""
        group = await self._group(launch)
        record = RunDirectory(launch.run).read()
        if record is None:
            return None
        run = self._run_of(launch, record.monitor)
        shape = Shape(record.memory, record.cpus, record.accelerator, record.architecture)
        pidfd = record.monitor.open()
        watched = _Watched(run, -1 if pidfd is None else pidfd, group, shape)
        self._runs[launch.id] = watched
        if pidfd is None:
            return Exit(KILLED, error="its QEMU has ended")
        watched.watching = asyncio.create_task(self._watch(watched))
        return await run.adopt()

    async def console(self, machine_id: str, *, force: bool) -> tuple[bytes, Session]:
        """Open its console; what it has said last goes first."""
        return await self._watched(machine_id).console.open(force=force)

    async def stats(self, machine_id: str) -> Stats:
        """Measure what it uses now: processor and memory as the host pays for them."""
        watched = self._watched(machine_id)
        return await measuring.stats(watched.run, measuring.unshared(watched.group), watched.shape)

    async def adjust(self, launch: Launch) -> None:
        """Hold the machine to `launch.resources` from now on, as far as its hardware goes."""
        watched = self._watched(launch.id)
        refuse(launch)
        limits = shaping.adjusted(launch.resources, watched.shape)
        await asyncio.to_thread(grouping.make, watched.group, limits)
        await asyncio.to_thread(grouping.move, watched.group.processes(), watched.group)
        watched.group.lift(cpu_time=not limits.cpu_quota)
        asked = launch.resources
        memory = asked.memory if asked.memory < watched.shape.memory else 0
        await watched.run.agent.limit(processes=max(asked.pids_limit, 0), memory=memory)
        watched.run.launch = launch

    async def discard(self, launch: Launch) -> None:
        """End whatever still runs and remove every trace of the run; QEMU need not be there."""
        group = await self._group(launch)
        watched = self._runs.pop(launch.id, None)
        if watched is not None:
            await self._let_go(watched)
        await group.end()
        reach("heavy.ended")
        if watched is not None and watched.pidfd >= 0:
            await processes.gone(watched.pidfd)
        await group.remove()
        await asyncio.to_thread(shutil.rmtree, launch.run, ignore_errors=True)

    async def sweep(self, known: frozenset[str]) -> None:
        """Remove what was left by runs of machines not in `known`; QEMU need not be there."""
        await monitors.sweep(self._settings.run, known, await self._guests.groups())

    async def close(self) -> None:
        """Give up watching, as the daemon ends; the machines run on."""
        if self._clocks is not None:
            await self._clocks.close()
        await self._spares.close()
        for watched in self._runs.values():
            await self._let_go(watched)
            if watched.pidfd >= 0:
                os.close(watched.pidfd)
        self._runs.clear()
        self._guests.close()

    async def _turn_off(self, watched: _Watched) -> None:
        await watched.group.end()

    # What watches a run

    async def _watch(self, watched: _Watched) -> None:
        """Tell a run when its guest or its QEMU is over."""
        own = RunDirectory(watched.run.launch.run).own
        name = watched.run.launch.id
        how = await watching.seen(own, watched.pidfd, watched.console, name)
        if not how:
            # Its monitor alone may be gone: a QEMU that nobody watches is nobody's machine.
            await watched.group.end()
        oom = watched.group.oom_kills() > 0 or ending.for_want_of_memory(how)
        watched.run.monitor_ended(how or watched.why, oom_killed=oom)

    def _talking(self) -> tuple[GuestRun, ...]:
        """Give the runs whose guests are there."""
        return tuple(each.run for each in self._runs.values() if not each.run.has_ended)

    def _run_of(self, launch: Launch, monitor: ProcessId) -> GuestRun:
        agent = str(RunDirectory(launch.run).own / qemu.AGENT)
        return GuestRun(launch, unix_connector(agent), monitor.pid)

    async def _group(self, launch: Launch) -> Group:
        if self._clocks is None:
            self._clocks = Clocks(self._talking)
        await self._guests.groups()
        return self._guests.group(launch)
