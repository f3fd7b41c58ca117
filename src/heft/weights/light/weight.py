"""Light: the machine's processes on the host's kernel, in namespaces and cgroups.

The root is an overlay, mounted in the run's directory; an OCI runtime (crun) makes the process;
conmon watches it. `prepare` creates it up to the instruction before the workload's first, `start`
lets it go. Everything that this daemon must know of a run is in its directory (`record`).
"""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from signal import SIGKILL
from typing import TYPE_CHECKING

import msgspec

from heft.errors import Conflict, HeftError, HostError, NotFound
from heft.faults import reach
from heft.host import cgroups, processes
from heft.host.cgroups import Group, Layout
from heft.model.network import Plug
from heft.undo import Undo
from heft.weights.base import Availability, Exit, Started, Stats
from heft.weights.light import (
    assembly,
    control,
    emulation,
    host_facts,
    monitor,
    roots,
    runtime,
    sweeping,
)
from heft.weights.light.execution import execute
from heft.weights.light.failures import start_failed
from heft.weights.light.filing import Reach
from heft.weights.light.filters import Filters
from heft.weights.light.measuring import stats
from heft.weights.light.monitor import Monitored
from heft.weights.light.record import Record, RunDirectory, boot
from heft.weights.light.run import Run
from heft.weights.light.session import join
from heft.weights.light.spec_resources import adjusted
from heft.weights.light.threads import Threads

if TYPE_CHECKING:
    from pathlib import Path

    from heft.host.processes import ProcessId
    from heft.model.upper import Upper
    from heft.weights.base import ExecRequest, Execution, Launch, Root, Session
    from heft.weights.light.host_facts import HostFacts
    from heft.weights.light.monitor import Monitor
    from heft.weights.light.runtime import Runtime

_REOPEN_ATTEMPTS = 1000
_REOPEN_PAUSE = 0.001


@dataclass(frozen=True, slots=True)
class LightSettings:
    """Where runs are, and what makes them."""

    run: Path
    """The directory of the runs' directories (`run/ID`)."""
    cgroup_parent: str = "/heft"
    runtime: str = "crun"
    """Name or path of an OCI runtime."""


@dataclass(frozen=True, slots=True)
class _Host:
    """What `probe` found."""

    runtime: Runtime
    layout: Layout
    facts: HostFacts
    detail: str


class LightWeight(Reach):
    """`heft.weights.base.Weight`; it is `Pausable`, `Adjustable`, `Rotating`, `Exchanging`.

    `Filing` it is by `Reach`.
    """

    name = "light"
    plug = Plug.NAMESPACE
    bounds_upper = True
    maps_users = True
    own_kernel = False

    def kit(self, platform: str) -> str:
        """Give none: its machines have the host's kernel."""
        del platform
        return ""

    def takes_kit(self, name: str) -> bool:
        """Say no."""
        del name
        return False

    needs_base = False

    def __init__(self, settings: LightSettings) -> None:
        self._settings = settings
        self._runs: dict[str, Run] = {}
        self._filters = Filters()
        self._host: _Host | None = None
        self._threads = Threads()

    async def probe(self) -> Availability:
        """Say whether machines can be run so here."""
        try:
            return Availability(ok=True, detail=(await self._probed()).detail)
        except HeftError as error:
            return Availability(ok=False, why=error.message, hint=error.hint)

    async def provision(self, launch: Launch) -> None:
        """Make the machine's upper, empty."""
        await roots.provision(launch, self._threads)

    async def accept(self, launch: Launch) -> None:
        """Take every machine that the engine lets come."""

    def upper(self, root: Root) -> Upper:
        """Say where it keeps what the machine writes."""
        return roots.upper(root)

    async def prepare(self, launch: Launch) -> None:
        """Do everything that comes before the workload's first instruction."""
        if launch.id in self._runs:
            raise Conflict(f"container {launch.id} is already running")
        host = await self._probed()
        self._threads.begin(lambda: cgroups.warm_up(host.layout))
        run = RunDirectory(launch.run)
        if run.path.exists():
            await self.discard(launch)
        group = self._group(host, launch)
        async with Undo() as undo:
            undo.push(f"the run of {launch.id}", lambda: self.discard(launch))
            shm, emulated = self._shared_memory(launch, run), emulation.plan(launch)
            await self._threads.run(
                lambda: assembly.assemble(
                    launch, run, host.facts, self._filters, group.path, shm, emulated
                )
            )
            what = Monitored(
                machine_id=launch.id,
                run=run,
                runtime=host.runtime,
                process=launch.process,
                directory=run.path,
                log=launch.log.path,
                journal=launch.log.journal,
                name=launch.name,
                tag=launch.log.tag or launch.id[:12],
                null=run.null if launch.ids is not None else None,
            )
            watcher = monitor.start(what)
            reach("light.monitored")
            try:
                record = await self._created(host, run, watcher)
            finally:
                watcher.close()
            await self._threads.run(lambda: assembly.hand_over(run, record, emulated))
            reach("light.recorded")
            profile = assembly.seccomp(launch, host.facts)
            self._filters.learn(host.runtime, run, launch.id, profile)
            self._watch(Run(launch, run, group, record))
            undo.commit()

    def _shared_memory(self, launch: Launch, run: RunDirectory) -> str:
        """Give the directory that is /dev/shm where others have it too; else empty."""
        spaces = launch.namespaces
        if spaces.ipc_of:
            return str(self._run(spaces.ipc_of).directory.shared_memory)
        return str(run.shared_memory) if spaces.ipc == "shareable" else ""

    async def _created(self, host: _Host, run: RunDirectory, watcher: Monitor) -> Record:
        """Wait until the runtime has created the workload; on failure the monitor is gone."""
        try:
            followed = await watcher.settled(run.path / monitor.PID_FILE)
            report = await watcher.reports.next() if followed else None
            workload = processes.ProcessId.of(report.data) if report else None
            if report is None or workload is None:
                said = (report.message if report else "") or watcher.complaint()
                raise start_failed(host.runtime.name, "create", said)
        except BaseException:
            if watcher.pidfd >= 0:
                processes.send_signal(watcher.pidfd, SIGKILL)
                await asyncio.shield(processes.ended(watcher.pidfd))
                processes.reap_child(watcher.pidfd)
            raise
        return Record(boot(), watcher.id, workload)

    async def start(self, machine_id: str) -> Started:
        """Let the prepared workload run."""
        run = self._run(machine_id)
        await (await self._probed()).runtime.release(run.directory, machine_id)
        return Started(run.workload.pid)

    async def adopt(self, launch: Launch) -> Exit | Started | None:
        """Take over what an earlier daemon started."""
        host = await self._probed()
        directory = RunDirectory(launch.run)
        record = directory.read()
        if record is None or not await host.runtime.was_released(directory, launch.id):
            return None
        run = Run(launch, directory, self._group(host, launch), record)
        self._watch(run)
        if record.monitor.is_alive():
            return Started(record.workload.pid)
        return await run.wait()

    async def wait(self, machine_id: str) -> Exit:
        """Return when the run has ended."""
        return await self._run(machine_id).wait()

    async def signal(self, machine_id: str, signal: int) -> None:
        """Send a signal to the workload's first process; SIGKILL reaches a paused one too."""
        run = self._run(machine_id)
        run.signal(signal)
        if signal == SIGKILL and run.group.is_frozen():
            await run.group.freeze(frozen=False)

    async def attach(self, machine_id: str) -> Session:
        """Open a session on the workload's own streams."""
        run = self._run(machine_id)
        async with run.attaching:
            session = await join(
                run.directory.path,
                run.record.monitor.pid,
                stdin=run.launch.process.stdin,
                closed=run.sessions.discard,
            )
        run.sessions.add(session)
        return session

    async def resize(self, machine_id: str, rows: int, columns: int) -> None:
        """Tell the workload's terminal the size."""
        control.resize(self._run(machine_id).directory.path, rows, columns)

    async def exec(self, machine_id: str, request: ExecRequest) -> Execution:
        """Run a further process."""
        run = self._run(machine_id)
        host = await self._probed()
        self._threads.begin(lambda: cgroups.warm_up(host.layout))
        return await execute(run, request, host.runtime, host.facts)

    async def stats(self, machine_id: str) -> Stats:
        """Measure what it uses now."""
        return stats(self._run(machine_id))

    async def processes(self, machine_id: str) -> tuple[int, ...]:
        """Give the host's process ids of everything in it."""
        return self._run(machine_id).group.processes()

    async def pause(self, machine_id: str) -> None:
        """Stop every process of it from being scheduled."""
        await self._run(machine_id).group.freeze(frozen=True)

    async def resume(self, machine_id: str) -> None:
        """Let them go on."""
        await self._run(machine_id).group.freeze(frozen=False)

    async def adjust(self, launch: Launch) -> None:
        """Hold the machine to `launch.resources` from now on."""
        run, host = self._run(launch.id), await self._probed()
        asked = launch.resources
        limits = adjusted(asked, host.facts)
        # Runtimes differ in how they are told of no limit.
        run.group.lift(processes=not asked.pids_limit, cpu_time=asked.cpu_quota < 0)
        await host.runtime.update(run.directory, launch.id, msgspec.json.encode(limits))

    async def reopen_log(self, machine_id: str) -> None:
        """Go on in a new file at the log's path; returns when it is there."""
        run = self._run(machine_id)
        path = run.launch.log.path
        if path is None:
            return
        control.reopen_log(run.directory.path)
        for _ in range(_REOPEN_ATTEMPTS):
            if path.exists() or run.has_ended:
                return
            await asyncio.sleep(_REOPEN_PAUSE)
        raise HostError(f"the monitor of {machine_id} did not reopen its log")

    async def discard(self, launch: Launch) -> None:
        """End whatever still runs and remove every trace of the run."""
        host = await self._probed()
        run = self._runs.pop(launch.id, None)
        if run is not None:
            run.close()
        group = self._group(host, launch)
        await sweeping.discard(RunDirectory(launch.run), group, self._threads)
        if run is not None:
            await run.finish_executions()

    async def sweep(self, known: frozenset[str]) -> None:
        """Remove what was left by runs of machines not in `known` (of any weight)."""
        host = await self._probed()
        await sweeping.sweep(
            self._settings.run, host.layout, self._settings.cgroup_parent, known, self._threads
        )

    async def close(self) -> None:
        """Give up watching, as the daemon ends; the machines run on."""
        for run in self._runs.values():
            run.close()
            run.cut_sessions()
            for execution in tuple(run.executions):
                execution.close()
        self._runs.clear()
        self._threads.close()
        if self._host is not None and self._host.runtime.sealed is not None:
            self._host.runtime.sealed.close()

    async def _probed(self) -> _Host:
        if self._host is None:
            found = await runtime.find(self._settings.runtime)
            conmon = await runtime.find("conmon")
            layout = await self._threads.run(lambda: cgroups.ensure(cgroups.detect()))
            kind = "hybrid" if layout.hybrid else f"v{layout.version}"
            detail = f"{found.version}, {conmon.version}, cgroup {kind}"
            self._host = _Host(found, layout, host_facts.gather(layout), detail)
        return self._host

    def _group(self, host: _Host, launch: Launch) -> Group:
        parent = launch.cgroup_parent or self._settings.cgroup_parent
        return Group(host.layout, os.path.join("/", parent, launch.id))

    def _run(self, machine_id: str) -> Run:
        try:
            return self._runs[machine_id]
        except KeyError as error:
            raise NotFound(f"container {machine_id} is not running") from error

    def _workload(self, machine_id: str) -> ProcessId | None:
        """Give the first process of a machine that runs (for `Reach`)."""
        run = self._runs.get(machine_id)
        return run.workload if run is not None and not run.has_ended else None

    def _watch(self, run: Run) -> None:
        self._runs[run.launch.id] = run
        run.watch()
