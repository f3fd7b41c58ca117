"""Guest kits, and which machines run with them."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from heft.errors import Conflict, NotFound
from heft.guest.kits import DEFAULT, PACKAGES

if TYPE_CHECKING:
    from collections.abc import Callable

    from heft.engine.parts import Parts
    from heft.guest.kits import Kit, Kits


@dataclass(frozen=True, slots=True)
class KitInUse:
    """A kit, and the ids of the machines that run with it."""

    kit: Kit
    machines: tuple[str, ...]


class GuestKits:
    """All kits."""

    def __init__(self, parts: Parts, kits: Kits) -> None:
        self._parts = parts
        self._kits = kits

    async def list(self) -> tuple[KitInUse, ...]:
        """Give those that are there and whole."""
        found = await asyncio.to_thread(self._kits.list)
        return tuple(KitInUse(kit, self._machines(kit.name)) for kit in found)

    async def get(self, name: str) -> KitInUse:
        """Give one. Raises `NotFound`."""
        kit = await asyncio.to_thread(self._kits.get, name)
        if kit is None:
            hint = f"`heft kit pull {name}` makes it" if name in PACKAGES else "`heft kit ls`"
            raise NotFound(f"no such kit: {name}", hint=hint)
        return KitInUse(kit, self._machines(name))

    async def pull(self, name: str, report: Callable[[str], object]) -> Kit:
        """Make one, if it is not there, not whole, or older than this Heft's agent."""
        return await self._kits.ensure(name, report)

    async def remove(self, name: str) -> None:
        """Remove one. Raises `NotFound`, and `Conflict` where machines run with it."""
        if machines := self._machines(name):
            raise Conflict(
                f"kit {name} is in use by running machines - [{', '.join(machines)}]",
                hint="stop them first",
            )
        await self._kits.remove(name)

    def _machines(self, name: str) -> tuple[str, ...]:
        parts = self._parts
        return tuple(
            machine.id
            for machine in parts.records
            if name == DEFAULT and machine.is_up and parts.weight(machine).own_kernel
        )
