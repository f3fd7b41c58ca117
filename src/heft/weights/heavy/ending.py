"""How the end of a guest and its QEMU is seen, and brought about where the guest does not help."""

from __future__ import annotations

import asyncio
from signal import SIGKILL
from typing import TYPE_CHECKING

from heft.errors import HostError
from heft.host import processes
from heft.weights.heavy import qemu
from heft.weights.heavy.control import control

if TYPE_CHECKING:
    from pathlib import Path

    from heft.guest.run import GuestRun
    from heft.weights.heavy.console import Console

_PANIC = "Kernel panic - "
_LONGEST_LINE = 300
KILL_SECONDS = 5.0
"""How long a guest may take to kill its workload, before it is turned off."""


async def killed(run: GuestRun) -> bool:
    """Send SIGKILL to a workload; say whether the guest has seen to it."""
    try:
        async with asyncio.timeout(KILL_SECONDS):
            await run.signal(SIGKILL)
            await run.over()
    except (HostError, TimeoutError):
        return False
    return True


async def seen(own: Path, monitor: int, console: Console) -> str:
    """Return when a guest is over, and say how; or when its monitor has ended (a pidfd): empty."""
    ended = asyncio.create_task(processes.ended(monitor))
    over = asyncio.create_task(_guest_over(own, console))
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


async def _guest_over(own: Path, console: Console) -> str:
    """Return when the guest is over, and say why, as far as its console tells."""
    async with control(own, qemu.CONTROL) as told, console.reached(told):
        how = await told.over()
        said = await console.recent()
    return told_of(how, said.decode(errors="replace"))


def told_of(how: str, said: str) -> str:
    """Say why a guest is over, from QEMU's reason and what is left of its console. Pure."""
    lines = [line for line in said.splitlines() if line.strip()]
    panics = [line for line in lines if _PANIC in line]
    if panics:
        return f"the guest's kernel panicked: {_plain(panics[-1].partition(_PANIC)[2])}"
    last = f"; the last line of its console: {_plain(lines[-1])}" if lines else ""
    return f"the guest went down by itself ({how}){last}"


def for_want_of_memory(why: str) -> bool:
    """Say whether a guest's kernel has given up because it had no memory left."""
    return "deadlocked on memory" in why or "Out of memory" in why


def _plain(line: str) -> str:
    """Make a line of a guest's fit to be shown; bounded."""
    text = "".join(c if c.isprintable() else " " for c in line[:_LONGEST_LINE])
    return text.strip(" -").removeprefix("not syncing: ")
