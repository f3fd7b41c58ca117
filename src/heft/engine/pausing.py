"""A machine's processes are stopped in their tracks, and go on."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from heft.engine import health
from heft.errors import Conflict, NotFound, NotSupported
from heft.model.machine import State
from heft.weights.abilities import Pausable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from heft.engine.checkups import Checkups
    from heft.engine.parts import Parts
    from heft.model.machine import Machine


class Pausing:
    """The pauses of one machine, whose lock the caller holds."""

    def __init__(self, parts: Parts, checkups: Checkups) -> None:
        self._parts = parts
        self._checkups = checkups

    async def pause(self, machine: Machine) -> None:
        """Stop its processes. Raises `Conflict`, `NotSupported`."""
        if machine.state is State.PAUSED:
            raise Conflict(f"container {machine.id} is already paused")
        if not machine.is_up:
            raise Conflict(f"container {machine.id} is not running")
        async with self._checkups.held():
            await self._pausable(machine).pause(machine.id)
        ran = health.unwatched(self._now(machine).run)
        self._parts.records.change(machine.id, state=State.PAUSED, run=ran)
        self._parts.tell(machine, "pause")

    async def thaw(self, machine: Machine) -> None:
        """Let its processes go on."""
        await self._pausable(machine).resume(machine.id)
        if self._now(machine).state is State.PAUSED:
            self._parts.records.change(machine.id, state=State.RUNNING)
            self._checkups.begin()
            self._parts.tell(machine, "unpause")

    @contextlib.asynccontextmanager
    async def unseen(self, machine: Machine) -> AsyncIterator[None]:
        """Stop the processes of a machine that runs for a while, which nobody sees as a pause.

        A daemon that is killed meanwhile lets them go on at its next start.
        """
        weight = self._pausable(machine, "use --pause=false")
        await weight.pause(machine.id)
        try:
            yield
        finally:
            with contextlib.suppress(NotFound):
                await weight.resume(machine.id)

    def _now(self, machine: Machine) -> Machine:
        found = self._parts.records.get(machine.id)
        if found is None:
            raise NotFound(f"No such container: {machine.id}")
        return found

    def _pausable(self, machine: Machine, hint: str = "") -> Pausable:
        weight = self._parts.weight(machine)
        if not isinstance(weight, Pausable):
            raise NotSupported(f"machines of weight {weight.name} cannot be paused", hint=hint)
        return weight
