"""Keeping logs within their limits."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from heft.engine.validation import log_limits
from heft.errors import HeftError
from heft.weights.base import Rotating

if TYPE_CHECKING:
    from pathlib import Path

    from heft.engine.parts import Parts
    from heft.model.machine import Machine

log = logging.getLogger(__name__)

LOOK_SECONDS = 1.0


async def keep_rotating(parts: Parts) -> None:
    """Look at the logs that have a limit, again and again."""
    while True:
        await asyncio.sleep(LOOK_SECONDS)
        for machine in parts.records:
            if machine.is_up and log_limits(machine.host_config)[0]:
                try:
                    await rotate_if_full(parts, machine)
                except (HeftError, OSError) as error:
                    log.warning("container %s: cannot rotate its log: %s", machine.id, error)


async def rotate_if_full(parts: Parts, machine: Machine) -> None:
    """Begin a new file if the log has reached its limit.

    A crash between the renames and the monitor's answer leaves it writing to a file that has
    another name; where there is no file at the log's path, it is told again.
    """
    weight = parts.weight(machine)
    limit, files = log_limits(machine.host_config)
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
