"""Taking a connection over from HTTP: raw bytes both ways, each of which can end by itself.

The client asks by `Upgrade: tcp` and is answered 101, or does not and is answered 200; either way
the connection belongs to the two of them afterwards (docs.docker.com/reference/api/engine, "Attach
to a container", "Hijacking").
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import select
import struct
import termios
from collections import deque
from typing import TYPE_CHECKING, Any, cast

from aiohttp import web

from heft.api.call import COMMON_HEADERS

if TYPE_CHECKING:
    import socket

    from aiohttp.http import WebSocketReader
    from aiohttp.web_protocol import RequestHandler

MOST_UNREAD = 256 << 10
"""Bytes of input that wait here before the client is held up."""
LOOK_SECONDS = 5.0
"""How often a client that sends nothing more is looked after."""
END_SECONDS = 5.0
"""How long a client may go on sending after the end of what it is sent."""
HEAD_SECONDS = 0.1
"""How long the client is given to read the answer's head by itself."""
_HEAD_STEP = 0.0003


class Hijacked(asyncio.Protocol):
    """A connection that HTTP has left. `write` and `read` keep its two sides from piling up."""

    def __init__(self, owner: RequestHandler, transport: asyncio.Transport) -> None:
        self._owner = owner
        self._transport = transport
        self._loop = asyncio.get_running_loop()
        self._unread: deque[bytes] = deque()
        self._unread_size = 0
        self._ended = False
        self._lost = False
        self._ignoring = False
        self._reading = True
        self._head_is_new = True
        self._arrived: asyncio.Future[None] | None = None
        self._writable = asyncio.Event()
        self._writable.set()
        self._look = self._loop.call_later(LOOK_SECONDS, self._look_after_client)

    # What the handler does

    async def read(self) -> bytes:
        """Give what the client sent; empty when it sends no more."""
        while not self._unread:
            if self._lost:
                self._tell_owner()
            if self._ended or self._lost:
                return b""
            self._arrived = self._loop.create_future()
            try:
                await self._arrived
            finally:
                self._arrived = None
        data = b"".join(self._unread)
        self._make_room()
        return data

    def ignore_input(self) -> None:
        """Drop all that the client sends."""
        self._ignoring = True
        self._make_room()

    async def end(self) -> Taken:
        """Tell the client that nothing more comes, and let it read to there, for a while.

        What it still sends is dropped: were that unread as the connection is closed, the client
        would be told that it is broken, even before what it was sent (unix(7); TCP does the same).
        """
        self.ignore_input()
        if self._transport.can_write_eof() and not self._transport.is_closing():
            self._transport.write_eof()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(END_SECONDS):
                    await self.read()
        return Taken()

    def _make_room(self) -> None:
        self._unread.clear()
        self._unread_size = 0
        if not self._reading and not self._lost:
            self._reading = True
            self._transport.resume_reading()

    async def write(self, data: bytes) -> None:
        """Send to the client; returns when little enough is on its way.

        Raises `ConnectionResetError` if the client has gone.
        """
        if self._head_is_new:
            self._head_is_new = False
            await self._see_head_read()
        if self._lost or self._transport.is_closing():
            raise ConnectionResetError("the client has gone")
        self._transport.write(data)
        if not self._writable.is_set():
            await self._writable.wait()

    async def _see_head_read(self) -> None:
        """Wait until the client has read the head of the answer, for a while.

        docker-py reads the head through a buffer, and what follows past it: what comes in one
        piece with the head is lost to it. A dockerd needs so long to start a process that this
        does not show.
        """
        until = self._loop.time() + HEAD_SECONDS
        await asyncio.sleep(0)
        while self._is_unread() and self._loop.time() < until:  # noqa: ASYNC110 - no event tells
            await asyncio.sleep(_HEAD_STEP)

    def _is_unread(self) -> bool:
        """Say whether something is on its way (on a Unix socket: not read yet; SIOCOUTQ)."""
        handle: socket.socket | None = self._transport.get_extra_info("socket")
        if self._lost or handle is None or handle.fileno() < 0:
            return False
        if self._transport.get_write_buffer_size():
            return True
        (count,) = struct.unpack("i", fcntl.ioctl(handle.fileno(), termios.TIOCOUTQ, bytes(4)))
        return bool(count)

    # What the transport says

    def data_received(self, data: bytes) -> None:
        """Keep what came until it is read."""
        if self._ignoring:
            return
        self._unread.append(bytes(data))
        self._unread_size += len(data)
        self._wake()
        if self._unread_size > MOST_UNREAD and self._reading:
            self._reading = False
            self._transport.pause_reading()

    def eof_received(self) -> bool:
        """Keep the other direction open, unless the client has closed both."""
        self._ended = True
        self._wake()
        return bool(self._unread) or not self._has_hung_up()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wake who waits, and let HTTP's side cancel the handler.

        What a client sent before it went is delivered first, if that can be done soon.
        """
        self._lost = True
        self._look.cancel()
        self._wake()
        self._writable.set()
        if self._unread:
            self._look = self._loop.call_later(LOOK_SECONDS, self._tell_owner, exc)
        else:
            self._tell_owner(exc)

    def _tell_owner(self, exc: Exception | None = None) -> None:
        self._look.cancel()
        self._owner.connection_lost(exc)

    def pause_writing(self) -> None:
        """Hold `write` up."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """Let `write` go on."""
        self._writable.set()

    def _wake(self) -> None:
        if self._arrived is not None and not self._arrived.done():
            self._arrived.set_result(None)

    def _look_after_client(self) -> None:
        """Notice a client that is gone though nothing is read from it, or written to it, now."""
        if self._has_hung_up():
            self._transport.abort()
        else:
            self._look = self._loop.call_later(LOOK_SECONDS, self._look_after_client)

    def _has_hung_up(self) -> bool:
        """Ask the kernel: a Unix socket whose peer is closed has POLLHUP, a half-closed has not."""
        handle: socket.socket | None = self._transport.get_extra_info("socket")
        if handle is None or handle.fileno() < 0:
            return True
        poll = select.poll()
        poll.register(handle.fileno(), 0)
        return any(events & (select.POLLHUP | select.POLLERR) for _, events in poll.poll(0))


class Taken(web.StreamResponse):
    """Tells HTTP's side that there is nothing left for it to answer."""

    async def prepare(self, request: web.BaseRequest) -> None:
        """Send nothing."""

    async def write_eof(self, data: bytes = b"") -> None:
        """Send nothing."""

    @property
    def keep_alive(self) -> bool:
        """No further request comes on this connection."""
        return False


class _Tail:
    """Gets from aiohttp's side what the client sent behind its request."""

    def __init__(self) -> None:
        self.data = bytearray()

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        self.data += data
        return False, b""

    def feed_eof(self) -> None:
        pass


def hijack(request: web.BaseRequest, content_type: str) -> Hijacked:
    """Answer the request's head and take its connection over.

    Raises `ConnectionResetError` if the client has gone.
    """
    owner, transport = request.protocol, request.transport
    if transport is None or transport.is_closing():
        raise ConnectionResetError("the client has gone")
    tail = _Tail()
    owner.set_parser(cast("WebSocketReader", tail))
    connection = Hijacked(owner, transport)
    if owner.writing_paused:
        connection.pause_writing()
    transport.set_protocol(connection)
    if tail.data:
        connection.data_received(bytes(tail.data))
    head = _head(request, content_type)
    request.writer.output_size += len(head)
    transport.write(head)
    return connection


def _head(request: web.BaseRequest, content_type: str) -> bytes:
    lines = ["HTTP/1.1 200 OK"]
    headers: dict[str, Any] = {**COMMON_HEADERS, "Content-Type": content_type}
    if request.headers.get("Upgrade", "").lower() == "tcp":
        lines = ["HTTP/1.1 101 UPGRADED", "Connection: Upgrade", "Upgrade: tcp"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
