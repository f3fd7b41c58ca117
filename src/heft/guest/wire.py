"""A byte stream to a guest, over descriptors: a socket, or a pair of pipes or terminals.

Nothing here waits or blocks. What comes is handed on at once; what is to be sent is queued, and
goes out together at the end of the loop's turn.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from heft.errors import HostError
from heft.guest.protocol import LINE_ROOM, OPENING_ROOM
from heft.host import unix_sockets

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

READ = 1 << 18
"""Bytes that are taken at once."""
ROOM = 1 << 19
"""Bytes that may be queued before whoever has much to send waits."""
LINE_QUEUE = 1 << 15
"""The same for a line, where what lets the guest send on waits behind it."""
MOST_QUEUED = 1 << 23
"""Bytes that may be queued at all: a guest that takes none of so much takes nothing any more."""
_BUFFERS = 64


class Line(NamedTuple):
    """A serial line: descriptors. No more is put into it than the other end is known to take."""

    reading: int
    writing: int


class Pipes(NamedTuple):
    """Two pipes, one for each direction: descriptors."""

    reading: int
    writing: int


Connection = socket.socket | Line | Pipes
"""The wire's own from then on."""


class Wire:
    """One connection. `received` gets what comes; `lost` is told, once, why there is no more."""

    def __init__(
        self,
        connection: Connection,
        received: Callable[[bytes], None],
        drained: Callable[[], None],
        lost: Callable[[str], None],
    ) -> None:
        if isinstance(connection, socket.socket):
            self._reading = self._writing = connection.detach()
        else:
            self._reading, self._writing = connection
        for descriptor in {self._reading, self._writing}:
            os.set_blocking(descriptor, False)
        self._received = received
        self._drained = drained
        self._lost = lost
        self._loop = asyncio.get_running_loop()
        self._queue: deque[bytes | memoryview] = deque()
        self._queued = 0
        self._flushing = False
        self._open = True
        self._paused = False
        self.is_line = isinstance(connection, Line)
        self._room = LINE_QUEUE if self.is_line else ROOM
        self._opening = 0
        self._allowed = 0
        """Bytes that may have been written to a line by now."""
        self._written = 0
        self._loop.add_reader(self._reading, self._readable)

    # Receiving

    def pause(self) -> None:
        """Take nothing for a while."""
        if self._open and not self._paused:
            self._paused = True
            self._loop.remove_reader(self._reading)

    def resume(self) -> None:
        """Take what comes again."""
        if self._open and self._paused:
            self._paused = False
            self._loop.add_reader(self._reading, self._readable)

    def _readable(self) -> None:
        try:
            data = os.read(self._reading, READ)
        except BlockingIOError:
            return
        except OSError as error:
            self._fail(error.strerror or str(error))
            return
        if data:
            self._received(data)
        else:
            self._fail("the other end is closed")

    # Sending

    def hold(self, opening: int) -> None:
        """Write nothing after so many bytes to a line before the other end has heard them.

        Raises `HostError` where even these are too many.
        """
        if self.is_line:
            if opening > OPENING_ROOM:
                raise HostError("the guest has not answered again and again, and is given up")
            self._opening = self._allowed = opening

    def heard(self, offset: int) -> bool:
        """Go on with a line, of which so many bytes after the opening were read at the other end.

        Says whether that is news.
        """
        allowed = self._opening + offset + LINE_ROOM
        if not self.is_line or not self._allowed < allowed <= self._written + LINE_ROOM:
            return False
        self._allowed = allowed
        self._go_on()
        return True

    def send(self, *parts: bytes | memoryview) -> None:
        """Queue what is to be sent; dropped where the connection is lost."""
        if not self._open:
            return
        self._queue.extend(parts)
        self._queued += sum(map(len, parts))
        if self._queued > MOST_QUEUED:
            self._fail("it does not take what it is sent")
        else:
            self._go_on()

    def _go_on(self) -> None:
        if not self._flushing:
            self._flushing = True
            self._loop.call_soon(self._flush)

    @property
    def is_full(self) -> bool:
        """Say whether who has much to send should wait; `drained` is called then."""
        return self._queued > self._room

    def _flush(self) -> None:
        while self._queue and self._open:
            buffers = [self._queue[at] for at in range(min(len(self._queue), _BUFFERS))]
            if self.is_line:
                buffers = _cut(buffers, self._allowed - self._written)
            if not buffers:
                break
            try:
                written = os.writev(self._writing, buffers)
            except BlockingIOError:
                self._loop.add_writer(self._writing, self._writable)
                return
            except OSError as error:
                self._fail(error.strerror or str(error))
                return
            self._drop(written)
        self._flushing = False

    def _drop(self, written: int) -> None:
        full = self.is_full
        self._queued -= written
        self._written += written
        while written:
            first = self._queue.popleft()
            if len(first) > written:
                self._queue.appendleft(memoryview(first)[written:])
                break
            written -= len(first)
        while self._queue and not self._queue[0]:
            self._queue.popleft()
        if full and not self.is_full:
            self._drained()

    def _writable(self) -> None:
        self._loop.remove_writer(self._writing)
        self._flush()

    # The end

    def _fail(self, why: str) -> None:
        if self._open:
            self.close()
            self._lost(why)

    def close(self) -> None:
        """Close it; harmless when repeated. Nothing is handed on or told any more."""
        if not self._open:
            return
        self._open = False
        with contextlib.suppress(OSError):
            if not self.is_line:
                os.writev(self._writing, [*self._queue][:_BUFFERS])  # last words, if there is room
        self._loop.remove_reader(self._reading)
        self._loop.remove_writer(self._writing)
        for descriptor in {self._reading, self._writing}:
            os.close(descriptor)
        self._queue.clear()
        self._queued = 0


def _cut(buffers: list[bytes | memoryview], room: int) -> list[bytes | memoryview]:
    """Give what of them there is room for."""
    fitting: list[bytes | memoryview] = []
    for buffer in buffers:
        if room <= 0:
            break
        fitting.append(memoryview(buffer)[:room])
        room -= len(buffer)
    return fitting


def unix_connector(path: str) -> Callable[[], Awaitable[socket.socket]]:
    """Give what connects to a Unix socket. It raises `HostError` where nobody listens."""

    async def connect() -> socket.socket:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            unix_sockets.connect(sock, path)
        except OSError as error:
            sock.close()
            raise HostError(f"cannot reach the guest at {path}: {error.strerror}") from error
        except BaseException:
            sock.close()
            raise
        return sock

    return connect
