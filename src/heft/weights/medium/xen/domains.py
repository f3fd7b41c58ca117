"""A kernel that is a domain of Xen, beside this host's own. `heft.weights.medium.backend.Backend`.

Its monitor is `xl create -F`, which stays until the domain is over, and says how. Domains are not
processes of this host: which machines have one is noted in a directory that has nothing else, from
before a domain is made until it is seen to be gone.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from heft.errors import HeftError, HostError, NotSupported
from heft.failures import translated
from heft.guest import disks, ending, kits, setup, shaping
from heft.guest.monitors import ENTER, RunDirectory
from heft.guest.setup import Disk
from heft.host import loops, memory_files, processes
from heft.host.processes import ProcessId
from heft.host.usage import Usage
from heft.model.network import Plug
from heft.weights.base import Accelerator, Availability
from heft.weights.medium import kernel
from heft.weights.medium.backend import Traits
from heft.weights.medium.xen import configuration, hotplug, toolstack
from heft.weights.medium.xen.configuration import Card, Domain
from heft.weights.medium.xen.console import Pump, Tail

if TYPE_CHECKING:
    from heft.guest.kits import Kit
    from heft.guest.monitors import Record
    from heft.guest.shaping import Shape
    from heft.guest.shares import Served, Server
    from heft.guest.wire import Connection
    from heft.host.cgroups import Group
    from heft.host.grouping import Limits
    from heft.weights.base import Launch

_CAPABILITIES = Path("/proc/xen/capabilities")
"""Says `control_d` in the domain that starts others."""
_PAUSE = 0.2
_GONE_SECONDS = 60.0
"""How long a domain may take to be taken down: its memory is cleared."""


@dataclass(slots=True)
class Running:
    """`heft.weights.medium.backend.Guest`, whose kernel is a domain."""

    machine: str
    monitor: ProcessId
    pidfd: int
    words: int
    """What xl says: a file in memory; -1: it cannot be read."""
    tail: Tail = field(default_factory=Tail)
    pump: Pump | None = None

    async def connect(self) -> Connection:
        """Reach the agent, as soon as its kernel is up."""
        domain = await self._domain()
        path = await toolstack.terminal(domain)
        if self.pump is not None:
            self.pump.close()
        self.pump = Pump(path, self.tail)
        return await self.pump.connected()

    async def made(self) -> None:
        """Return when xl has made the domain, which it does one by one, and let it go."""
        begun = time.monotonic()
        while (domain := await self._find()) is None or domain.is_paused:  # noqa: ASYNC110 - no event
            # Each look is a process or two: they must not hold up what is looked for.
            await asyncio.sleep(max(_PAUSE, (time.monotonic() - begun) / 4))

    async def _domain(self) -> toolstack.Listed:
        domain = await self._find()
        if domain is None:
            raise HostError(f"the domain of {self.machine} is gone")
        return domain

    async def _find(self) -> toolstack.Listed | None:
        return await toolstack.find(configuration.uuid_of(self.machine))

    def said(self) -> str:
        """Give what xl has said, or else the last that came by the line."""
        return "" if self.words < 0 else memory_files.end(self.words)

    def why(self) -> str:
        """Say why it is over."""
        return ending.panic(self.tail.text) or toolstack.why(self.said())

    def close(self) -> None:
        """Let go of its console and of what xl says."""
        if self.pump is not None:
            self.pump.close()
        if self.words >= 0:
            os.close(self.words)
            self.words = -1


class Xen:
    """`heft.weights.medium.backend.Backend`."""

    traits = Traits(
        weight="medium:xen",
        accelerator=Accelerator("xen", "a paravirtual domain beside the host's own"),
        kit=kits.XEN,
        plug=Plug.VIF,
        disks=(
            Disk("base", configuration.DISKS[0], "erofs", read_only=True),
            Disk("upper", configuration.DISKS[1], "ext4"),
        ),
        modules=Disk("modules", configuration.DISKS[2], "ext4", read_only=True),
    )

    server: Server | None = None

    def __init__(self, notes: Path, script: Path) -> None:
        self._notes, self._script = notes, script

    async def available(self, kit: Kit | None) -> Availability:
        """Say whether machines can be run so here."""
        if not _is_dom0():
            why = "this host is not the domain of a Xen that starts others (dom0)"
            hint = "--weight medium is User Mode Linux here"
            return Availability(ok=False, why=why, hint=hint, fits=False)
        try:
            version = (await toolstack.info()).get("xen_version", "")
        except NotSupported as error:
            return Availability(ok=False, why=error.message, hint="apt-get install xen-utils")
        except HeftError as error:
            return Availability(ok=False, why=error.message, hint="systemctl start xen")
        what = "fetched by the first machine" if kit is None else kit.record.release
        return Availability(ok=True, detail=f"paravirtual domains of Xen {version}, kernel {what}")

    def refuse(self, launch: Launch) -> None:
        """Raise for what such a machine cannot have."""
        if launch.resources.cpuset_mems:
            raise NotSupported("--cpuset-mems: Xen places a domain's memory", hint="leave it out")

    async def start(
        self, launch: Launch, kit: Kit, shape: Shape, group: Group, served: tuple[Served, ...]
    ) -> Running:
        """Let xl make a domain, in the machine's group."""
        del served
        if not _is_dom0():
            raise NotSupported("this host is no dom0 of Xen", hint="--weight medium, heavy, light")
        RunDirectory(launch.run).make(0, (group.path,))
        with translated(f"note the domain of {launch.id}"):
            self._notes.mkdir(mode=0o700, parents=True, exist_ok=True)
            (self._notes / launch.id).touch()
        with contextlib.ExitStack() as opened:
            hotplug.place(self._script)
            devices = await asyncio.to_thread(_disks, launch, kit, opened)
            nodes = tuple(disk for _, disk in devices)
            domain = _domain(launch, kit, shape, nodes, str(self._script))
            path = launch.run / "domain.cfg"
            with translated(f"make {path}"):
                path.write_text(domain.text)
            words = memory_files.bounded()
            opened.callback(os.close, words)
            groups = " ".join(map(str, group.directories()))
            process = processes.spawn(
                ("sh", "-c", ENTER, "sh", groups, "xl", "create", "-F", str(path)),
                stdout=words,
                stderr=words,
                new_session=True,
                # They are its disks until its domain has them, whatever becomes of this daemon.
                pass_fds=[device for device, _ in devices],
            )
            kept = os.dup(words)
            monitor = ProcessId.of(process.pid)
            assert monitor is not None, "a child is there until it is reaped"
            pidfd = os.pidfd_open(process.pid)
            process.returncode = 0  # it outlives us, and is reaped by its pidfd
            return Running(launch.id, monitor, pidfd, kept)

    async def adopt(self, launch: Launch, record: Record) -> Running:
        """Take over what an earlier daemon started."""
        pidfd = record.monitor.open()
        words = -1 if pidfd is None else kernel.console_of(record.monitor)
        tail = Tail(is_ready=True)
        return Running(launch.id, record.monitor, -1 if pidfd is None else pidfd, words, tail)

    async def end(self, launch: Launch, group: Group) -> None:
        """End the domain, its monitor, and a making of it that was not done."""
        await self._destroy(launch.id)
        await group.end()
        await self._forget(launch.id)

    async def _destroy(self, machine: str) -> None:
        if (self._notes / machine).exists():
            domain = await toolstack.find(configuration.uuid_of(machine))
            if domain is not None:
                await toolstack.destroy(domain)

    async def _forget(self, machine: str) -> None:
        """See a machine's domain gone, of which nobody makes another."""
        if not (self._notes / machine).exists():
            return
        uuid = configuration.uuid_of(machine)
        try:
            async with asyncio.timeout(_GONE_SECONDS):
                while (domain := await toolstack.find(uuid)) is not None:
                    await toolstack.destroy(domain)
                    await asyncio.sleep(_PAUSE)
        except TimeoutError:
            raise HostError(
                f"the domain of {machine} is not gone after {_GONE_SECONDS:g} s",
                hint="xl list; xl destroy",
            ) from None
        (self._notes / machine).unlink(missing_ok=True)

    async def used(self, launch: Launch, group: Group) -> Usage:
        """Measure the processor time and the memory of its domain."""
        del group
        domain = await toolstack.find(configuration.uuid_of(launch.id))
        if domain is None:
            return Usage()
        return Usage(cpu_total=domain.nanoseconds, memory_used=domain.memory)

    async def limit(self, launch: Launch, group: Group, limits: Limits) -> None:
        """Hold its domain to a part of the processors."""
        del group
        domain = await toolstack.find(configuration.uuid_of(launch.id))
        if domain is not None:
            cap, weight = configuration.cap(limits), configuration.weight(limits)
            await toolstack.schedule(domain, cap=cap, weight=weight, cpus=limits.cpus)

    async def sweep(self, known: frozenset[str]) -> None:
        """End domains of machines not in `known`; who makes one still is ended with his group."""
        for note in tuple(self._notes.iterdir()) if self._notes.is_dir() else ():
            if note.name not in known:
                await self._forget(note.name)


def _is_dom0() -> bool:
    try:
        return "control_d" in _CAPABILITIES.read_text()
    except OSError:
        return False


def _disks(
    launch: Launch, kit: Kit, opened: contextlib.ExitStack
) -> list[tuple[int, configuration.Disk]]:
    """Give a machine's disks, each with a descriptor that holds it open as a device."""
    base, upper = launch.root.base, disks.of(launch.root)
    if base is None:
        raise HostError(f"container {launch.id} has no base to start from")
    files = [(base, True), (upper, False)]
    files += [(kit.modules, True)] if setup.loads_modules(launch) else []
    found = []
    for (file, read_only), name in zip(files, configuration.DISKS, strict=False):
        device = loops.attached(file)
        opened.callback(os.close, device)
        node = os.readlink(f"/proc/self/fd/{device}")
        found.append((device, configuration.Disk(node, name, read_only)))
    return found


def _domain(
    launch: Launch, kit: Kit, shape: Shape, nodes: tuple[configuration.Disk, ...], script: str
) -> Domain:
    """Give what xl is told of a machine."""
    card, end = None, launch.endpoint
    if end is not None and end.interface:
        card = Card(end.mac, end.bridge, end.interface)
    return Domain(
        machine=launch.id,
        kernel=str(kit.kernel),
        initramfs=str(kit.initramfs),
        memory=shape.memory,
        processors=shape.cpus,
        disks=nodes,
        script=script,
        card=card,
        limits=shaping.limits(launch.resources, shape),
    )
