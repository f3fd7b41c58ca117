"""Keeping logs within their limits."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING

from heft.engine import log_config
from heft.errors import HeftError
from heft.weights.abilities import Rotating

if TYPE_CHECKING:
    from pathlib import Path

    from heft.engine.parts import Parts
    from heft.model.machine import Machine

log = logging.getLogger(__name__)

LOOK_SECONDS, QUICK_SECONDS = 0.25, 0.02
"""Between two looks at a log: of all, and of those that grow so fast that the others come late."""


class _Watch:
    """How fast logs grow."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._seen: dict[str, tuple[float, int]] = {}
        self.quick: set[str] = set()

    def all(self) -> list[Machine]:
        """Give the machines whose logs have a limit."""
        limited = [
            machine
            for machine in self._parts.records
            if machine.is_up and log_config.limits(machine.host_config)[0]
        ]
        for gone in self._seen.keys() - {machine.id for machine in limited}:
            del self._seen[gone]
            self.quick.discard(gone)
        return limited

    def fast(self) -> list[Machine]:
        """Give those that must be looked at soon again."""
        found = (self._parts.records.get(machine_id) for machine_id in self.quick)
        return [machine for machine in found if machine is not None and machine.is_up]

    async def look(self, machine: Machine) -> None:
        """Rotate the machine's log if it is full; see how fast it grows."""
        limit, _ = log_config.limits(machine.host_config)
        path = self._parts.settings.layout.machine(machine.id) / "log"
        size = path.stat().st_size if path.exists() else 0
        now = time.monotonic()
        then, before = self._seen.get(machine.id, (now - LOOK_SECONDS, 0))
        grown = (size - before) / max(now - then, QUICK_SECONDS) * LOOK_SECONDS
        self._seen[machine.id] = (now, size)
        full = size >= limit
        (self.quick.add if full or grown > limit / 4 else self.quick.discard)(machine.id)
        if full or not size:
            await rotate_if_full(self._parts, machine)
            self._seen[machine.id] = (now, 0)


async def keep_rotating(parts: Parts) -> None:
    """Look at the logs that have a limit, again and again."""
    watch = _Watch(parts)
    due = 0.0
    while True:
        await asyncio.sleep(QUICK_SECONDS if watch.quick else LOOK_SECONDS)
        every = time.monotonic() >= due
        if every:
            due = time.monotonic() + LOOK_SECONDS
        for machine in watch.all() if every else watch.fast():
            try:
                await watch.look(machine)
            except (HeftError, OSError) as error:
                log.warning("container %s: cannot rotate its log: %s", machine.id, error)


async def rotate_if_full(parts: Parts, machine: Machine) -> None:
    """Begin a new file if the log has reached its limit.

    A crash between the renames and the monitor's answer leaves it writing to a file that has
    another name; where there is no file at the log's path, it is told again.
    """
    weight = parts.weight(machine)
    limit, files = log_config.limits(machine.host_config)
    path = parts.settings.layout.machine(machine.id) / "log"
    if not limit or not isinstance(weight, Rotating):
        return
    size = path.stat().st_size if path.exists() else None
    if size is not None and size < limit:
        return
    if size is not None:
        shift(path, files)
    await weight.reopen_log(machine.id)


def shift(path: Path, files: int) -> None:
    """Rename the log to `.1`, that to `.2`, and so on; the oldest beyond `files` goes."""
    if files <= 1:
        path.unlink()
        return
    for number in range(files - 2, 0, -1):
        older = path.with_name(f"{path.name}.{number}")
        if older.exists():
            older.rename(path.with_name(f"{path.name}.{number + 1}"))
    path.rename(path.with_name(f"{path.name}.1"))
