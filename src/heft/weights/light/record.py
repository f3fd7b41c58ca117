"""What is written down of a run, for the daemon that comes after this one.

Everything is in the run's directory, on a file system of this boot::

    config.json     the plan of the machine, and its cgroup
    rootfs/         where its root is mounted until the workload has it
    runtime/ID/     the runtime's own state
    state.json      who watches and who runs (`Record`); written when both are there
    monitor         conmon's own pid, written by it
    pid exit oom    written by conmon: the workload's pid, its exit code, that memory ran out
    attach ctl winsz    conmon's socket and pipes
    exec/ID/        the same for each further process
    mounts/         what is mounted here to be shown in the machine: parts of volumes, devices,
                    shared memory
"""

from __future__ import annotations

import contextlib
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import msgspec

from heft.errors import HostError
from heft.host import whole_files
from heft.host.processes import ProcessId

_ATTEMPTS = 10
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class Record(msgspec.Struct, frozen=True):
    """The two processes of a run. Pid and start time tell a process only within one boot."""

    boot: str
    monitor: ProcessId
    workload: ProcessId


class _Linux(msgspec.Struct, rename="camel"):
    cgroups_path: str = ""


class _Plan(msgspec.Struct):
    linux: _Linux


def boot() -> str:
    """Give the name of this boot."""
    return _BOOT_ID.read_text(encoding="ascii").strip()


@dataclass(frozen=True, slots=True)
class RunDirectory:
    """The directory of one run."""

    path: Path

    @property
    def rootfs(self) -> Path:
        """Where the root file system is mounted while the workload is being created."""
        return self.path / "rootfs"

    @property
    def mounts(self) -> Path:
        """Where directories are mounted that the machine sees elsewhere."""
        return self.path / "mounts"

    @property
    def shared_memory(self) -> Path:
        """The file system that all have as /dev/shm who share this machine's IPC namespace."""
        return self.mounts / "shm"

    @property
    def devices(self) -> Path:
        """The file system of a machine's own device nodes, where its root cannot make any."""
        return self.mounts / "dev"

    @property
    def null(self) -> Path:
        """The machine's own /dev/null, where it has `devices`."""
        return self.devices / "null"

    @property
    def emulators(self) -> Path:
        """The host's binfmt_misc, where the machine has an entry there."""
        return self.mounts / "binfmt_misc"

    @property
    def config(self) -> Path:
        """The plan."""
        return self.path / "config.json"

    @property
    def runtime(self) -> Path:
        """The runtime's `--root`."""
        return self.path / "runtime"

    def make(self, group: int | None = None) -> None:
        """Make it, for root only; a group may pass through it: that of a machine's own root."""
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        if group is not None:
            os.chown(self.path, -1, group)
            self.path.chmod(0o710)
        self.rootfs.mkdir(exist_ok=True)

    def write_config(self, config: bytes) -> None:
        """Keep the plan; the runtime reads it once, and `cgroup` later."""
        self.config.write_bytes(config)

    def cgroup(self) -> str:
        """Give the cgroup of the plan; empty if there is no plan."""
        with contextlib.suppress(OSError, msgspec.MsgspecError):
            plan = msgspec.json.decode(self.config.read_bytes(), type=_Plan)
            return plan.linux.cgroups_path
        return ""

    def write(self, record: Record) -> None:
        """Keep the record; it appears whole (a file of this boot needs no fsync)."""
        whole_files.put(self.path / "state.json", msgspec.json.encode(record))

    def read(self) -> Record | None:
        """Give the record, if there is one and it is of this boot."""
        try:
            content = (self.path / "state.json").read_bytes()
            record = msgspec.json.decode(content, type=Record)
        except (OSError, msgspec.MsgspecError):
            return None
        return record if record.boot == boot() else None

    def exit_status(self) -> tuple[int, int] | None:
        """Give the exit code that conmon wrote, and when (nanoseconds since 1970)."""
        path = self.path / "exit"
        try:
            return int(path.read_text(encoding="ascii")), path.stat().st_mtime_ns
        except (FileNotFoundError, ValueError):
            return None

    def saw_oom(self) -> bool:
        """Say whether conmon was told that memory ran out."""
        return (self.path / "oom").exists()

    def remove(self) -> None:
        """Remove it with all that is in it; nothing may be mounted there any more."""
        for _ in range(_ATTEMPTS):
            # A monitor that is just ending may still remove or make a file there.
            shutil.rmtree(self.path, ignore_errors=True)
            if not self.path.exists():
                return
        raise HostError(f"cannot remove {self.path}")
