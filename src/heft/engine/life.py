"""One machine's life: what may be done to it now, the run that goes on, and who waits for it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from typing import TYPE_CHECKING

from heft.engine import init_systems, names, removal, restart, run, updates, weight_change
from heft.engine.checkups import Checkups
from heft.engine.pausing import Pausing
from heft.engine.sessions import PendingSessions
from heft.engine.validation import signal_number
from heft.engine.watchers import Watchers
from heft.errors import (
    AlreadyInState,
    Conflict,
    HeftError,
    HostError,
    NoSpace,
    NotFound,
)
from heft.faults import reach
from heft.model.machine import Machine, State
from heft.model.request import WaitCondition
from heft.weights.base import Exit

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from heft.engine.execs import Execs
    from heft.engine.parts import Parts
    from heft.model.request import Update
    from heft.weights.base import Session, Weight

log = logging.getLogger(__name__)

STOP_SECONDS = 10
AGAIN_SECONDS = 1.0
"""Between two attempts to record what has happened, on a disk that is full."""
KILL_SECONDS = 10.0
"""How long a workload may take to go after SIGKILL."""
CLEAR_SECONDS = 120.0
"""How long the clearing up after it is waited for: Xen alone takes half a minute on a slow host."""


class Life:
    """The operations on one machine, in an order that makes sense.

    Starting, stopping and removing exclude each other by a lock. The end of a run is not theirs: a
    task of its own sees it, records it and clears up, whatever else goes on; operations that need
    it to be over wait for that task.
    """

    def __init__(
        self, parts: Parts, execs: Execs, machine_id: str, gone: Callable[[str], None]
    ) -> None:
        self._parts = parts
        self._id = machine_id
        self._gone = gone
        self._lock = asyncio.Lock()
        self._ending: asyncio.Task[None] | None = None
        self._again: asyncio.Task[None] | None = None
        self._delay = 0.0
        self._watchers = Watchers()
        self._pending = PendingSessions()
        self._checkups = Checkups(parts, execs, machine_id)
        self._pausing = Pausing(parts, self._checkups)

    @property
    def machine(self) -> Machine:
        """Give the record as it is now; `NotFound` if the machine was removed meanwhile."""
        machine = self._parts.records.get(self._id)
        if machine is None:
            raise NotFound(f"No such container: {self._id}")
        return machine

    @property
    def _weight(self) -> Weight:
        return self._parts.weight(self.machine)

    # Starting

    async def start(self) -> None:
        """Start it; `AlreadyInState` if it runs."""
        async with self._lock:
            await self._ended()
            machine = self.machine
            if machine.state is State.RUNNING:
                raise AlreadyInState(f"container {machine.id} is already running")
            if machine.state is State.PAUSED:
                raise Conflict("cannot start a paused container, try unpause instead")
            if machine.state in (State.REMOVING, State.DEAD):
                raise Conflict("container is marked for removal and cannot be started")
            await self._start(restart_count=0, stopped_by_user=False)

    async def _start(self, **also: object) -> None:
        self._forget_restart()
        machine = self._parts.records.change(self._id, **also)
        try:
            machine = await run.begin(self._parts, machine, self._bind_pending)
        except BaseException:
            self._pending.drop()
            if machine.host_config.auto_remove:
                await self._remove(volumes=True)
            raise
        self.supervise()
        self._parts.tell(machine, "start")

    async def _bind_pending(self) -> None:
        await self._pending.bind(lambda: self._weight.attach(self._id))

    # The end of a run

    def supervise(self) -> None:
        """Watch over the run that goes on."""
        self._ending = asyncio.create_task(self._see_end())
        self._checkups.begin()

    async def _see_end(self) -> None:
        try:
            ended = await self._weight.wait(self._id)
            while not await self._finished(ended):  # noqa: ASYNC110 - nobody tells of space
                await asyncio.sleep(AGAIN_SECONDS)
        except HeftError:
            log.exception("container %s: its end could not be dealt with", self._id)

    async def _finished(self, how: Exit) -> bool:
        """Deal with the end of a run; False if the store takes no writes now."""
        try:
            if self.machine.state is State.REMOVING:
                await self._remove(volumes=True)
            else:
                await self.finish(how)
        except NoSpace as error:
            log.warning("container %s: its end cannot be recorded yet: %s", self._id, error)
            return False
        return True

    async def finish(self, how: Exit) -> None:
        """Deal with the end of a run: record, clear up, tell, and start again if it is to be."""
        await self._checkups.end()
        machine = self.machine
        again = restart.wanted_after_exit(
            machine.host_config.restart_policy,
            code=how.code,
            count=machine.restart_count,
            by_user=machine.stopped_by_user,
        )
        then = State.RESTARTING if again else State.EXITED
        machine = await run.end(self._parts, machine, how, then)
        if how.oom_killed:
            self._parts.tell(machine, "oom")
        lasted = max(machine.run.finished - machine.run.started, 0) / 1e9
        duration = str(int(lasted))
        self._parts.tell(machine, "die", exitCode=str(how.code), execDuration=duration)
        self._watchers.tell(how, WaitCondition.NOT_RUNNING, WaitCondition.NEXT_EXIT)
        if again:
            self._delay = restart.delay(self._delay, lasted)
            self.restart_after(self._delay)
        elif machine.host_config.auto_remove:
            await self._remove(volumes=True)

    async def _ended(self) -> None:
        """Wait until the end of a run that is over is dealt with."""
        state = self.machine.state
        if self._ending is not None and state not in (State.RUNNING, State.PAUSED):
            await asyncio.wait({self._ending})

    async def _ends_within(self, seconds: float | None) -> bool:
        """Say whether the run ends within a time (None: wait forever); it is cleared up then."""
        if self._ending is None:
            return True
        ending = self._ending
        done, _ = await asyncio.wait({ending}, timeout=seconds)
        machine = self._parts.records.get(self._id)
        if not done and machine is not None and machine.is_up:
            return False
        await asyncio.wait({ending}, timeout=CLEAR_SECONDS)
        return True

    def restart_after(self, seconds: float) -> None:
        """Start it again in a while, unless something else is done to it first."""
        self._again = asyncio.create_task(self._restart(seconds))

    async def _restart(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        async with self._lock:
            machine = self._parts.records.get(self._id)
            if machine is None or machine.state is not State.RESTARTING:
                return
            self._again = None
            try:
                await self._start(restart_count=machine.restart_count + 1)
            except HeftError as error:
                log.warning("container %s: cannot start it again: %s", self._id, error)

    def _forget_restart(self) -> None:
        if self._again is not None:
            self._again.cancel()
            self._again = None

    # Stopping

    async def stop(self, seconds: int | None, signal_name: str) -> None:
        """Stop it: its stop signal, then SIGKILL; `AlreadyInState` if it does not run."""
        async with self._lock:
            await self._ended_or_gone()
            await self._stop(seconds, signal_name)

    def stop_soon(self) -> None:
        """Finish a stop that was asked of an earlier daemon."""
        self._again = asyncio.create_task(self._finish_stop())

    async def _finish_stop(self) -> None:
        with contextlib.suppress(AlreadyInState, NotFound):
            await self.stop(None, "")

    async def _ended_or_gone(self) -> None:
        with contextlib.suppress(NotFound):
            await self._ended()

    async def _stop(self, seconds: int | None, signal_name: str) -> None:
        machine = self.machine
        if machine.state is State.RESTARTING:
            self._forget_restart()
            self._parts.records.change(self._id, state=State.EXITED, stopped_by_user=True)
            self._parts.tell(machine, "stop")
            return
        if not machine.is_up:
            raise AlreadyInState(f"container {machine.id} is not running")
        wait = machine.config.stop_timeout if seconds is None else seconds
        if wait is None:
            whole = self._weight.own_kernel and init_systems.boots(machine)
            wait = init_systems.STOP_SECONDS if whole else STOP_SECONDS
        number = signal_number(signal_name or machine.config.stop_signal or "SIGTERM")
        self._parts.records.change(self._id, stopped_by_user=True)
        await self._send(number)
        reach("stop.signalled")
        if not await self._ends_within(None if wait < 0 else wait):
            await self._kill()
        reach("stop.exited")
        self._parts.tell(machine, "stop")

    async def _kill(self) -> None:
        await self._send(signal.SIGKILL)
        if not await self._ends_within(KILL_SECONDS):
            raise HostError(
                f"container {self._id} did not end within {KILL_SECONDS:g} s of SIGKILL",
                hint="a process of it may be stuck in the kernel",
            )

    async def _send(self, number: int) -> None:
        """Send a signal to the workload if it is still there, frozen or not."""
        machine = self.machine
        with contextlib.suppress(NotFound):
            await self._weight.signal(self._id, number)
            if machine.state is State.PAUSED:
                await self._pausing.thaw(machine)
        self._parts.tell(machine, "kill", signal=str(number))

    async def kill(self, signal_name: str) -> None:
        """Send a signal; SIGKILL is waited for. `Conflict` if it does not run."""
        machine = self.machine
        number = signal_number(signal_name or "SIGKILL")
        if machine.state is State.RESTARTING:
            return await self.stop(None, "")
        if not machine.is_up:
            raise Conflict(
                f"cannot kill container: {machine.name}: container {machine.id} is not running"
            )
        last = signal.SIGKILL, signal_number(machine.config.stop_signal or "SIGTERM")
        if number in last:
            self._parts.records.change(self._id, stopped_by_user=True)
        if number == signal.SIGKILL:
            return await self._kill()
        return await self._send(number)

    async def restart(self, seconds: int | None, signal_name: str, weight: str) -> None:
        """Stop it if it runs, and start it; at another weight, where one is given.

        Where it cannot be taken there, it is started at its own, and the reason raised.
        """
        async with self._lock:
            await self._ended()
            planned = await weight_change.plan(self._parts, self.machine, weight)
            with contextlib.suppress(AlreadyInState):
                await self._stop(seconds, signal_name)
            failed = await weight_change.tried(self._parts, self.machine, planned)
            await self._start(restart_count=0, stopped_by_user=False)
            self._parts.tell(self.machine, "restart")
            if failed is not None:
                raise failed

    async def change_weight(self, weight: str) -> None:
        """Take it to another weight; it does not run."""
        async with self._lock:
            await self._ended()
            await weight_change.take(self._parts, self.machine, weight)

    # Pausing

    async def pause(self) -> None:
        """Stop its processes in their tracks."""
        async with self._lock:
            await self._pausing.pause(self.machine)

    async def unpause(self) -> None:
        """Let its processes go on."""
        async with self._lock:
            machine = self.machine
            if machine.state is not State.PAUSED:
                raise Conflict(f"Container {machine.id} is not paused")
            await self._pausing.thaw(machine)

    @contextlib.asynccontextmanager
    async def held(self, *, still: bool = False) -> AsyncIterator[Machine]:
        """Let nothing start, stop or remove it meanwhile.

        `still`: if it runs, its processes do not; nobody sees that as a pause, and a daemon that
        is killed meanwhile lets them go on at its next start.
        """
        async with self._lock:
            await self._ended()
            if not still or self.machine.state is not State.RUNNING:
                yield self.machine
                return
            async with self._pausing.unseen(self.machine):
                yield self.machine

    # Removing

    async def remove(self, *, force: bool, volumes: bool) -> None:
        """Remove it; `Conflict` if it runs and `force` is not set."""
        if force and self.machine.is_up:
            self._parts.records.change(self._id, stopped_by_user=True)
            with contextlib.suppress(NotFound):
                await self._kill()
        async with self._lock:
            await self._ended_or_gone()
            machine = self._parts.records.get(self._id)
            if machine is None:
                return
            if force and machine.is_up:  # it was being started
                self._parts.records.change(self._id, stopped_by_user=True)
                await self._kill()
                machine = self.machine
            if machine.is_up or (machine.state is State.RESTARTING and not force):
                raise removal.in_use(machine)
            await self._remove(volumes=volumes)

    async def _remove(self, *, volumes: bool) -> None:
        self._forget_restart()
        machine = self.machine
        await removal.remove(self._parts, machine, volumes=volumes)
        self._pending.drop()
        self._watchers.tell(Exit(machine.run.exit_code), *WaitCondition)
        self._gone(self._id)

    # Waiting and attaching

    def watch(self, condition: WaitCondition) -> asyncio.Future[Exit]:
        """Give a future of how it ends; it is registered when this returns."""
        machine = self.machine
        future = self._watchers.add(condition)
        over = machine.state in (State.CREATED, State.EXITED, State.DEAD)
        settled = self._ending is None or self._ending.done()
        if condition is WaitCondition.NOT_RUNNING and over and settled:
            past = machine.run
            future.set_result(Exit(past.exit_code, past.oom_killed, past.error, past.finished))
        return future

    async def attach(self) -> Session:
        """Open a session on its streams; of its next run, if it does not run."""
        machine = self.machine
        if machine.is_up:
            return await self._weight.attach(self._id)
        if machine.state in (State.REMOVING, State.DEAD):
            raise Conflict(f"container {machine.id} is marked for removal and cannot be attached")
        return self._pending.open()

    async def rename(self, name: str) -> None:
        """Give it another name."""
        async with self._lock:
            await names.rename(self._parts, self.machine, name)

    async def update(self, asked: Update) -> tuple[str, ...]:
        """Change its limits and restart policy; at once where it runs. Gives warnings."""
        async with self._lock:
            machine = self.machine
            if machine.state in (State.REMOVING, State.DEAD):
                raise Conflict("container is marked for removal and cannot be updated")
            warnings = await updates.update(self._parts, machine, asked)
            self._parts.tell(machine, "update")
            return warnings

    async def close(self) -> None:
        """Stop watching; the machine goes on."""
        tasks = [task for task in (self._ending, self._again) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._checkups.end()
        self._pending.drop()
