"""The one door through which Heft starts programs, and how it knows processes.

A process is known by a pidfd (pidfd_open(2)), or, across a restart of the daemon, by its pid and
its start time (proc(5), `stat`, field 22), never by a pid alone. Programs are started with
vfork(2) by `subprocess`, which blocks the loop for well under a millisecond; their output goes to
memory files (memfd_create(2)), so that nothing has to be pumped while they run.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from heft.errors import HostError, NotSupported, ToolFailed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

TOOL_SECONDS = 60.0
_EXITING = 0x4
"""Linux, include/linux/sched.h, PF_EXITING."""


@dataclass(frozen=True, slots=True)
class Completed:
    """A program that has ended; `status` is negative for the signal that ended it."""

    command: tuple[str, ...]
    status: int
    stdout: bytes
    stderr: bytes


class ProcessId(msgspec.Struct, frozen=True):
    """A process that can be told from a later one with the same pid."""

    pid: int
    start_time: int
    """Clock ticks after boot."""

    @classmethod
    def of(cls, pid: int) -> ProcessId | None:
        """Give the identity of a process that runs, or None (a zombie does not run)."""
        return cls._told(pid, _stat(pid))

    @classmethod
    def _told(cls, pid: int, fields: list[bytes]) -> ProcessId | None:
        return None if fields[0] in (b"Z", b"X") else cls(pid, int(fields[19]))

    def is_alive(self) -> bool:
        """Say whether this very process still runs."""
        return ProcessId.of(self.pid) == self

    def is_ending(self) -> bool:
        """Say whether it runs no more, though the kernel may still wait for others to be gone."""
        fields = _stat(self.pid)
        return self._told(self.pid, fields) != self or bool(int(fields[6]) & _EXITING)

    def open(self) -> int | None:
        """Open a pidfd for it; None if it has ended."""
        try:
            descriptor = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return None
        if self.is_alive():
            return descriptor
        os.close(descriptor)
        return None


def _stat(pid: int) -> list[bytes]:
    """Give the fields of a process's `stat` (proc(5)) from its state on; state X: there is none."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as stat:
            return stat.read().rpartition(b") ")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return [b"X", *[b"0"] * 19]


async def ended(pidfd: int) -> None:
    """Return when the process behind a pidfd has ended (it may still have to be reaped)."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[None] = loop.create_future()

    def readable() -> None:
        if not future.done():
            future.set_result(None)

    loop.add_reader(pidfd, readable)
    try:
        await future
    finally:
        loop.remove_reader(pidfd)


def reap_child(pidfd: int) -> None:
    """Let go of a process that has ended, if it was this process's child."""
    with contextlib.suppress(ChildProcessError):
        os.waitid(os.P_PIDFD, pidfd, os.WEXITED)


async def gone(pidfd: int) -> None:
    """Return when the process behind a pidfd has ended; let go of it, and of the pidfd."""
    await ended(pidfd)
    reap_child(pidfd)
    os.close(pidfd)


def leave(process: subprocess.Popen[bytes]) -> None:
    """Let a program that `spawn` started go on by itself; it is reaped when it ends."""
    loop = asyncio.get_running_loop()
    pidfd = os.pidfd_open(process.pid)
    process.returncode = 0  # not to be waited for by its object

    def ended() -> None:
        loop.remove_reader(pidfd)
        reap_child(pidfd)
        os.close(pidfd)

    loop.add_reader(pidfd, ended)


def send_signal(pidfd: int, number: int) -> None:
    """Send a signal; no harm if the process has ended."""
    with contextlib.suppress(ProcessLookupError):
        signal.pidfd_send_signal(pidfd, number)


def own_program(module: str, *arguments: str) -> tuple[str, ...]:
    """Give the command of a process that runs a module of Heft's, as this daemon's child.

    `-X parent` tells it whose, for `heft.host.tied`.
    """
    parent = f"parent={os.getpid()}"
    return (sys.executable, "-I", "-X", "utf8", "-X", parent, "-m", module, *arguments)


def spawn(
    command: Sequence[str],
    *,
    stdin: int = subprocess.DEVNULL,
    stdout: int = subprocess.DEVNULL,
    stderr: int = subprocess.DEVNULL,
    pass_fds: Sequence[int] = (),
    env: Mapping[str, str] | None = None,
    cwd: str | os.PathLike[str] | None = None,
    new_session: bool = False,
) -> subprocess.Popen[bytes]:
    """Start a program; the caller owns it, and must wait for it (`reap`).

    Raises `NotSupported` if the program is not installed, `HostError` if it cannot be started.
    """
    try:
        return subprocess.Popen(
            command,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            pass_fds=pass_fds,
            env=env,
            cwd=cwd,
            start_new_session=new_session,
        )
    except FileNotFoundError as error:
        raise NotSupported(
            f"{command[0]} is not installed", hint="`heft doctor` says what to install"
        ) from error
    except OSError as error:
        raise HostError(f"cannot start {command[0]}: {error.strerror}") from error


async def reap(process: subprocess.Popen[bytes]) -> int:
    """Wait for a program that `spawn` started; give its status. Cancelled, it kills it first."""
    if process.returncode is not None:
        return process.returncode  # to kill one that has ended is to reap it
    pidfd = os.pidfd_open(process.pid)
    try:
        await ended(pidfd)
    except asyncio.CancelledError:
        process.kill()
        raise
    finally:
        os.close(pidfd)
        status = process.wait()
    return status


async def run(
    *command: str,
    stdin: bytes = b"",
    env: Mapping[str, str] | None = None,
    cwd: str | os.PathLike[str] | None = None,
    pass_fds: Sequence[int] = (),
    check: bool = True,
    seconds: float = TOOL_SECONDS,
) -> Completed:
    """Run a program to its end.

    Raises `ToolFailed` if it ends with an error and `check` is set; `HostError` if it is not done
    within `seconds`, after killing it.
    """
    with contextlib.ExitStack() as stack:
        files = [os.memfd_create(name) for name in ("stdin", "stdout", "stderr")]
        for descriptor in files:
            stack.callback(os.close, descriptor)
        os.write(files[0], stdin)
        os.lseek(files[0], 0, os.SEEK_SET)
        process = spawn(
            command,
            stdin=files[0],
            stdout=files[1],
            stderr=files[2],
            pass_fds=pass_fds,
            env=env,
            cwd=cwd,
        )
        try:
            async with asyncio.timeout(seconds):
                status = await reap(process)
        except TimeoutError as error:
            raise HostError(f"{command[0]} was not done after {seconds:g} s, and killed") from error
        out, err = (os.pread(fd, os.fstat(fd).st_size, 0) for fd in files[1:])
    if check and status:
        raise ToolFailed(command, status, err.decode(errors="replace"))
    return Completed(command, status, out, err)
