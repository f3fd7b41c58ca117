"""One User Mode Linux: what it is given, and how it is started."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from heft.errors import HostError
from heft.failures import translated
from heft.guest import disks, jail, setup
from heft.guest.jail import Jail
from heft.guest.monitors import BOUNDED, FILE_BLOCK, RunDirectory, user_of
from heft.host import denied_calls, memory_files, processes, taps
from heft.host.processes import ProcessId
from heft.weights.medium import uml
from heft.weights.medium.uml import Plugs

if TYPE_CHECKING:
    from pathlib import Path

    from heft.guest.kits import Kit
    from heft.guest.shaping import Shape
    from heft.host.cgroups import Group
    from heft.weights.base import Launch
    from heft.weights.medium.line import Line

_ROOT = 0
"""Who has the directory of its run: it makes its files in its jail, and none there."""
CONSOLE_SIZE = 1 << 20
"""Bytes that its kernel can say in its life; what it says after that is not heard."""


@dataclass(frozen=True, slots=True)
class Started:
    """One that was started by this daemon."""

    pidfd: int
    """Of its monitor; whoever watches it closes it."""
    monitor: ProcessId
    console: int
    """What it says: a file in memory."""


@dataclass(frozen=True, slots=True)
class Means:
    """What a kernel is started with, and what it is joined with."""

    vsock: Path
    """The program heft-vsock."""
    beside: Path
    """The library heft-uml.so."""
    line: Line
    served: tuple[int, ...]
    """Connections to who serves the machine's volumes."""


def start(launch: Launch, kit: Kit, shape: Shape, group: Group, means: Means) -> Started:
    """Start the kernel of a machine in its group and jail.

    Raises `HostError`.
    """
    run, user = RunDirectory(launch.run), user_of(launch.id)
    run.make(_ROOT, (group.path,))
    base, upper, size = _disks(launch, user)
    modules = setup.loads_modules(launch)
    readable = [(means.vsock, uml.VSOCK), (means.beside, uml.BESIDE), (kit.kernel, uml.KERNEL)]
    readable += [(kit.initramfs, uml.INITRAMFS), (base, uml.BASE)]
    readable += [(kit.modules, uml.MODULES)] if modules else []
    with contextlib.ExitStack() as opened:

        def hold(descriptor: int) -> int:
            opened.callback(os.close, descriptor)
            return descriptor

        heard, said = map(hold, means.line.make())
        console = hold(memory_files.bounded(CONSOLE_SIZE))
        card, mac = -1, ""
        if launch.endpoint is not None and launch.endpoint.interface:
            card = hold(taps.plugged(launch.endpoint.interface, header=False))
            mac = launch.endpoint.mac
        confined = hold(denied_calls.written(uml.DENIED))
        place = Jail(
            uid=user,
            gid=user,
            directory=run.own,
            readable=tuple(readable),
            writable=((upper, uml.UPPER),),
            filter=confined,
            scratch=True,
        )
        plugs = Plugs(heard, said, console, card, mac, means.served)
        command = uml.command(shape.memory, plugs, modules=modules)
        passed = [heard, said, console, confined, *means.served]
        groups = " ".join(map(str, group.directories()))
        most = str(-(-max(size, shape.memory) // FILE_BLOCK))  # its memory is a file too
        process = processes.spawn(
            ("sh", "-c", BOUNDED, "sh", most, groups, *jail.command(place, command)),
            stdout=console,
            stderr=console,
            pass_fds=[*passed, card] if card >= 0 else passed,
        )
        kept = os.dup(console)
    monitor = ProcessId.of(process.pid)
    assert monitor is not None, "a child is there until it is reaped"
    pidfd = os.pidfd_open(process.pid)
    process.returncode = 0  # it outlives us, and is reaped by its pidfd
    return Started(pidfd, monitor, kept)


def _disks(launch: Launch, user: int) -> tuple[Path, Path, int]:
    """Give the machine's disks, and the bytes of its own.

    Its user can open both, where its jail lets it to them.
    """
    base, upper = launch.root.base, disks.of(launch.root)
    if base is None:
        raise HostError(f"container {launch.id} has no base to start from")
    with translated(f"open the disks of {launch.id}"):
        os.chown(upper, user, user)
        return base, upper, upper.stat().st_size


def console_of(monitor: ProcessId) -> int:
    """Open what the kernel of an earlier daemon's says; -1: it cannot be read any more."""
    try:
        return os.open(f"/proc/{monitor.pid}/fd/2", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return -1
