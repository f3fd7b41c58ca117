"""The streams of processes and of file operations, in both directions, with their windows.

Both ends of a stream outlive a session: in the next one they go on where the other side is.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from heft.errors import OutcomeUnknown
from heft.guest import frames
from heft.guest.protocol import FIN, MOST_PAYLOAD, STREAM_ROOM, Kind, ProtocolError

if TYPE_CHECKING:
    from collections.abc import Callable

    from heft.guest.frames import Frame
    from heft.guest.wire import Wire

LOST = "the guest is gone"


class Inflow:
    """A stream that comes from the guest.

    What came is kept until it is read, and the guest keeps it until it is `take`n; `moved` is
    called when there is something to read, or nothing will be any more.
    """

    def __init__(self, number: int, start: int = 0) -> None:
        self.number = number
        self.received = start
        """How far it has come."""
        self.taken = start
        """How far the guest need not keep it."""
        self.ended = False
        """Whether all of it has come."""
        self.lost = ""
        """Why no more will come though it has not ended."""
        self.moved: Callable[[], None] = _nothing
        self._limit = 0
        self._pending = bytearray()
        self._wire: Wire | None = None
        self._waiting: asyncio.Future[None] | None = None

    @property
    def is_over(self) -> bool:
        """Say whether nothing more will come."""
        return self.ended or bool(self.lost)

    def pieces(self) -> bytearray:
        """Give what has come and was not read; empty if nothing has."""
        pending, self._pending = self._pending, bytearray()
        return pending

    async def read(self) -> bytearray:
        """Give the next of it; empty at its end. Raises `OutcomeUnknown` where it breaks off.

        For one reader, that takes what it is given.
        """
        while not self._pending:
            if self.lost:
                raise OutcomeUnknown(self.lost)
            if self.ended:
                break
            self._waiting = asyncio.get_running_loop().create_future()
            await self._waiting
        return self.pieces()

    def take(self, size: int) -> None:
        """Let the guest forget so much more, and send as much."""
        self.taken += size
        if not self.ended and self.taken + STREAM_ROOM - self._limit >= STREAM_ROOM // 2:
            self._grant()

    def stop(self) -> None:
        """Say that nobody wants more of it."""
        if self._wire is not None and not self.is_over:
            self._wire.send(frames.frame(Kind.STOP, channel=self.number))

    # For the link

    def is_of(self, wire: Wire | None) -> bool:
        """Say whether it is part of this session."""
        return self._wire is wire

    def connect(self, wire: Wire, base: int = 0) -> None:
        """Go on in this session, from where it was taken; `base` is the first byte there still is.

        Raises `ProtocolError` where bytes are gone that were not taken.
        """
        if base > self.taken:
            raise ProtocolError(f"channel {self.number} was dropped up to {base}")
        self._wire = wire
        self._grant()

    def disconnect(self) -> None:
        """Wait for another session."""
        self._wire = None

    def take_data(self, frame: Frame) -> bool:
        """Take a frame; say whether there was anything in it. Raises `ProtocolError`."""
        end = frame.offset + len(frame.payload)
        if frame.offset > self.received:
            raise ProtocolError(f"a gap in channel {self.number}")
        if end > self._limit:
            raise ProtocolError(f"channel {self.number} goes over its window")
        if self.is_over or (end <= self.received and not frame.flags & FIN):
            return False
        if end > self.received:
            skipped = self.received - frame.offset
            self._pending += frame.payload[skipped:] if skipped else frame.payload
            self.received = end
        self.ended = bool(frame.flags & FIN)
        self._wake()
        return True

    def lose(self, why: str) -> None:
        """End it where it is: no more of it can come."""
        if not self.is_over:
            self.lost = why
            self._wake()

    def _grant(self) -> None:
        if self._wire is not None:
            self._limit = self.taken + STREAM_ROOM
            self._wire.send(frames.window(self.number, self.taken, self._limit))

    def _wake(self) -> None:
        self.moved()
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)


class Outflow:
    """A stream that goes to the guest.

    What is written is kept until the guest has taken it: bytes from `_taken` on, of which those
    up to `_sent` were sent.
    """

    def __init__(self, number: int) -> None:
        self.number = number
        self.stopped = False
        """Whether nobody there reads it any more: what is written is dropped."""
        self._kept = bytearray()
        self._taken = 0
        self._sent = 0
        self._limit = 0
        self._ending = False
        self._end_sent = False
        self._fresh = True
        self._wire: Wire | None = None
        self._moved: set[asyncio.Future[None]] = set()

    @property
    def is_open(self) -> bool:
        """Say whether what is written still goes anywhere."""
        return not self.stopped and not self._ending

    def put(self, data: memoryview) -> int:
        """Send as much as there is room for; give how much that was. For one that is open."""
        size = min(STREAM_ROOM - len(self._kept), len(data))
        if size:
            self._kept += data[:size]
            self.push()
        return size

    def movement(self) -> asyncio.Future[None]:
        """Give a future that is set when there may be room again, or the stream ends."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._moved.add(future)
        future.add_done_callback(self._moved.discard)
        return future

    async def write(self, data: bytes) -> None:
        """Send it all; returns when the last of it is on its way, or not wanted."""
        view = memoryview(data)
        while view and self.is_open:
            size = self.put(view)
            view = view[size:]
            if not size:
                await self.movement()

    def end(self) -> None:
        """Send the end, after all that was put."""
        if self.is_open:
            self._ending = True
            self.push()
            self._wake()

    def push(self) -> None:
        """Send what may be sent now."""
        wire, end = self._wire, self._taken + len(self._kept)
        if wire is None:
            return
        while self._sent < min(end, self._limit) and not wire.is_full:
            at = self._sent - self._taken
            most = min(self._limit - self._sent, MOST_PAYLOAD)
            part = bytes(self._kept[at : at + most])
            wire.send(frames.data_head(self.number, self._sent, len(part)), part)
            self._sent += len(part)
        if self._ending and self._sent == end and not self._end_sent:
            self._end_sent = True
            wire.send(frames.data_head(self.number, end, 0, fin=True))

    # For the link

    def is_of(self, wire: Wire | None) -> bool:
        """Say whether it is part of this session."""
        return self._wire is wire

    def connect(self, wire: Wire, base: int = 0) -> None:
        """Go on in this session, in which the guest has received up to `base`.

        Nothing is sent before its first window. Raises `ProtocolError` where it cannot be.
        """
        if self._fresh:
            self._taken = base  # what waits comes after what an earlier daemon has sent
        if self._kept and not self._taken <= base <= self._taken + len(self._kept):
            raise ProtocolError(f"channel {self.number} was received up to {base}")
        del self._kept[: base - self._taken]
        self._taken = self._sent = self._limit = base
        self._end_sent = self._fresh = False
        self._wire = wire
        self._wake()

    def disconnect(self) -> None:
        """Wait for another session."""
        self._wire = None

    def take_window(self, frame: Frame) -> bool:
        """Take a frame; say whether it changes anything. Raises `ProtocolError`."""
        taken = frames.taken(frame.payload)
        if taken > self._sent:
            raise ProtocolError(f"channel {self.number} was taken further than it was sent")
        if taken <= self._taken and frame.offset <= self._limit:
            return False
        if taken > self._taken:
            del self._kept[: taken - self._taken]
            self._taken = taken
        self._limit = max(self._limit, frame.offset)
        self.push()
        self._wake()
        return True

    def lose(self, _why: str) -> None:
        """Drop what is written from now on."""
        self.stopped = True
        self._kept.clear()
        self._wake()

    def _wake(self) -> None:
        for future in tuple(self._moved):
            if not future.done():
                future.set_result(None)


def _nothing() -> None:
    """Nobody is told."""
