"""A kernel that is itself a process: User Mode Linux. `heft.weights.medium.backend.Backend`.

It needs nothing of the processor: code runs as it is, and each system call is taken by the kernel
as a debugger takes it (ptrace(2)). It is in a jail, as a guest's is that may be hostile.
"""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from heft.errors import HeftError, NotSupported
from heft.guest import ending, kits, shaping, shares
from heft.guest.setup import Disk
from heft.host import grouping, memory_files, usage
from heft.host.processes import run as run_program
from heft.model.network import Plug
from heft.weights.base import Accelerator, Availability
from heft.weights.medium import kernel, uml
from heft.weights.medium.backend import Traits
from heft.weights.medium.kernel import Means
from heft.weights.medium.line import Line

if TYPE_CHECKING:
    from pathlib import Path

    from heft.guest.kits import Kit
    from heft.guest.monitors import Record
    from heft.guest.shaping import Shape
    from heft.guest.shares import Served, Server
    from heft.guest.wire import Connection
    from heft.host.cgroups import Group
    from heft.host.grouping import Limits
    from heft.host.processes import ProcessId
    from heft.host.usage import Usage
    from heft.weights.base import Launch


@dataclass(slots=True)
class Process:
    """`heft.weights.medium.backend.Guest`, whose kernel is a process."""

    monitor: ProcessId
    pidfd: int
    line: Line
    console: int
    """What it says: a file in memory; -1: it cannot be read."""

    async def made(self) -> None:
        """Return at once: a process runs as soon as it is there."""

    async def connect(self) -> Connection:
        """Reach the agent."""
        return await self.line.connect()

    def said(self) -> str:
        """Give the last that it has said."""
        return "" if self.console < 0 else memory_files.end(self.console)

    def why(self) -> str:
        """Say why it is over."""
        return ending.panic(self.said()) or "its kernel has ended"

    def close(self) -> None:
        """Let go of its console."""
        if self.console >= 0:
            os.close(self.console)
            self.console = -1


class UserMode:
    """`heft.weights.medium.backend.Backend`."""

    traits = Traits(
        weight="medium",
        accelerator=Accelerator("uml", "code runs on the host's processor as it is"),
        kit=kits.PROCESS,
        plug=Plug.TAP,
        disks=(
            Disk("base", uml.DISKS[0], "erofs", read_only=True),
            Disk("upper", uml.DISKS[1], "ext4"),
        ),
        modules=Disk("modules", uml.DISKS[2], "ext4", read_only=True),
    )

    def __init__(self, programs: Path) -> None:
        self._vsock = programs / "heft-vsock"
        """The program that starts kernels, and is their vsock device."""
        self._beside = programs / "heft-uml.so"
        """What is loaded into them."""
        self.server: Server | None = shares.diod(programs / "heft-diod.so", uml.SHARES_PORT)

    async def available(self, kit: Kit | None) -> Availability:
        """Say whether machines can be run so here."""
        try:
            await run_program("bwrap", "--version")
        except HeftError as error:
            return Availability(ok=False, why=error.message, hint=error.hint)
        if kit is None:
            return Availability(ok=True, detail="User Mode Linux, fetched by the first machine")
        return Availability(ok=True, detail=f"User Mode Linux {kit.record.release}")

    def refuse(self, launch: Launch) -> None:
        """Raise for what such a machine cannot have."""
        if shaping.quota(launch.resources) > (launch.resources.cpu_period or shaping.PERIOD):
            raise NotSupported(
                "--cpus, --cpu-quota: a medium machine has one processor, or less of it",
                hint="--cpus 1, or --weight heavy",
            )

    async def start(
        self, launch: Launch, kit: Kit, shape: Shape, group: Group, served: tuple[Served, ...]
    ) -> Process:
        """Start a kernel in its group and jail. Raises `NotSupported`, `HostError`."""
        for needed in (self._vsock, self._beside):
            if not needed.exists():
                raise NotSupported(f"there is no {needed}", hint="install Heft anew: make up")
        line = Line(launch.run)
        means = Means(self._vsock, self._beside, line, tuple(each.connection for each in served))
        started = kernel.start(launch, kit, shape, group, means)
        return Process(started.monitor, started.pidfd, line, started.console)

    async def adopt(self, launch: Launch, record: Record) -> Process:
        """Take over what an earlier daemon started."""
        pidfd = record.monitor.open()
        said = -1 if pidfd is None else kernel.console_of(record.monitor)
        line = Line(launch.run)
        return Process(record.monitor, -1 if pidfd is None else pidfd, line, said)

    async def end(self, launch: Launch, group: Group) -> None:
        """End whatever runs for a machine."""
        del launch
        await group.end()

    async def used(self, launch: Launch, group: Group) -> Usage:
        """Measure what the host pays for it."""
        del launch
        return usage.measure(group)

    async def limit(self, launch: Launch, group: Group, limits: Limits) -> None:
        """Hold one that runs to these limits from now on."""
        del launch
        await asyncio.to_thread(grouping.make, group, limits)
        await asyncio.to_thread(grouping.move, group.processes(), group)
        group.lift(cpu_time=not limits.cpu_quota)

    async def sweep(self, known: frozenset[str]) -> None:
        """There is nothing that is not in the control groups of the runs."""
