"""A process's output on its way: to the log, to the journal, to who is attached.

The guest may forget a piece, and send more, once it is in the log and every session has room
again: a session that is not read holds the process up, as a pipe would.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, NamedTuple

from heft.errors import HeftError
from heft.guest.lines import logged
from heft.model.machine import Stream

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from heft.guest.journal import Journal
    from heft.guest.recorder import Recorder
    from heft.guest.session import GuestSession
    from heft.guest.streams import Inflow

log = logging.getLogger(__name__)

QUICKLY_WRITTEN = 1 << 14
"""Bytes of output that are written to the log at once; more are written in a thread."""
FORMATTED = 1 << 16
"""Bytes of output that are made lines of at once: Python's lock is held meanwhile."""


class Output:
    """Passes the streams of one process on, until they are over (`done`)."""

    def __init__(
        self,
        inflows: Mapping[Stream, Inflow],
        recorder: Recorder | None = None,
        journal: Journal | None = None,
    ) -> None:
        self.sessions: set[GuestSession] = set()
        self._inflows = dict(inflows)
        self._recorder = recorder
        self._journal = journal
        self._writing = asyncio.Lock()
        self._moved = asyncio.Event()
        for inflow in self._inflows.values():
            inflow.moved = self._moved.set
        self._ends = {Stream.STDOUT: 0, Stream.STDERR: 0}
        self._ends.update((stream, inflow.received) for stream, inflow in self._inflows.items())
        self._passing = asyncio.create_task(self._pass())

    @property
    def is_over(self) -> bool:
        """Say whether all of it was passed on."""
        return self._passing.done()

    async def done(self, seconds: float | None = None) -> None:
        """Return when all of it was passed on, or after a time."""
        await asyncio.wait({self._passing}, timeout=seconds)

    def join(self, session: GuestSession) -> None:
        """Let a session have what comes from now on."""
        if self.is_over:
            session.finish()
        else:
            self.sessions.add(session)

    async def reopen_log(self) -> None:
        """Go on in a new file at the log's path. Raises `HostError`."""
        async with self._writing:
            if self._recorder is not None:
                self._recorder.reopen()

    async def close(self) -> None:
        """Stop passing on; what was not passed on is still the guest's. Harmless when repeated."""
        self._passing.cancel()
        await asyncio.wait({self._passing})
        self._let_go()

    async def _pass(self) -> None:
        try:
            while True:
                over = all(inflow.is_over for inflow in self._inflows.values())
                pieces = [
                    _Piece(stream, bytes(data), inflow.received)
                    for stream, inflow in self._inflows.items()
                    if (data := inflow.pieces())
                ]
                if pieces:
                    await self._pass_on(pieces)
                    await asyncio.sleep(0)  # however much there is, the others have their turn
                elif over:
                    return
                else:
                    await self._moved.wait()
                    self._moved.clear()
        finally:
            self._let_go()

    async def _pass_on(self, pieces: list[_Piece]) -> None:
        if self._journal is not None:
            for piece in pieces:
                await self._journal.write(piece.stream, piece.data)
        if self._recorder is not None:
            await self._record(self._recorder, pieces)
        for piece in pieces:
            for session in self.sessions:
                session.give(piece.stream, piece.data)
        for session in tuple(self.sessions):
            await session.room()
        for piece in pieces:
            self._inflows[piece.stream].take(len(piece.data))

    async def _record(self, recorder: Recorder, pieces: list[_Piece]) -> None:
        self._ends.update((piece.stream, piece.end) for piece in pieces)
        out, err = self._ends[Stream.STDOUT], self._ends[Stream.STDERR]
        lines = _lines(pieces, time.time_ns())
        async with self._writing:
            try:
                if sum(len(piece.data) for piece in pieces) <= QUICKLY_WRITTEN:
                    recorder.append(lines, out, err)
                else:
                    await _in_thread(lambda: recorder.append(lines, out, err))
            except HeftError as error:
                log.error("output may be logged twice after a crash: %s", error)

    def _let_go(self) -> None:
        for session in tuple(self.sessions):
            session.finish()
        self.sessions.clear()


class _Piece(NamedTuple):
    """What came at once of one stream."""

    stream: Stream
    data: bytes
    end: int
    """How far the stream goes with it."""


def _lines(pieces: list[_Piece], now: int) -> Iterator[bytes]:
    for piece in pieces:
        for at in range(0, len(piece.data), FORMATTED):
            yield logged(piece.stream, piece.data[at : at + FORMATTED], now)


async def _in_thread(work: Callable[[], None]) -> None:
    """Do it in a thread; who is cancelled still waits for it, as it cannot be stopped."""
    future = asyncio.get_running_loop().run_in_executor(None, work)
    try:
        await asyncio.shield(future)
    except asyncio.CancelledError:
        await asyncio.wait({future})
        raise
