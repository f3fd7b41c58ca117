"""Machines of another platform: an emulator (qemu-user) that the kernel executes for its programs.

A machine in a user namespace has a binfmt_misc of its own, where the kernel knows such (Linux 6.7):
the runtime mounts it in the machine, the daemon registers the emulator before the workload's first
instruction, and both are gone with the machine's last process, whatever becomes of the daemon. Of
other machines the entry is the host's, under a name of the machine's own: while it is there, a
mount of binfmt_misc under the run's `mounts/`, without which the kernel may drop it, says so.

Where the host has an emulator registered already, there is nothing to do.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from heft.faults import reach
from heft.host import emulators, mounts

if TYPE_CHECKING:
    from heft.weights.base import Launch
    from heft.weights.light.record import RunDirectory


@dataclass(frozen=True, slots=True)
class Emulation:
    """What a machine needs so that its programs are executed."""

    architecture: str
    """In the words of OCI."""
    emulator: Path
    own: bool
    """Whether the machine has a binfmt_misc of its own."""


def plan(launch: Launch) -> Emulation | None:
    """Say what a machine needs; None: nothing, or there is nothing to be had."""
    architecture = emulators.architecture(launch.platform)
    emulator = emulators.needed(architecture)
    if emulator is None:
        return None
    own = launch.ids is not None and emulators.are_namespaced()
    return Emulation(architecture, emulator, own)


def lend(emulation: Emulation, run: RunDirectory) -> None:
    """Register an emulator with the host, for a machine that has no place of its own for it.

    Raises `HostError`.
    """
    if emulation.own and emulators.REGISTRY.exists():
        return
    run.emulators.mkdir(parents=True)
    mounts.mount(emulators.KIND, run.emulators)
    if emulation.own:  # the module of the kernel is there by now
        mounts.unmount(run.emulators)
        return
    reach("emulator.mounted")
    emulators.register(_name(run), emulation.architecture, emulation.emulator, run.emulators)
    reach("emulator.registered")


def give(emulation: Emulation, run: RunDirectory, pid: int) -> None:
    """Register an emulator with the machine's own binfmt_misc. Raises `HostError`.

    `pid` is its first process, which waits.
    """
    if emulation.own:
        root = Path(f"/proc/{pid}/root")
        emulators.register(
            _name(run), emulation.architecture, emulation.emulator, root, emulators.PLACE
        )


def end(run: RunDirectory) -> None:
    """Take back what a run has registered with the host. Raises `HostError`."""
    if os.path.ismount(run.emulators):
        emulators.forget(_name(run), run.emulators)


def _name(run: RunDirectory) -> str:
    return f"{emulators.OURS}{run.path.name}"
