"""Guest kits, and which machines run with them."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from heft.engine import kit_choice
from heft.errors import NotFound
from heft.guest.kits import PACKAGES, Kit
from heft.model.machine import State
from heft.weights.abilities import Accelerated, Warming
from heft.weights.base import Accelerator

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from heft.engine.parts import Parts
    from heft.guest.kits import Damaged, Kits
    from heft.model.machine import Machine


@dataclass(frozen=True, slots=True)
class KitInUse:
    """A kit, and the ids of the machines that use it: that run with it, or name it."""

    kit: Kit | Damaged
    machines: tuple[str, ...]

    @property
    def problem(self) -> str:
        """What is damaged; empty: nothing is."""
        return "" if isinstance(self.kit, Kit) else self.kit.problem

    @property
    def files(self) -> dict[str, Path]:
        """What it consists of, where it is whole."""
        kit = self.kit
        if not isinstance(kit, Kit):
            return {}
        return {"kernel": kit.kernel, "initramfs": kit.initramfs, "modules": kit.modules}


@dataclass(frozen=True, slots=True)
class Guest:
    """The kit of a machine, and what executes its code (empty: it does not run), and why."""

    kit: str
    accelerator: str
    why: str


class GuestKits:
    """All kits."""

    def __init__(self, parts: Parts, kits: Kits) -> None:
        self._parts = parts
        self._kits = kits

    async def list(self) -> tuple[KitInUse, ...]:
        """Give those that are there, by name; the damaged ones as such."""
        found = await asyncio.to_thread(self._kits.list)
        return tuple(KitInUse(kit, self._machines(kit.name)) for kit in found)

    async def get(self, name: str) -> KitInUse:
        """Give one. Raises `NotFound`."""
        kit = await asyncio.to_thread(self._kits.look, name)
        if kit is None:
            hint = f"`heft kit pull {name}` makes it" if name in PACKAGES else "`heft kit ls`"
            raise NotFound(f"no such kit: {name}", hint=hint)
        return KitInUse(kit, self._machines(name))

    async def pull(self, name: str, report: Callable[[str], object]) -> Kit:
        """Make one, if it is not there, not whole, or older than this Heft's agent."""
        made = await self._kits.ensure(name, report)
        await self._collect()
        return made

    async def make_own(
        self, name: str, kernel: Path, modules: Path | None, report: Callable[[str], object]
    ) -> Kit:
        """Make one of a kernel of somebody's own, at a path of this host."""
        made = await self._kits.make_own(name, kernel, modules, report)
        await self._collect()
        return made

    async def remove(self, name: str) -> None:
        """Remove one. Raises `NotFound`, and `Conflict` where machines use it."""
        await self._kits.remove(name, lambda: self._machines(name))
        await self._collect()

    async def described(self, machine: Machine) -> Guest | None:
        """Say what a machine with a kernel of its own runs with; None for others."""
        weight = self._parts.weights.get(machine.weight)
        if weight is None or not weight.own_kernel:
            return None
        found = Accelerator("", "")
        if machine.is_up and isinstance(weight, Accelerated):
            with contextlib.suppress(NotFound):  # it has just ended
                found = await weight.accelerator(machine.id)
        kit = kit_choice.of(machine.config, machine.host_config, weight.kit(machine.platform))
        return Guest(kit, found.name, found.why)

    async def _collect(self) -> None:
        """Let go of what weights have made for kits that are not there any more."""
        for weight in self._parts.weights.values():
            if isinstance(weight, Warming):
                await weight.collect()

    def _machines(self, name: str) -> tuple[str, ...]:
        """Give the machines that run with a kit, or were made to."""
        weight = self._parts.weight
        used = (State.STARTING, State.RUNNING, State.PAUSED)
        return tuple(
            machine.id
            for machine in self._parts.records
            if weight(machine).own_kernel
            and name
            == kit_choice.of(
                machine.config, machine.host_config, weight(machine).kit(machine.platform)
            )
            and (machine.state in used or kit_choice.chosen(machine.config, machine.host_config))
        )
