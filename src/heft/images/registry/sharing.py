"""Work that several want at the same time is done once."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

T = TypeVar("T")


@dataclass
class _Work(Generic[T]):
    task: asyncio.Task[T]
    waiting: int = 0


class Shared(Generic[T]):
    """Pieces of work by name; one that nobody waits for any more is given up."""

    def __init__(self) -> None:
        self._doing: dict[str, _Work[T]] = {}

    async def do(self, name: str, work: Callable[[], Coroutine[None, None, T]]) -> T:
        """Give the result of this work: begun now, or the one that is under way."""
        while (doing := self._doing.get(name)) is not None and not doing.waiting:
            await asyncio.wait({doing.task})  # it was given up, and is just ending
        if doing is None:
            doing = self._doing[name] = _Work(asyncio.create_task(work()))
            doing.task.add_done_callback(lambda _: self._doing.pop(name))
        doing.waiting += 1
        try:
            return await asyncio.shield(doing.task)
        finally:
            doing.waiting -= 1
            if not doing.waiting and not doing.task.done():
                await given_up(doing.task)


async def given_up(task: asyncio.Future[T]) -> None:
    """Cancel it, and wait until it has ended."""
    task.cancel()
    await asyncio.wait({task})
    if not task.cancelled():
        task.exception()
