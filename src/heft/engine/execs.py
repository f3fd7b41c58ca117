"""Execs: further processes of machines that run. They live in the daemon's memory only."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from typing import TYPE_CHECKING

import msgspec

from heft.engine import launch
from heft.errors import Conflict, HeftError, InvalidArgument, NotFound, StartFailed
from heft.model.machine import Exec, State
from heft.weights.base import ExecRequest

if TYPE_CHECKING:
    from heft.engine.parts import Parts
    from heft.model.machine import Machine
    from heft.weights.base import Execution, Session

log = logging.getLogger(__name__)

KEPT_SECONDS = 300.0
"""How long an exec that ended can still be asked about."""


class Execs:
    """All execs, by id."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._execs: dict[str, Exec] = {}
        self._running: dict[str, Execution] = {}
        self._ended: dict[str, float] = {}
        self._endings: dict[str, asyncio.Task[None]] = {}

    def create(self, reference: str, request: Exec) -> Exec:
        """Note an exec to be started later; `request` needs neither id nor machine id.

        Raises `Conflict` where the machine does not run.
        """
        self._forget_old()
        machine = self._running_machine(reference)
        if not request.argv:
            raise InvalidArgument("No exec command specified")
        created = msgspec.structs.replace(request, id=secrets.token_hex(32), machine_id=machine.id)
        self._execs[created.id] = created
        self._tell(created, f"exec_create: {' '.join(created.argv)}")
        return created

    def _running_machine(self, reference: str) -> Machine:
        machine = self._parts.records.resolve(reference)
        if machine.state is State.PAUSED:
            raise Conflict(f"Container {reference} is paused, unpause the container before exec")
        if machine.state is not State.RUNNING:
            raise Conflict(f"container {machine.id} is not running")
        return machine

    def get(self, exec_id: str) -> Exec:
        """Give an exec as it is now. Raises `NotFound`."""
        try:
            return self._execs[exec_id]
        except KeyError:
            raise NotFound(f"No such exec instance: {exec_id}") from None

    def of(self, machine_id: str) -> tuple[str, ...]:
        """Give the ids of a machine's execs that were made and have not ended."""
        return tuple(
            each.id
            for each in self._execs.values()
            if each.machine_id == machine_id and each.id not in self._ended
        )

    def startable(self, exec_id: str) -> tuple[Exec, Machine]:
        """Give an exec and its machine; `Conflict` if it was started, or the machine is not up."""
        request = self.get(exec_id)
        if request.started:
            raise Conflict(f"Error: Exec command {exec_id} is already running")
        return request, self._running_machine(request.machine_id)

    async def start(
        self, exec_id: str, *, detach: bool, console_size: tuple[int, int] = (0, 0)
    ) -> Session | None:
        """Run it; give a session on its streams unless detached.

        Raises `StartFailed` (126, 127), and `Conflict` if it was started before.
        """
        request, machine = self.startable(exec_id)
        request.started = True
        request.console_size = console_size if any(console_size) else request.console_size
        attach = not detach and (
            request.attach_stdin or request.attach_stdout or request.attach_stderr
        )
        self._tell(request, f"exec_start: {' '.join(request.argv)}")
        try:
            execution = await self._parts.weight(machine).exec(
                machine.id,
                ExecRequest(
                    id=exec_id,
                    process=launch.exec_process(machine, request, self._parts.capabilities),
                    attach=attach,
                    privileged=request.privileged,
                ),
            )
        except HeftError as error:
            code = error.exit_code if isinstance(error, StartFailed) else 128
            self._note_end(request, code)
            raise
        request.pid, request.running = execution.pid, True
        self._running[exec_id] = execution
        ending = asyncio.create_task(self._see_end(request, execution))
        self._endings[exec_id] = ending
        ending.add_done_callback(lambda _: self._endings.pop(exec_id, None))
        return execution.session

    async def wait(self, exec_id: str) -> None:
        """Return when it has ended, and its exit code can be asked for; it must be running."""
        if (ended := self._endings.get(exec_id)) is not None:
            await asyncio.wait({ended})

    def kill(self, exec_id: str) -> None:
        """End it with SIGKILL; no harm if it does not run."""
        if (execution := self._running.get(exec_id)) is not None:
            execution.kill()

    async def _see_end(self, request: Exec, execution: Execution) -> None:
        try:
            code = await execution.wait()
        except HeftError as error:
            log.warning("exec %s: %s", request.id, error)
            code = 137
        self._note_end(request, code)

    def _note_end(self, request: Exec, code: int) -> None:
        request.running = False
        request.exit_code = code
        self._running.pop(request.id, None)
        self._ended[request.id] = time.monotonic()
        self._tell(request, "exec_die", exitCode=str(code))

    def _forget_old(self) -> None:
        now = time.monotonic()
        for exec_id, ended in tuple(self._ended.items()):
            if now - ended > KEPT_SECONDS:
                del self._ended[exec_id], self._execs[exec_id]
        for each in tuple(self._execs.values()):
            machine = self._parts.records.get(each.machine_id)
            if not each.started and (machine is None or not machine.is_up):
                del self._execs[each.id]

    async def resize(self, exec_id: str, rows: int, columns: int) -> None:
        """Tell its terminal the size. Raises `Conflict` if it does not run."""
        request = self.get(exec_id)
        if (execution := self._running.get(exec_id)) is None:
            raise Conflict(f"cannot resize exec {request.id}: it is not running")
        await execution.resize(rows, columns)

    def _tell(self, request: Exec, action: str, **attributes: str) -> None:
        if (machine := self._parts.records.get(request.machine_id)) is not None:
            self._parts.tell(machine, action, execID=request.id, **attributes)

    async def close(self) -> None:
        """Stop watching; what runs goes on."""
        endings = tuple(self._endings.values())
        for ending in endings:
            ending.cancel()
        await asyncio.gather(*endings, return_exceptions=True)
