"""Making a machine's health checks while it runs: one task, which owns the check that goes on."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from typing import TYPE_CHECKING

import msgspec

from heft.engine import health
from heft.errors import HeftError
from heft.model.machine import Check, Exec, State

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from heft.engine.execs import Execs
    from heft.engine.parts import Parts
    from heft.model.machine import Health, Machine
    from heft.weights.base import Session

log = logging.getLogger(__name__)

LONGEST_OUTPUT = 4096
"""Bytes of a check's output that are kept (moby, `maxOutputLen`)."""
NO_EXIT_CODE = -1
KILL_SECONDS = 5.0
"""How long a check that was killed may take to go."""
_CUT = b"..."


class Checkups:
    """The health checks of one machine; every result is in its record when it is told."""

    def __init__(self, parts: Parts, execs: Execs, machine_id: str) -> None:
        self._parts = parts
        self._execs = execs
        self._id = machine_id
        self._task: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """Check the run that goes on, if it is to be checked; harmless when repeated."""
        machine = self._parts.records.get(self._id)
        if self._task is None and machine is not None and machine.run.health is not None:
            self._task = asyncio.create_task(self._check_on())

    async def end(self) -> None:
        """Check no more; a check that goes on is killed, and its result dropped."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    @contextlib.asynccontextmanager
    async def held(self) -> AsyncIterator[None]:
        """Check no more from here on; if what is done meanwhile fails, go on."""
        await self.end()
        try:
            yield
        except BaseException:
            self.begin()
            raise

    async def _check_on(self) -> None:
        while (machine := self._running()) is not None and machine.run.health is not None:
            asked = machine.config.healthcheck
            assert asked is not None, "a run has health only where there is a check"
            ran = time.time_ns() - machine.run.started
            await asyncio.sleep(health.pause_before(asked, machine.run.health, ran) / 1e9)
            if (machine := self._running()) is None:
                return
            made = await self._check(machine, health.timeout(asked))
            if (machine := self._running()) is None or machine.run.health is None:
                return
            self._note(machine, health.after(machine.run.health, made, asked, machine.run.started))

    def _running(self) -> Machine | None:
        machine = self._parts.records.get(self._id)
        return machine if machine is not None and machine.state is State.RUNNING else None

    def _note(self, machine: Machine, now: Health) -> None:
        before = machine.run.health
        run = msgspec.structs.replace(machine.run, health=now)
        try:
            self._parts.records.change(self._id, run=run)
        except HeftError as error:
            log.warning("container %s: its health is not recorded: %s", self._id, error)
            return
        if before is None or now.status is not before.status:
            self._parts.tell(machine, f"health_status: {now.status}")

    async def _check(self, machine: Machine, nanoseconds: int) -> Check:
        start, output = time.time_ns(), _Output()
        try:
            code = await self._make(machine, nanoseconds / 1e9, output)
            said = output.text()
        except HeftError as error:
            code, said = NO_EXIT_CODE, str(error)
        except TimeoutError:
            code, said = NO_EXIT_CODE, health.exceeded(nanoseconds, output.text())
        return Check(start=start, end=time.time_ns(), exit_code=code, output=said)

    async def _make(self, machine: Machine, seconds: float, output: _Output) -> int:
        """Run the check's command to its end. Raises `TimeoutError`; then it is killed."""
        request = self._execs.create(
            self._id,
            Exec(
                id="",
                machine_id="",
                argv=health.command(machine.config),
                attach_stdout=True,
                attach_stderr=True,
            ),
        )
        session: Session | None = None
        try:
            async with asyncio.timeout(seconds):
                session = await self._execs.start(request.id, detach=False)
                if session is not None:
                    await output.take(session)
                await self._execs.wait(request.id)
        except (TimeoutError, asyncio.CancelledError):
            self._execs.kill(request.id)
            if session is not None:
                await session.close()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(KILL_SECONDS):
                    await self._execs.wait(request.id)
            raise
        if session is not None:
            await session.close()
        return NO_EXIT_CODE if request.exit_code is None else request.exit_code


class _Output:
    """What a check has said so far: the beginning of it is kept."""

    def __init__(self) -> None:
        self._kept = bytearray()

    async def take(self, session: Session) -> None:
        """Read to the end."""
        while (piece := await session.read()) is not None:
            if len(self._kept) <= LONGEST_OUTPUT:
                self._kept += piece[1]

    def text(self) -> str:
        """Give what is kept; where it was more, that is told."""
        kept = bytes(self._kept)
        if len(kept) > LONGEST_OUTPUT:
            kept = kept[: LONGEST_OUTPUT - len(_CUT)] + _CUT
        return kept.decode(errors="replace")
