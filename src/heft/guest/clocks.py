"""Keeps the clocks of guests at the host's.

A guest's clock goes on by itself, and would go wrong in two ways: it stands while the host is
suspended, and it knows nothing of what keeps the host's clock right. So guests are told the time
whenever the host's clock was set, which its coming back from suspend does too, and every minute: in
this time a clock that is corrected at the kernel's most (500 ppm) goes wrong by 30 ms.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from typing import TYPE_CHECKING

from heft.errors import HeftError
from heft.host.clock import Changes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from heft.guest.run import GuestRun

EVERY_SECONDS = 60.0
log = logging.getLogger(__name__)


class Clocks:
    """Tells the time to the guests that `runs` gives."""

    def __init__(self, runs: Callable[[], Iterable[GuestRun]]) -> None:
        self._runs = runs
        self._task = asyncio.create_task(self._keep())

    async def _keep(self) -> None:
        changes = Changes()
        try:
            while True:
                if await changes.wait(EVERY_SECONDS):
                    log.info("The host's clock was set: its guests are told")
                await asyncio.gather(*(_tell(run) for run in self._runs()))
        finally:
            changes.close()

    async def close(self) -> None:
        """Stop."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


async def _tell(run: GuestRun) -> None:
    # One that does not answer is told in a minute again.
    with contextlib.suppress(HeftError):
        await run.agent.set_clock(time.time_ns())
