"""One run of a machine, as this daemon watches it.

While nothing happens it costs two pidfds and no task. The monitor's end is the run's end: conmon
ends when the workload has, once all output is in the log and the exit code in its file. If the
file is not there, the monitor was killed, and the workload, whose streams nobody holds any more,
is killed too.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from typing import TYPE_CHECKING

from heft.errors import HeftError
from heft.host import processes
from heft.weights.base import Exit

if TYPE_CHECKING:
    from heft.host.cgroups import Group
    from heft.host.processes import ProcessId
    from heft.weights.base import Launch
    from heft.weights.light.execution import LightExecution
    from heft.weights.light.record import Record, RunDirectory
    from heft.weights.light.session import AttachSession

_log = logging.getLogger(__name__)

STALL_SECONDS = 10.0
"""How long the end of a workload may be held up by a session that nobody reads."""
HELD_SECONDS = 2.0
"""How long that of one which is killed; and by one of an execution, which even a kill waits for."""
KILLED = 128 + signal.SIGKILL
MONITOR_KILLED = "its monitor was killed"


class Run:
    """A run whose processes are there, or were when it was taken over."""

    def __init__(
        self, launch: Launch, directory: RunDirectory, group: Group, record: Record
    ) -> None:
        self.launch = launch
        self.directory = directory
        self.group = group
        self.record = record
        self.sessions: set[AttachSession] = set()
        self.attaching = asyncio.Lock()
        self.executions: set[LightExecution] = set()
        self._loop = asyncio.get_running_loop()
        self._exit: asyncio.Future[Exit] = self._loop.create_future()
        self._monitor_fd = -1
        self._workload_fd = -1
        self._settling: asyncio.Task[None] | None = None
        self._patience = STALL_SECONDS
        self._stall_check: asyncio.TimerHandle | None = None
        self._executions_check: asyncio.TimerHandle | None = None

    @property
    def workload(self) -> ProcessId:
        """Give the workload's first process."""
        return self.record.workload

    def watch(self) -> None:
        """Begin to watch; a run that has ended meanwhile is found so."""
        self._workload_fd = self._opened(self.record.workload)
        if self._workload_fd >= 0:
            self._loop.add_reader(self._workload_fd, self._workload_ended)
        self._monitor_fd = self._opened(self.record.monitor)
        if self._monitor_fd >= 0:
            self._loop.add_reader(self._monitor_fd, self._monitor_ended)
        else:
            self._monitor_ended()

    @staticmethod
    def _opened(process: ProcessId) -> int:
        descriptor = process.open()
        return -1 if descriptor is None else descriptor

    async def wait(self) -> Exit:
        """Return when the run has ended."""
        return await asyncio.shield(self._exit)

    @property
    def has_ended(self) -> bool:
        """Say whether it has ended."""
        return self._exit.done()

    def signal(self, number: int) -> None:
        """Send a signal to the workload's first process; no harm if it has ended."""
        if self._workload_fd < 0:
            return
        processes.send_signal(self._workload_fd, number)
        if number == signal.SIGKILL:
            self._patience = HELD_SECONDS
            self._check_stalled()

    def follow(self, execution: LightExecution) -> None:
        """Have a further process looked after, which leaves `executions` when it has ended."""
        self.executions.add(execution)
        if self._executions_check is None:
            self._executions_check = self._loop.call_later(HELD_SECONDS, self._cut_holding)

    def _cut_holding(self) -> None:
        """Let go of sessions of executions that keep the workload from ending.

        When the first process of a PID namespace ends, the kernel waits for all others to be reaped
        (pid_namespaces(7)); an execution's monitor that waits to write to its session reaps none.
        """
        self._executions_check = None
        if self.workload.is_ending():
            for execution in tuple(self.executions):
                if execution.cut_stalled(HELD_SECONDS):
                    self._tell_of_cut()
        if self.executions:
            self._executions_check = self._loop.call_later(HELD_SECONDS, self._cut_holding)

    async def finish_executions(self) -> None:
        """Wait for the monitors of further processes, whose processes are gone."""
        waiting = [asyncio.ensure_future(execution.wait()) for execution in self.executions]
        if waiting:
            await asyncio.wait(waiting, timeout=STALL_SECONDS)
        for execution in tuple(self.executions):
            execution.close()

    def close(self) -> None:
        """Stop watching, without touching any process.

        Sessions of a run that is over stay open: what the monitor wrote before it ended is still
        to be read. The others would hold up a monitor that writes to them.
        """
        if not self.has_ended:
            self.cut_sessions()
        for check in (self._stall_check, self._executions_check):
            if check is not None:
                check.cancel()
        if self._settling is not None:
            self._settling.cancel()
        self._close_monitor()
        self._close_workload()
        if not self._exit.done():
            self._exit.cancel()

    def cut_sessions(self) -> None:
        """Let go of everybody's hold on its streams."""
        for session in tuple(self.sessions):
            session.cut()

    def _close_monitor(self) -> None:
        if self._monitor_fd >= 0:
            self._loop.remove_reader(self._monitor_fd)
            os.close(self._monitor_fd)
            self._monitor_fd = -1

    def _close_workload(self) -> None:
        if self._workload_fd >= 0:
            self._loop.remove_reader(self._workload_fd)
            os.close(self._workload_fd)
            self._workload_fd = -1

    def _workload_ended(self) -> None:
        self._loop.remove_reader(self._workload_fd)
        self._check_stalled()

    def _check_stalled(self) -> None:
        if self._stall_check is not None:
            self._stall_check.cancel()
        self._stall_check = self._loop.call_later(self._patience, self._cut_stalled)

    def _cut_stalled(self) -> None:
        """Let go of sessions that keep the monitor from ending: it waits to write to them."""
        for session in tuple(self.sessions):
            if session.is_stalled(self._patience):
                self._tell_of_cut()
                session.cut()
        self._check_stalled()

    def _tell_of_cut(self) -> None:
        _log.warning("machine %s: a client that does not read is cut off", self.launch.id)

    def _monitor_ended(self) -> None:
        if self._stall_check is not None:
            self._stall_check.cancel()
        if self._monitor_fd >= 0:
            processes.reap_child(self._monitor_fd)
            self._close_monitor()
        self._settling = asyncio.ensure_future(self._settle())

    async def _settle(self) -> None:
        status = self.directory.exit_status()
        if status is None:
            try:
                await self.group.end()
            except HeftError as error:
                _log.error("machine %s: %s", self.launch.id, error)
        oom = self.directory.saw_oom() or self.group.oom_kills() > 0
        if status is None:
            ended = Exit(KILLED, oom_killed=oom, error=MONITOR_KILLED)
        else:
            ended = Exit(status[0], oom_killed=oom, finished=status[1])
        self._close_workload()
        if not self._exit.done():
            self._exit.set_result(ended)
