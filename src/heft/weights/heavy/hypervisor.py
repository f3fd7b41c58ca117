"""One QEMU: what it is given, how it is started, and what a later daemon must know of it."""

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
from heft.host import memory_files, processes, taps
from heft.host.processes import ProcessId
from heft.weights.heavy import accelerators, qemu
from heft.weights.heavy.qemu import Card, Disks

if TYPE_CHECKING:
    from collections.abc import Callable

    from heft.guest.kits import Kit
    from heft.guest.shares import Served
    from heft.host.cgroups import Group
    from heft.weights.base import Launch
    from heft.weights.heavy.guests import Plan


@dataclass(frozen=True, slots=True)
class Started:
    """A QEMU that was started by this daemon, and the state that it is still to take."""

    pidfd: int
    """Of its monitor; whoever watches it closes it."""
    monitor: ProcessId
    state: int
    """A descriptor in the child and here; -1: it boots cold."""
    errors: int
    tap: int
    """What its network card is on."""

    def complaint(self) -> str:
        """Give what it has said on its error output."""
        return memory_files.content(self.errors)

    def close(self) -> None:
        """Let go of the descriptors."""
        for descriptor in (self.state, self.errors, self.tap):
            if descriptor >= 0:
                os.close(descriptor)


def start(
    launch: Launch, plan: Plan, group: Group, served: tuple[Served, ...], largest: int
) -> Started:
    """Start the QEMU of a machine in its group and jail. Raises `HostError`.

    `largest` are the bytes of the largest file that it may make: those of the machine's disk.
    """
    run, user = RunDirectory(launch.run), user_of(launch.id)
    kit, shape, template = plan.kit, plan.shape, plan.template
    run.make(user, (group.path,))
    with contextlib.ExitStack() as opened:

        def hold(descriptor: int) -> int:
            opened.callback(os.close, descriptor)
            return descriptor

        given = _open_disks(launch, kit, hold)
        card = _card(launch, hold)
        passed = [given.base, given.upper, card.tap]
        passed += [given.modules] if given.modules >= 0 else []
        state = -1
        if template is not None:
            with translated(f"read {template.state}"):
                state = os.open(template.state, os.O_RDONLY | os.O_CLOEXEC)
            command = qemu.restored(shape, template.memory, given, card)
            passed += [template.memory, state]
        else:
            command = qemu.cold(shape, "/kernel", "/initramfs", given, card, plan.tsc_khz)
        place = Jail(
            uid=user,
            gid=user,
            directory=run.own,
            readable=() if template else ((kit.kernel, "/kernel"), (kit.initramfs, "/initramfs")),
            devices=("/dev/kvm",) if shape.accelerator == "kvm" else (),
            groups=accelerators.groups(shape.accelerator),
        )
        errors, tap = memory_files.bounded(), os.dup(card.tap)
        groups = " ".join(map(str, group.directories()))
        passed += [each.connection for each in served]
        inside = jail.command(place, (*command, *qemu.shares(shape, served)))
        most = str(-(-largest // FILE_BLOCK))
        process = processes.spawn(
            ("sh", "-c", BOUNDED, "sh", most, groups, *inside), stderr=errors, pass_fds=passed
        )
    monitor = ProcessId.of(process.pid)
    assert monitor is not None, "a child is there until it is reaped"
    pidfd = os.pidfd_open(process.pid)
    process.returncode = 0  # it outlives us, and is reaped by its pidfd
    return Started(pidfd, monitor, state, errors, tap)


def _open_disks(launch: Launch, kit: Kit, hold: Callable[[int], int]) -> Disks:
    base, upper = launch.root.base, disks.of(launch.root)
    if base is None:
        raise HostError(f"container {launch.id} has no base to start from")
    with translated(f"open the disks of {launch.id}"):
        first = hold(os.open(base, os.O_RDONLY | os.O_CLOEXEC))
        modules = -1
        if setup.loads_modules(launch):
            modules = hold(os.open(kit.modules, os.O_RDONLY | os.O_CLOEXEC))
        return Disks(first, hold(os.open(upper, os.O_RDWR | os.O_CLOEXEC)), modules)


def _card(launch: Launch, hold: Callable[[int], int]) -> Card:
    if launch.endpoint is None or not launch.endpoint.interface:
        return Card(hold(taps.unplugged()))
    return Card(hold(taps.plugged(launch.endpoint.interface)), launch.endpoint.mac)
