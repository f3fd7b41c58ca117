"""What heavy machines need of this host: which QEMU there is, how fast its clock ticks."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from heft.errors import NotSupported
from heft.host.processes import run
from heft.weights.heavy import qemu

if TYPE_CHECKING:
    from heft.guest.architectures import Architecture

CLOCK = "heft-tsc"
"""Tells the frequency of the time stamp counter in kHz; beside the agent (agent/tsc.c)."""


@dataclass(frozen=True, slots=True)
class HostFacts:
    """What was found."""

    version: str
    """Of QEMU, as it says itself: `QEMU emulator version 7.2.22 (…)`."""
    tsc_khz: int
    """0: unknown; guests find out themselves, which fails where the host is busy."""


def require(architecture: Architecture) -> Path:
    """Give the QEMU that is an architecture's hardware. Raises `NotSupported` without one."""
    found = shutil.which(architecture.qemu)
    if found is None:
        raise NotSupported(
            f"{architecture.qemu} is not installed: there is no hardware for linux/"
            f"{architecture.name}",
            hint=architecture.needs,
        )
    return Path(found)


async def look(programs: Path) -> HostFacts:
    """Look at the host; `programs` is where Heft's own are.

    Raises `NotSupported` without QEMU or bubblewrap, `ToolFailed`.
    """
    await run("bwrap", "--version")
    shown = await run(qemu.PROGRAM, "--version")
    version = shown.stdout.decode(errors="replace").splitlines()[0].strip()
    clock = programs / CLOCK
    tsc = await run(str(clock), check=False) if clock.exists() else None
    text = tsc.stdout.decode().strip() if tsc is not None and tsc.status == 0 else ""
    return HostFacts(version, int(text) if text.isdigit() else 0)
