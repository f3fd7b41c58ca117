"""Work for a thread of its own: what blocks, or changes the thread that does it for good."""

from __future__ import annotations

import asyncio
import contextlib
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


async def in_own_thread(work: Callable[[], T]) -> T:
    """Give the result of something that a thread does which is there for nothing else.

    Cancelled, it waits for the thread all the same, which works with what the caller then closes.
    """
    threads = ThreadPoolExecutor(1)
    doing = asyncio.get_running_loop().run_in_executor(threads, work)
    threads.shutdown(wait=False)
    try:
        return await asyncio.shield(doing)
    except asyncio.CancelledError:
        while not doing.done():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait({doing})
        raise
