"""The monitor of a guest (QEMU, or a kernel that is a process), as a later daemon must know it."""

from __future__ import annotations

import asyncio
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from heft.failures import translated
from heft.guest.architectures import NATIVE
from heft.host import whole_files
from heft.host.cgroups import Group
from heft.host.processes import ProcessId

if TYPE_CHECKING:
    from heft.guest.shaping import Shape
    from heft.host.cgroups import Layout

FIRST_USER = 0x70000000
"""Users of guests are above all that systemd gives (systemd, UIDS-GIDS), one a machine."""
_PASSABLE = 0o711
"""Others may pass through it to what is theirs."""
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
ENTER = 'for group in $1; do echo $$ >"$group/cgroup.procs" || exit 125; done; shift; exec "$@"'
"""Enters control groups before anything else is begun."""
BOUNDED = f'ulimit -f "$1"; shift; {ENTER}'
"""The same for what makes no file larger than so many blocks of `FILE_BLOCK` bytes."""
FILE_BLOCK = 512


class Record(msgspec.Struct, frozen=True):
    """A run. Pid and start time of its monitor tell a process only within one boot."""

    boot: str
    monitor: ProcessId
    memory: int
    """Bytes that its hardware has."""
    cpus: int
    accelerator: str = ""
    architecture: str = NATIVE


@dataclass(frozen=True, slots=True)
class RunDirectory:
    """The directory of one run: `state.json`, what the agent's client keeps, and `vm/`."""

    path: Path

    @property
    def own(self) -> Path:
        """What is its monitor's own: its sockets."""
        return self.path / "vm"

    def make(self, user: int, groups: tuple[str, ...]) -> None:
        """Make it, and note the control group. Raises `HostError`."""
        with translated(f"make {self.path}"):
            self.own.mkdir(parents=True, exist_ok=True)
            os.chmod(self.path, _PASSABLE)
            os.chown(self.own, user, user)
            os.chmod(self.own, _PASSABLE)
        self.note_groups(*groups)

    def close_off(self) -> None:
        """Let its monitor make nothing more there: its sockets are made. Raises `HostError`."""
        with translated(f"close {self.own} off"):
            os.chown(self.own, 0, 0)

    def note_groups(self, *paths: str) -> None:
        """Note in which control groups its processes may be. Raises `HostError`."""
        with translated(f"make {self.path}"):
            whole_files.put(self.path / "groups", "\n".join(paths).encode())

    @property
    def groups(self) -> list[str]:
        """The paths of its control groups, in each hierarchy; none if it was not made so far."""
        try:
            return (self.path / "groups").read_text().splitlines()
        except FileNotFoundError:
            return []

    def write(self, monitor: ProcessId, shape: Shape) -> None:
        """Keep who watches what; it appears whole (a file of this boot needs no fsync)."""
        hardware = (shape.memory, shape.cpus, shape.accelerator, shape.architecture)
        record = Record(_boot(), monitor, *hardware)
        whole_files.put(self.path / "state.json", msgspec.json.encode(record))

    def read(self) -> Record | None:
        """Give what was written down, if it was in this boot."""
        try:
            content = (self.path / "state.json").read_bytes()
            record = msgspec.json.decode(content, type=Record)
        except (OSError, msgspec.MsgspecError):
            return None
        return record if record.boot == _boot() else None


def user_of(machine_id: str) -> int:
    """Give the user and group that a machine's monitor has on this host: no other's."""
    return FIRST_USER + int(machine_id[:7], 16)


async def discard(run: Path, *groups: Group) -> None:
    """End what runs in the control groups of a run, and remove these and its directory."""
    for group in groups:
        await group.end()
        await group.remove()
    await asyncio.to_thread(shutil.rmtree, run, ignore_errors=True)


async def sweep(runs: Path, known: frozenset[str], layout: Layout) -> None:
    """Remove what was left by runs of machines not in `known`."""
    for left in runs.iterdir() if runs.is_dir() else ():
        run = RunDirectory(left)
        if left.name not in known and run.own.is_dir():
            await discard(left, *(Group(layout, path) for path in run.groups))


def _boot() -> str:
    return _BOOT_ID.read_text(encoding="ascii").strip()
