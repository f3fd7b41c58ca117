"""Threads for what blocks: mounts, an image's files, the kernel's slower answers.

They are this weight's own, as the loop's common ones may all be busy with somebody's image.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

from heft.failures import refused

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

_COUNT = 4


class Threads:
    """A few threads."""

    def __init__(self) -> None:
        self._executor = ThreadPoolExecutor(_COUNT, thread_name_prefix="light")

    async def run(self, work: Callable[[], T]) -> T:
        """Give the result of something that may block. Raises `HostError` for an `OSError`."""
        try:
            return await asyncio.get_running_loop().run_in_executor(self._executor, work)
        except OSError as error:
            raise refused(f"write {error.filename}", error) from error

    def begin(self, work: Callable[[], None]) -> None:
        """Let something happen meanwhile whose result nobody needs."""
        self._executor.submit(work)

    def close(self) -> None:
        """Wait for what is being done."""
        self._executor.shutdown()
