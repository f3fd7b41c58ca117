"""The OCI runtime: which it is, how it is called, and how a prepared workload is let go.

crun keeps a created workload waiting on a FIFO, `exec.fifo` in its state directory; one byte lets
it go (crun, `libcrun_container_start`: the same, after 3 ms of starting a program). Any other
runtime is asked with `start`.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import struct
import termios
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import msgspec

from heft.errors import HostError, NotSupported
from heft.host import processes
from heft.weights.light.sealed import SealedProgram

if TYPE_CHECKING:
    from pathlib import Path

    from heft.weights.light.record import RunDirectory


class _State(msgspec.Struct):
    status: str = ""


@dataclass(frozen=True, slots=True)
class Runtime:
    """A runtime that was found on this host."""

    program: str
    """Its absolute path."""
    version: str
    """The first line of `--version`."""
    sealed: SealedProgram | None = None
    """A copy that starts faster, for those that know one."""

    @property
    def name(self) -> str:
        """Give its name without the directory."""
        return os.path.basename(self.program)

    @property
    def is_crun(self) -> bool:
        """Say whether it is crun, whose state we know how to read."""
        return self.version.startswith("crun ")

    @property
    def executable(self) -> str:
        """Give the path at which conmon is to execute it now."""
        return self.program if self.sealed is None else self.sealed.path()

    def options(self, run: RunDirectory) -> tuple[str, ...]:
        """Give the options before its command."""
        root = ("--root", str(run.runtime))
        return (*root, "--cgroup-manager", "cgroupfs") if self.is_crun else root

    async def release(self, run: RunDirectory, machine_id: str) -> None:
        """Let the prepared workload run. Raises `HostError` if it is not there any more."""
        fifo = _fifo(run, machine_id)
        if not self.is_crun or not fifo.exists():
            await processes.run(self.program, *self.options(run), "start", machine_id)
            return
        try:
            descriptor = os.open(fifo, os.O_WRONLY | os.O_NONBLOCK)
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise HostError(f"cannot release {machine_id}: {error.strerror}") from error
            raise HostError(f"the workload of {machine_id} ended before it was started") from error
        try:
            os.write(descriptor, b"\0")
        finally:
            os.close(descriptor)
        # The name is what tells `crun state`, exec and others that it is still waiting.
        with contextlib.suppress(FileNotFoundError):
            fifo.unlink()

    async def was_released(self, run: RunDirectory, machine_id: str) -> bool:
        """Say whether the workload has got to its first instruction (or is about to)."""
        if self.is_crun:
            return _was_released(_fifo(run, machine_id))
        done = await processes.run(
            self.program, *self.options(run), "state", machine_id, check=False
        )
        with contextlib.suppress(msgspec.MsgspecError):
            return msgspec.json.decode(done.stdout, type=_State).status not in (
                "creating",
                "created",
            )
        return False

    async def update(self, run: RunDirectory, machine_id: str, limits: bytes) -> None:
        """Hold a machine that runs to other limits (`linux.resources`, as JSON)."""
        file = run.path / "limits.json"
        file.write_bytes(limits)
        update = ("update", "--resources", str(file), machine_id)
        await processes.run(self.program, *self.options(run), *update)

    def forget(self, run: RunDirectory) -> None:
        """Drop the runtime's state; its processes and cgroups must be gone."""
        shutil.rmtree(run.runtime, ignore_errors=True)


def _fifo(run: RunDirectory, machine_id: str) -> Path:
    return run.runtime / machine_id / "exec.fifo"


def _was_released(fifo: Path) -> bool:
    try:
        descriptor = os.open(fifo, os.O_WRONLY | os.O_NONBLOCK)
    except FileNotFoundError:
        # Released, or the runtime had not got so far; without its state it never was.
        return fifo.parent.exists()
    except OSError as error:
        # ENXIO: nobody waits at it any more, so the byte was read and the name not removed.
        return error.errno == errno.ENXIO
    try:
        waiting = struct.pack("i", 0)
        (count,) = struct.unpack("i", fcntl.ioctl(descriptor, termios.FIONREAD, waiting))
        return bool(count)
    finally:
        os.close(descriptor)


async def find(name: str) -> Runtime:
    """Find a runtime by name or path. Raises `NotSupported` if it is not installed."""
    program = shutil.which(name)
    if program is None:
        raise NotSupported(f"{name} is not installed", hint="`heft doctor` says what to install")
    done = await processes.run(program, "--version")
    version = done.stdout.decode(errors="replace").partition("\n")[0]
    found = Runtime(program, version)
    return replace(found, sealed=SealedProgram(program)) if found.is_crun else found
