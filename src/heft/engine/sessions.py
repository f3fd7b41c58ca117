"""Sessions on a machine that has not started yet."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from heft.model.machine import Stream
    from heft.weights.base import Session


class PendingSession:
    """Waits for the machine's next run, and is then that run's session from its first byte.

    Clients attach before they start (`docker run` does), so that no output escapes them.
    """

    def __init__(self) -> None:
        self._bound: asyncio.Future[Session | None] = asyncio.get_running_loop().create_future()

    @property
    def is_open(self) -> bool:
        """Say whether somebody still waits for the run."""
        return not self._bound.done()

    def bind(self, session: Session | None) -> None:
        """Become this session; None where the run will not come."""
        if not self._bound.done():
            self._bound.set_result(session)

    async def read(self) -> tuple[Stream, bytes] | None:
        """Give the next piece of output; None when there will be no more."""
        session = await asyncio.shield(self._bound)
        return await session.read() if session is not None else None

    async def write(self, data: bytes) -> None:
        """Feed standard input."""
        session = await asyncio.shield(self._bound)
        if session is not None:
            await session.write(data)

    async def close_stdin(self) -> None:
        """Tell the process that its input has ended."""
        session = await asyncio.shield(self._bound)
        if session is not None:
            await session.close_stdin()

    async def close(self) -> None:
        """Let go, of the run or of waiting for it."""
        if not self._bound.done():
            self._bound.set_result(None)
        elif (session := self._bound.result()) is not None:
            await session.close()


class PendingSessions:
    """All that wait for one machine's next run."""

    def __init__(self) -> None:
        self._all: list[PendingSession] = []

    def open(self) -> PendingSession:
        """Give a further one."""
        pending = PendingSession()
        self._all = [other for other in self._all if other.is_open] + [pending]
        return pending

    async def bind(self, attach: Callable[[], Awaitable[Session]]) -> None:
        """Let each become a session on the run that is there now."""
        waiting, self._all = self._all, []
        for pending in waiting:
            if pending.is_open:
                pending.bind(await attach())

    def drop(self) -> None:
        """Tell them that the run will not come."""
        waiting, self._all = self._all, []
        for pending in waiting:
            pending.bind(None)
