"""Answers that are a stream of JSON lines: what goes on, then how it ended."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

from heft.api.call import encode
from heft.errors import HeftError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aiohttp import web

    from heft.api.call import Call

T = TypeVar("T")

LATEST = 100
"""Lines that wait for a slow client; of more, only how each part stands now is told."""


class Reporter:
    """Tells a client how far something is; `__call__` is a `heft.images` Progress.

    The answer begins with the first line. Lines that a slow client has not taken are merged: one a
    part, the latest.
    """

    def __init__(self, call: Call, *, quiet: bool = False) -> None:
        self._call = call
        self._quiet = quiet
        self._waiting: dict[str, dict[str, Any]] = {}
        self._arrived = asyncio.Event()
        self._response: web.StreamResponse | None = None

    def __call__(self, part: str, status: str, done: int, total: int) -> None:
        """Note how far a part is; sizes in bytes, `total` 0 is unknown."""
        if self._quiet or (part not in self._waiting and len(self._waiting) >= LATEST):
            return
        self._waiting[part] = line(part, status, done, total)
        self._arrived.set()

    async def tell(self, value: dict[str, Any]) -> None:
        """Send a line that is not to be merged."""
        await self._flush()
        await self._write(value)

    async def _write(self, value: dict[str, Any]) -> None:
        if self._response is None:
            self._response = await self._call.stream()
        await self._response.write(encode(value) + b"\r\n")

    async def _flush(self) -> None:
        waiting, self._waiting = self._waiting, {}
        self._arrived.clear()
        for value in waiting.values():
            await self._write(value)

    async def _keep_telling(self) -> None:
        while True:
            await self._arrived.wait()
            await self._flush()

    async def run(
        self, operation: Awaitable[T], ending: Callable[[T], list[dict[str, Any]]]
    ) -> web.StreamResponse:
        """Await the operation, telling of it; then tell how it ended, and give the answer.

        An error before the first line is raised; one after it is told as a line.
        """
        telling = asyncio.create_task(self._keep_telling())
        try:
            result = await operation
        except HeftError as error:
            await _end(telling)
            if self._response is None and not self._waiting:
                raise
            message = str(error)
            await self.tell({"errorDetail": {"message": message}, "error": message})
        else:
            await _end(telling)
            for value in ending(result):
                await self.tell(value)
        finally:
            await _end(telling)
        if self._response is None:
            self._response = await self._call.stream()
        await self._response.write_eof()
        return self._response


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait({task})
    if not task.cancelled():
        task.exception()  # the client has gone, which cancels the whole answer as well


def line(part: str, status: str, done: int, total: int) -> dict[str, Any]:
    """Give a line as clients of Docker draw it."""
    shown: dict[str, Any] = {"status": status}
    if part:
        shown["id"] = part
    detail = {"current": done, "total": total} if total else ({"current": done} if done else {})
    return {**shown, "progressDetail": detail}
