"""How the end of a guest and its QEMU is seen."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING

from heft.guest import ending
from heft.host import processes
from heft.weights.heavy import qemu
from heft.weights.heavy.control import control

if TYPE_CHECKING:
    from pathlib import Path

    from heft.weights.heavy.console import Console


log = logging.getLogger(__name__)

TELL_SECONDS = 60.0
"""How often it is told that a guest is held up."""


async def seen(own: Path, monitor: int, console: Console, name: str) -> str:
    """Return when a guest is over, and say how; or when its monitor has ended (a pidfd): empty."""
    ended = asyncio.create_task(processes.ended(monitor))
    over = asyncio.create_task(_guest_over(own, console, name))
    try:
        await asyncio.wait({ended, over}, return_when=asyncio.FIRST_COMPLETED)
        if over.done() and over.exception() is None:
            return over.result()
        await ended
    finally:
        for task in (ended, over):
            task.cancel()
        await asyncio.gather(ended, over, return_exceptions=True)
    return ""


async def _guest_over(own: Path, console: Console, name: str) -> str:
    """Return when the guest is over, and say why, as far as its console tells."""
    last = 0.0

    def held_up() -> None:
        nonlocal last
        if not last or time.monotonic() - last > TELL_SECONDS:
            last = time.monotonic()
            log.warning("machine %s stands still until there is room on the host's disk", name)

    async with control(own, qemu.CONTROL) as told, console.reached(told):
        how = await told.over(held_up)
        said = await console.recent()
    return ending.told_of(how, said.decode(errors="replace"))
