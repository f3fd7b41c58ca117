"""A client's hold on the standard streams of a process in a guest."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from heft.guest.streams import Outflow
    from heft.model.machine import Stream

ROOM = 1 << 18
"""Bytes that may wait to be read before the process is held up."""


class GuestSession:
    """`heft.weights.base.Session`; `give` and `finish` are its source's.

    `ends_stdin`: standard input ends when the client goes, or says that it has no more.
    """

    def __init__(
        self,
        stdin: Outflow | None,
        *,
        ends_stdin: bool,
        closed: Callable[[GuestSession], None],
    ) -> None:
        self._stdin = stdin
        self._ends_stdin = ends_stdin
        self._closed = closed
        self._loop = asyncio.get_running_loop()
        self._pieces: deque[tuple[Stream, bytes]] = deque()
        self._waiting_bytes = 0
        self._over = False
        self._open = True
        self._futures: set[asyncio.Future[None]] = set()
        self._reading = False
        self._last_read = time.monotonic()

    # For the client

    async def read(self) -> tuple[Stream, bytes] | None:
        """Give the next piece of output; None when there will be no more."""
        self._reading = True
        try:
            while self._open and not self._pieces and not self._over:
                await self._wait(self._loop.create_future())
            if not self._open or not self._pieces:
                return None
            piece = self._pieces.popleft()
            self._waiting_bytes -= len(piece[1])
            self._wake()
            return piece
        finally:
            self._reading = False
            self._last_read = time.monotonic()

    async def write(self, data: bytes) -> None:
        """Feed standard input; dropped if there is none, or nobody to read it."""
        view = memoryview(data)
        while view and self._open and self._stdin is not None and self._stdin.is_open:
            size = self._stdin.put(view)
            view = view[size:]
            if not size:
                await self._wait(self._stdin.movement())

    async def close_stdin(self) -> None:
        """Say that there is no more input; it ends the process's, where that is wanted."""
        stdin, self._stdin = self._stdin, None
        if stdin is not None and self._ends_stdin:
            stdin.end()

    async def close(self) -> None:
        """Let go."""
        self.cut()

    # For its source

    @property
    def is_full(self) -> bool:
        """Say whether so much waits to be read that the process is to be held up."""
        return self._open and self._waiting_bytes >= ROOM

    def is_stalled(self, seconds: float) -> bool:
        """Say whether there is something to read, and nobody has read for so long."""
        late = time.monotonic() - self._last_read > seconds
        return bool(self._pieces) and not self._reading and late

    async def room(self) -> None:
        """Return when there is room for more."""
        while self.is_full:
            await self._wait(self._loop.create_future())

    def give(self, stream: Stream, data: bytes) -> None:
        """Take a piece of output, to be read."""
        if self._open:
            self._pieces.append((stream, data))
            self._waiting_bytes += len(data)
            self._wake()

    def finish(self) -> None:
        """Take it that there is no more output; what was given can still be read."""
        self._over = True
        self._wake()

    def cut(self) -> None:
        """Let go at once; whatever waits for it returns."""
        if not self._open:
            return
        self._open = False
        self._pieces.clear()
        self._waiting_bytes = 0
        if self._stdin is not None and self._ends_stdin:
            self._stdin.end()
        self._wake()
        self._closed(self)

    async def _wait(self, future: asyncio.Future[None]) -> None:
        self._futures.add(future)
        try:
            await future
        finally:
            self._futures.discard(future)

    def _wake(self) -> None:
        for future in tuple(self._futures):
            if not future.done():
                future.set_result(None)
