"""conmon: the process that watches one workload, holds its streams, and outlives the daemon.

Commands are made here, and what it says is read. On the pipe `_OCI_SYNCPIPE` it writes one JSON
object a line: `{"data": PID}` when the runtime has created the process, or `{"data": -1,
"message": WHY}`; for a further process also `{"data": EXIT CODE}` at its end. On `_OCI_ATTACHPIPE`
it says when its socket is there; with `_OCI_STARTPIPE` it is told to go on (conmon(8), conmon.c).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from heft.host import processes
from heft.host.processes import ProcessId

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from subprocess import Popen

    from heft.weights.base import Process
    from heft.weights.light.record import RunDirectory
    from heft.weights.light.runtime import Runtime

PID_FILE = "monitor"
_PIPE_READ = 1 << 16
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Report(msgspec.Struct, frozen=True):
    """What conmon says."""

    data: int = -1
    message: str = ""


@dataclass(frozen=True, slots=True)
class Monitored:
    """What a monitor is to run: a machine's workload, or (with a `plan`) a further process."""

    machine_id: str
    run: RunDirectory
    runtime: Runtime
    process: Process
    directory: Path
    """Where its socket, pipes and files are; also its working directory, so that the socket by
    which it gets a terminal has a short name whatever the length of the path."""
    log: Path | None = None
    journal: bool = False
    """Whether its output goes to the host's journal too, as `name`, marked with `tag`."""
    name: str = ""
    tag: str = ""
    plan: str = ""
    """The file name of a further process's plan, in `directory`."""
    attach: bool = False
    null: Path | None = None
    """What the runtime is to have in place of the host's /dev/null, if it must not have that."""


def command(what: Monitored) -> tuple[str, ...]:
    """Give conmon's command line."""
    process = what.process
    parts: list[str] = ["conmon", "--api-version", "1", "--full-attach"]
    parts += ["--cid", what.machine_id, "--cuuid", what.machine_id]
    parts += ["--bundle", str(what.directory), "--container-pidfile", str(what.directory / "pid")]
    parts += ["--log-path", f"k8s-file:{what.log}" if what.log else "none:", "--no-sync-log"]
    if what.journal:
        # Beside the file, which is what `logs` reads.
        parts += ["--log-path", "journald:", "--name", what.name, "--log-tag", what.tag]
    program, *options = _runtime(what)
    parts += ["--runtime", program]
    for option in options:
        parts += ["--runtime-arg", option]
    if process.tty:
        parts.append("--terminal")
    if process.stdin:
        parts.append("--stdin")
    # Without this, input ends for good when a client goes; a terminal is never ended so.
    if process.tty or not process.stdin_once:
        parts.append("--leave-stdin-open")
    if what.plan:
        parts += ["--sync", "--exec", "--exec-process-spec", str(what.directory / what.plan)]
        if what.attach:
            parts.append("--exec-attach")
    else:
        parts += ["--persist-dir", str(what.directory)]
        parts += ["--conmon-pidfile", str(what.directory / PID_FILE)]
    return tuple(parts)


def _runtime(what: Monitored) -> tuple[str, ...]:
    """Give the runtime's program and its first arguments.

    conmon gives it the host's /dev/null where there is no pipe, and with a user namespace crun
    gives that to the machine's root (`libcrun_set_usernamespace`). A shell opens another then.
    """
    direct = (what.runtime.executable, *what.runtime.options(what.run))
    if what.null is None or (what.process.stdin and not what.process.tty):
        return direct
    instead = '<"$0" >"$0"' if what.process.tty else '<"$0"'
    return ("/bin/sh", "-c", f'exec "$@" {instead}', str(what.null), *direct)


class Reports:
    """The reading end of a pipe on which conmon reports."""

    def __init__(self, descriptor: int) -> None:
        os.set_blocking(descriptor, False)
        self._descriptor = descriptor
        self._loop = asyncio.get_running_loop()
        self._rest = b""
        self._queue: asyncio.Queue[Report | None] = asyncio.Queue()
        self._loop.add_reader(descriptor, self._readable)

    async def next(self) -> Report | None:
        """Give the next report; None if conmon is gone."""
        report = await self._queue.get()
        if report is None:
            self._queue.put_nowait(None)
        return report

    def close(self) -> None:
        """Stop reading; harmless when repeated."""
        if self._descriptor >= 0:
            self._loop.remove_reader(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = -1
            self._queue.put_nowait(None)

    def _readable(self) -> None:
        try:
            data = os.read(self._descriptor, _PIPE_READ)
        except BlockingIOError:
            return
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            with contextlib.suppress(msgspec.MsgspecError):
                self._queue.put_nowait(msgspec.json.decode(line, type=Report))
        if not data:
            self.close()


@dataclass(slots=True)
class Monitor:
    """A conmon that was started here.

    That of a machine goes on in a child of its own (`settled`), which init inherits: a fork has
    only those pages in memory that it uses, half of what the program needed to start. That of a
    further process stays this process's child, and is reaped by pidfd.
    """

    id: ProcessId
    pidfd: int
    reports: Reports
    attach_reports: Reports | None
    _start: int
    _stderr: int

    async def settled(self, pid_file: Path) -> bool:
        """Follow it into the child that it goes on in; False if it ended in place of that."""
        await processes.ended(self.pidfd)
        processes.reap_child(self.pidfd)
        os.close(self.pidfd)
        self.pidfd = -1
        try:
            pid = int(pid_file.read_text(encoding="ascii"))
            self.pidfd = os.pidfd_open(pid)
        except (FileNotFoundError, ProcessLookupError, ValueError):
            return False
        self.id = _identity(pid)
        return True

    def go_on(self) -> None:
        """Tell a monitor that was started with `attach` to take its next step."""
        with contextlib.suppress(BrokenPipeError):
            os.write(self._start, b"\n")

    def complaint(self) -> str:
        """Give what it printed before it was set up."""
        return os.pread(self._stderr, _PIPE_READ, 0).decode(errors="replace").strip()

    def close(self) -> None:
        """Close what leads to it; it goes on. Harmless when repeated."""
        self.reports.close()
        if self.attach_reports is not None:
            self.attach_reports.close()
        for descriptor in (self.pidfd, self._start, self._stderr):
            if descriptor >= 0:
                os.close(descriptor)
        self.pidfd = self._start = self._stderr = -1


def start(what: Monitored) -> Monitor:
    """Start conmon. Raises `NotSupported` if it is not installed."""
    with contextlib.ExitStack() as theirs:
        ours: list[int] = []

        def pipe(*, we_read: bool) -> int:
            reading, writing = os.pipe2(os.O_CLOEXEC)
            ours.append(reading if we_read else writing)
            theirs.callback(os.close, writing if we_read else reading)
            return writing if we_read else reading

        # TMPDIR: it makes the socket for the terminal there; its path must stay short.
        environment = {"PATH": _PATH, "TMPDIR": "."}
        environment["_OCI_SYNCPIPE"] = str(pipe(we_read=True))
        if what.attach:
            environment["_OCI_STARTPIPE"] = str(pipe(we_read=False))
            environment["_OCI_ATTACHPIPE"] = str(pipe(we_read=True))
        stderr = os.memfd_create("conmon")
        try:
            popen = processes.spawn(
                command(what),
                stderr=stderr,
                pass_fds=[int(value) for name, value in environment.items() if "PIPE" in name],
                env=environment,
                cwd=what.directory,
                new_session=True,
            )
        except BaseException:
            for descriptor in (*ours, stderr):
                os.close(descriptor)
            raise
    return Monitor(
        id=_identify(popen),
        pidfd=os.pidfd_open(popen.pid),
        reports=Reports(ours[0]),
        attach_reports=Reports(ours[2]) if what.attach else None,
        _start=ours[1] if what.attach else -1,
        _stderr=stderr,
    )


def _identify(popen: Popen[bytes]) -> ProcessId:
    """Take a monitor over from `subprocess`, which would complain that nobody waits for it."""
    popen.returncode = 0
    return _identity(popen.pid)


def _identity(pid: int) -> ProcessId:
    # A child is there until it is reaped, if only as a zombie: then it cannot be told any more.
    return ProcessId.of(pid) or ProcessId(pid, 0)


def orphans(directories: Sequence[Path]) -> list[ProcessId]:
    """Find the monitors of runs in these directories among all processes; may take long.

    For the case that the daemon was killed before it wrote down whom it had started.
    """
    names = [os.fsencode(directory) for directory in directories]
    found = []
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        with contextlib.suppress(OSError), open(f"/proc/{entry}/cmdline", "rb") as file:
            arguments = file.read().split(b"\0")
            if os.path.basename(arguments[0]) != b"conmon" or b"--bundle" not in arguments:
                continue
            bundle = arguments[arguments.index(b"--bundle") + 1]
            if any(bundle == name or bundle.startswith(name + b"/") for name in names):
                found.append(ProcessId.of(int(entry)))
    return [process for process in found if process is not None]
