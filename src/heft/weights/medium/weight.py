"""Medium: a kernel that knows it has no hardware, and needs nothing of the processor.

A machine boots anew at each start, from its base and its upper, and is then told by the agent's
protocol what it is; its kernel outlives the daemon. What that runs on is a `Backend`'s.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
import shutil
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from heft.errors import HeftError, HostError, NotSupported
from heft.faults import reach
from heft.guest import disks, ending, measuring, monitors, setup, shaping, shares
from heft.guest.architectures import NATIVE
from heft.guest.monitors import RunDirectory
from heft.guest.refusals import refuse
from heft.guest.run import KILLED, GuestRun
from heft.guest.runs import Runs
from heft.guest.setup import Surroundings
from heft.guest.shaping import Shape
from heft.guest.shares import Shared, shared_points
from heft.host import cgroups, grouping, processes
from heft.host.cgroups import Group, Layout
from heft.undo import Undo
from heft.weights.base import Accelerator, Availability, Exit, Started, Stats
from heft.weights.medium.user_mode import UserMode

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from heft.guest.kits import Kit, Kits
    from heft.guest.runs import Beginning
    from heft.weights.base import Launch, Resources
    from heft.weights.medium.backend import Backend, Guest

log = logging.getLogger(__name__)

_ENTROPY = 64
_PLATFORM = f"linux/{NATIVE}"


@dataclass(frozen=True, slots=True)
class MediumSettings:
    """Where runs are."""

    run: Path
    """The directory of the runs' directories (`run/ID`)."""
    cgroup_parent: str = "/heft"


@dataclass(slots=True)
class _Watched:
    """A run, and what watches its kernel."""

    run: GuestRun
    guest: Guest
    group: Group
    shape: Shape
    why: str = ""
    """Why it ends, where that was this daemon's doing."""
    watching: asyncio.Task[None] | None = None
    shared: Shared = field(default_factory=Shared)
    """What it shares with the host, where this daemon has started it, until it has begun."""


class MediumWeight(Runs[_Watched]):
    """`heft.weights.base.Weight`, and what of `heft.weights.abilities` needs no hardware."""

    needs_base = True
    bounds_upper = True
    maps_users = False
    own_kernel = True

    def __init__(
        self, settings: MediumSettings, kits: Kits, backend: Backend | None = None
    ) -> None:
        super().__init__()
        self._settings = settings
        self._kits = kits
        self._backend = backend or UserMode(kits.agent.parent)
        self._traits = self._backend.traits
        self.name = self._traits.weight
        self.plug = self._traits.plug
        self._layout: Layout | None = None

    def kit(self, platform: str) -> str:
        """Give the one that all its machines start with."""
        del platform
        return self._traits.kit

    def takes_kit(self, name: str) -> bool:
        """Say whether it is that one."""
        return name == self._traits.kit

    async def probe(self) -> Availability:
        """Say whether machines can be run so here."""
        return await self._backend.available(
            await asyncio.to_thread(self._kits.get, self._traits.kit)
        )

    async def warm(
        self, kit: str, resources: Resources, report: Callable[[str], object], *, template: bool
    ) -> str:
        """Make the kit of machines with these limits; there are no templates of it."""
        shaping.shape(resources, self._traits.accelerator.name)
        holder = f"warm-{secrets.token_hex(4)}"
        try:
            await self._kit(kit, holder, report)
        finally:
            await self._kits.release(holder)
        return "a medium machine's kernel boots anew at each start" if template else ""

    async def collect(self) -> None:
        """There is nothing to remove that was made of a kit."""

    async def accelerator(self, machine_id: str) -> Accelerator:
        """Say what a machine that runs has its code executed by."""
        self._watched(machine_id)
        return self._traits.accelerator

    async def _kit(self, name: str, holder: str, report: Callable[[str], object]) -> Kit:
        return await self._kits.ensure(name or self._traits.kit, report, holder)

    async def accept(self, launch: Launch) -> None:
        """Raise for what it refuses of a machine."""
        self._refuse(launch)
        await shares.check_kinds(launch)

    async def prepare(self, launch: Launch) -> None:
        """Do everything that comes before the workload's first instruction."""
        async with self._begun(launch, GuestRun.begin) as watched:
            reach("medium.held")
            watched.watching = asyncio.create_task(self._watch(watched))

    @contextlib.asynccontextmanager
    async def _begun(self, launch: Launch, begin: Beginning) -> AsyncIterator[_Watched]:
        self._refuse(launch)
        with self._once(launch):
            try:
                kit = await self._kit(launch.kit, launch.id, lambda _: None)
                if launch.run.exists():
                    await self.discard(launch)
                async with (
                    disks.guarded(disks.of(launch.root), launch.name),
                    self._spawned(launch, kit) as watched,
                ):
                    await self._begin(watched, begin)
                    yield watched
            finally:
                await self._kits.release(launch.id)

    @contextlib.asynccontextmanager
    async def _spawned(self, launch: Launch, kit: Kit) -> AsyncIterator[_Watched]:
        """Start a machine's kernel, in its group and with what serves its volumes."""
        async with Undo() as undo:
            undo.push(f"the run of {launch.id}", lambda: self.discard(launch))
            group, shape = await self._group(launch), self._shape(launch)
            limits = shaping.limits(launch.resources, shape)
            await asyncio.to_thread(grouping.make, group, limits)
            reach("medium.grouped")
            async with self._shared(launch, group) as shared:
                yield await self._started(launch, kit, shape, group, shared)
            undo.commit()

    @contextlib.asynccontextmanager
    async def _shared(self, launch: Launch, group: Group) -> AsyncIterator[Shared]:
        """Serve what a machine shares with the host, where its kernel can be joined with that."""
        if self._backend.server is None:
            yield Shared()
            return
        async with shares.serve(launch, group, self._backend.server) as shared:
            yield shared

    async def _started(
        self, launch: Launch, kit: Kit, shape: Shape, group: Group, shared: Shared
    ) -> _Watched:
        guest = await self._backend.start(launch, kit, shape, group, shared.served)
        reach("medium.spawned")
        run = GuestRun(launch, guest.connect, guest.monitor.pid)
        watched = _Watched(run, guest, group, shape, shared=shared)
        self._runs[launch.id] = watched
        RunDirectory(launch.run).write(guest.monitor, shape)
        reach("medium.recorded")
        return watched

    async def _begin(self, watched: _Watched, begin: Beginning) -> None:
        """Let the guest become the machine; or see that its kernel ends before."""
        given = await asyncio.to_thread(self._surroundings, watched)

        async def beginning() -> None:
            await watched.guest.made()
            await begin(watched.run, given)

        begun = asyncio.ensure_future(beginning())
        ended = asyncio.ensure_future(processes.ended(watched.guest.pidfd))
        try:
            await asyncio.wait({begun, ended}, return_when=asyncio.FIRST_COMPLETED)
            if not begun.done():
                why = watched.guest.why()
                raise HostError(f"the guest of {watched.run.launch.id} ended as it started: {why}")
            await begun
        except HeftError as error:
            if said := watched.guest.said():
                error.add_note(f"its kernel said: {said}")
            if said := watched.shared.complaint():
                error.add_note(f"what serves its volumes said: {said}")
            raise
        finally:
            for task in (begun, ended):
                task.cancel()
            await asyncio.gather(begun, ended, return_exceptions=True)

    async def adopt(self, launch: Launch) -> Exit | Started | None:
        """Take over what an earlier daemon started."""
        group = await self._group(launch)
        record = RunDirectory(launch.run).read()
        if record is None:
            return None
        guest = await self._backend.adopt(launch, record)
        run = GuestRun(launch, guest.connect, record.monitor.pid)
        shape = Shape(record.memory, record.cpus, record.accelerator)
        watched = _Watched(run, guest, group, shape)
        self._runs[launch.id] = watched
        if guest.pidfd < 0:
            return Exit(KILLED, error=guest.why())
        watched.watching = asyncio.create_task(self._watch(watched))
        return await run.adopt()

    async def stats(self, machine_id: str) -> Stats:
        """Measure what it uses now: processor time as the host pays for it."""
        watched = self._watched(machine_id)
        paid = await self._backend.used(watched.run.launch, watched.group)
        return await measuring.stats(watched.run, paid, watched.shape)

    async def adjust(self, launch: Launch) -> None:
        """Hold the machine to `launch.resources` from now on, as far as its hardware goes."""
        watched = self._watched(launch.id)
        self._refuse(launch)
        limits = shaping.adjusted(launch.resources, watched.shape)
        await self._backend.limit(launch, watched.group, limits)
        asked = launch.resources
        memory = asked.memory if asked.memory < watched.shape.memory else 0
        await watched.run.agent.limit(processes=max(asked.pids_limit, 0), memory=memory)
        watched.run.launch = launch

    async def discard(self, launch: Launch) -> None:
        """End whatever still runs and remove every trace of the run."""
        group = await self._group(launch)
        watched = self._runs.pop(launch.id, None)
        if watched is not None:
            await self._let_go(watched)
        await self._backend.end(launch, group)
        reach("medium.ended")
        if watched is not None and watched.guest.pidfd >= 0:
            await processes.gone(watched.guest.pidfd)
        await group.remove()
        await asyncio.to_thread(shutil.rmtree, launch.run, ignore_errors=True)

    async def sweep(self, known: frozenset[str]) -> None:
        """Remove what was left by runs of machines not in `known`."""
        await self._backend.sweep(known)
        await monitors.sweep(self._settings.run, known, await self._groups())

    async def close(self) -> None:
        """Give up watching, as the daemon ends; the machines run on."""
        for watched in self._runs.values():
            await self._let_go(watched)
            if watched.guest.pidfd >= 0:
                os.close(watched.guest.pidfd)
        self._runs.clear()

    async def _turn_off(self, watched: _Watched) -> None:
        await self._backend.end(watched.run.launch, watched.group)

    # What watches a run

    async def _watch(self, watched: _Watched) -> None:
        """Tell a run when its kernel is over."""
        await processes.ended(watched.guest.pidfd)
        why = watched.why or watched.guest.why()
        oom = watched.group.oom_kills() > 0 or ending.for_want_of_memory(why)
        # Its monitor alone may be gone: a kernel that nobody watches is nobody's machine.
        try:
            await self._backend.end(watched.run.launch, watched.group)
        except HeftError:
            log.exception("what is left of %s is removed with its run", watched.run.launch.id)
        watched.run.monitor_ended(why, oom_killed=oom)

    async def _let_go(self, watched: _Watched) -> None:
        await super()._let_go(watched)
        watched.guest.close()

    async def _groups(self) -> Layout:
        if self._layout is None:
            self._layout = await asyncio.to_thread(lambda: cgroups.ensure(cgroups.detect()))
        return self._layout

    async def _group(self, launch: Launch) -> Group:
        parent = launch.cgroup_parent or self._settings.cgroup_parent
        return Group(await self._groups(), os.path.join("/", parent, launch.id))

    # What a machine is

    def _refuse(self, launch: Launch) -> None:
        """Raise for what such a machine cannot have."""
        _refuse(launch)
        if self._backend.server is None and shared_points(launch):
            raise NotSupported(
                "--volume, --mount, --volumes-from:"
                f" a machine of weight {self.name} has no volumes and binds",
                hint="--weight medium, --weight heavy, --weight light",
            )
        self._backend.refuse(launch)
        self._shape(launch)

    def _shape(self, launch: Launch) -> Shape:
        return shaping.shape(launch.resources, self._traits.accelerator.name)

    def _surroundings(self, watched: _Watched) -> Surroundings:
        """Give what a guest is told of its host, with entropy of its own."""
        launch = watched.run.launch
        more = (self._traits.modules,) if setup.loads_modules(launch) else ()
        return Surroundings(
            disks=(*self._traits.disks, *more),
            clock=time.time_ns(),
            entropy=secrets.token_bytes(_ENTROPY),
            shares=watched.shared.shares,
            files=setup.generated_contents(launch),
        )


def _refuse(launch: Launch) -> None:
    """Raise for what such a machine cannot have."""
    refuse(launch)
    if launch.init_system:
        raise NotSupported("a medium machine boots no whole system", hint="--weight heavy")
    if launch.platform and not f"{launch.platform}/".startswith(f"{_PLATFORM}/"):
        raise NotSupported(
            f"a medium machine is of {_PLATFORM}, not of {launch.platform}", hint="--weight heavy"
        )
