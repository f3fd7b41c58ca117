"""How a guest is ended where it does not help, and what its last words tell."""

from __future__ import annotations

import asyncio
from signal import SIGKILL
from typing import TYPE_CHECKING

from heft.errors import HostError, plain

if TYPE_CHECKING:
    from heft.guest.run import GuestRun

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


def told_of(how: str, said: str) -> str:
    """Say why a guest is over, from QEMU's reason and what is left of its console. Pure."""
    if why := panic(said):
        return why
    lines = [line for line in said.splitlines() if line.strip()]
    last = f"; the last line of its console: {_plain(lines[-1])}" if lines else ""
    return f"the guest went down by itself ({how}){last}"


def panic(said: str) -> str:
    """Say why a kernel has panicked, from what is left of its console; empty: it has not. Pure."""
    panics = [line for line in said.splitlines() if _PANIC in line]
    if not panics:
        return ""
    return f"the guest's kernel panicked: {_plain(panics[-1].partition(_PANIC)[2])}"


def for_want_of_memory(why: str) -> bool:
    """Say whether a guest's kernel has given up because it had no memory left."""
    return "deadlocked on memory" in why or "Out of memory" in why


def _plain(line: str) -> str:
    """Make a line of a guest's fit to be shown; bounded."""
    return plain(line, _LONGEST_LINE).strip(" -").removeprefix("not syncing: ")
