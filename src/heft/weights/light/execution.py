"""A further process in a machine, with a conmon of its own."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
from dataclasses import replace
from typing import TYPE_CHECKING

import msgspec

from heft.errors import NotFound
from heft.host import processes
from heft.host.processes import ProcessId
from heft.model.capabilities import ALL
from heft.model.ids import outside
from heft.weights.light import control, monitor, spec, terminals, users
from heft.weights.light.failures import start_failed
from heft.weights.light.monitor import Monitored
from heft.weights.light.session import connect

if TYPE_CHECKING:
    from pathlib import Path

    from heft.weights.base import ExecRequest, Session
    from heft.weights.light.host_facts import HostFacts
    from heft.weights.light.monitor import Monitor
    from heft.weights.light.run import Run
    from heft.weights.light.runtime import Runtime
    from heft.weights.light.session import AttachSession

_PLAN = "process.json"
_KILLED = 128 + signal.SIGKILL


class LightExecution:
    """`heft.weights.base.Execution` over a conmon."""

    def __init__(
        self,
        run: Run,
        directory: Path,
        watcher: Monitor,
        pid: int,
        session: AttachSession | None,
    ) -> None:
        self.pid = pid
        self.session: Session | None = session
        self._attached = session
        self._run = run
        self._directory = directory
        self._monitor = watcher
        self._process = ProcessId.of(pid)
        self._waiting = asyncio.ensure_future(self._wait())
        run.follow(self)

    async def wait(self) -> int:
        """Give its exit code, when it has ended."""
        return await asyncio.shield(self._waiting)

    async def resize(self, rows: int, columns: int) -> None:
        """Tell its terminal the size."""
        control.resize(self._directory, rows, columns)

    def kill(self) -> None:
        """Send SIGKILL to it and to its process group, which is of a session of its own."""
        if self._process is not None and self._process.is_alive():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(os.getpgid(self._process.pid), signal.SIGKILL)
            _kill(self._process)

    def cut_stalled(self, seconds: float) -> bool:
        """Let go of a client that has not read for so long; say whether there was one."""
        if self._attached is None or not self._attached.is_stalled(seconds):
            return False
        self._attached.cut()
        return True

    def close(self) -> None:
        """Stop watching; the process is not touched."""
        self._waiting.cancel()
        self._run.executions.discard(self)
        self._monitor.close()

    async def _wait(self) -> int:
        report = await self._monitor.reports.next()
        if report is None and self._process is not None:
            # Its monitor was killed; nobody holds its streams, so it goes too.
            _kill(self._process)
        await _bury(self._monitor, self._directory)
        self._run.executions.discard(self)
        return _KILLED if report is None else report.data


async def execute(
    run: Run, request: ExecRequest, runtime: Runtime, facts: HostFacts
) -> LightExecution:
    """Run a further process in a machine. Raises `StartFailed` where that cannot be done."""
    directory = run.directory.path / "exec" / request.id
    identity = _identify(run, request)
    plan = _plan(run, request, identity, facts)
    directory.mkdir(parents=True, exist_ok=True)
    (directory / _PLAN).write_bytes(plan)
    watcher = monitor.start(
        Monitored(
            machine_id=run.launch.id,
            run=run.directory,
            runtime=runtime,
            # Its input ends with its client's: no second one could come.
            process=replace(request.process, stdin_once=True),
            directory=directory,
            plan=_PLAN,
            attach=request.attach,
            null=run.directory.null if run.launch.ids is not None else None,
        )
    )
    session = None
    try:
        if request.attach:
            session = await _attached(run, request, watcher, directory)
        report = await watcher.reports.next()
        if report is None or report.data <= 0:
            said = report.message if report else watcher.complaint()
            raise start_failed(runtime.name, "exec", said)
        if request.process.tty and identity.uid:
            terminals.give(report.data, _on_host(run, identity.uid))
    except BaseException:
        if session is not None:
            session.cut()
        processes.send_signal(watcher.pidfd, signal.SIGKILL)
        await asyncio.shield(_bury(watcher, directory))
        raise
    return LightExecution(run, directory, watcher, report.data, session)


async def _attached(
    run: Run, request: ExecRequest, watcher: Monitor, directory: Path
) -> AttachSession | None:
    """Open the session while the monitor waits with starting the process."""
    assert watcher.attach_reports is not None
    watcher.go_on()
    if await watcher.attach_reports.next() is None:
        return None
    session = await connect(directory, stdin=request.process.stdin, closed=run.sessions.discard)
    run.sessions.add(session)
    watcher.go_on()
    return session


async def _bury(watcher: Monitor, directory: Path) -> None:
    """Wait for the end of a monitor, and remove what it needed."""
    await processes.ended(watcher.pidfd)
    processes.reap_child(watcher.pidfd)
    watcher.close()
    shutil.rmtree(directory, ignore_errors=True)


def _kill(process: ProcessId) -> None:
    pidfd = process.open()
    if pidfd is not None:
        processes.send_signal(pidfd, signal.SIGKILL)
        os.close(pidfd)


def _plan(run: Run, request: ExecRequest, identity: users.Identity, facts: HostFacts) -> bytes:
    process = request.process
    if request.privileged:
        process = replace(process, capabilities=ALL)
    return msgspec.json.encode(
        spec.process(run.launch, process, spec.Findings(facts=facts, identity=identity))
    )


def _on_host(run: Run, uid: int) -> int:
    """Give a user of the machine as the host has it; crun had to find it, so it is there."""
    return uid if run.launch.ids is None else outside(run.launch.ids.users, uid)


def _identify(run: Run, request: ExecRequest) -> users.Identity:
    """Look the user up in the machine as it is now, with all that is mounted in it."""
    gone = NotFound(f"container {run.launch.id} is not running")
    try:
        root = os.open(f"/proc/{run.workload.pid}/root", os.O_PATH | os.O_DIRECTORY)
    except OSError as error:
        raise gone from error
    try:
        if not run.workload.is_alive():
            raise gone
        return users.look_up(root, request.process.user, request.process.groups)
    finally:
        os.close(root)
