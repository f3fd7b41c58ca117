"""Operations that go on when the client that asked for them goes away."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, TypeVar

from heft.errors import HeftError

if TYPE_CHECKING:
    from collections.abc import Coroutine

T = TypeVar("T")

log = logging.getLogger(__name__)


class Work:
    """Owns the tasks of changes that were begun: a start, a stop, a removal is not half done."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    async def finish(self, change: Coroutine[Any, Any, T]) -> T:
        """Give the change's result. Cancelled, it leaves the change to go on by itself."""
        task = asyncio.create_task(change)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            task.add_done_callback(_report)
            raise

    async def close(self, seconds: float) -> None:
        """Wait until all is done, at most `seconds`; cancel what is not."""
        if not self._tasks:
            return
        _, pending = await asyncio.wait(self._tasks, timeout=seconds)
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)


def _report(task: asyncio.Task[Any]) -> None:
    """Log what nobody is there to be told."""
    if task.cancelled() or (error := task.exception()) is None:
        return
    if isinstance(error, HeftError):
        log.info("after its client had gone: %s", error)
    else:
        log.error("after its client had gone", exc_info=error)
