"""A client's hold on the streams that a conmon keeps: its socket `attach`.

The socket is of type SOCK_SEQPACKET: every packet to us is one byte that names the stream (2 and 3
are output and error) and what was read from it; packets from us are input. conmon writes to it
blocking, so a session that is not read holds the workload up, as a pipe would.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import time
from typing import TYPE_CHECKING

from heft.errors import HostError
from heft.model.machine import Stream

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_PACKET = 1 << 16
_INPUT_PACKET = 1 << 14
"""conmon reads at most 32 KiB at once, and would lose the rest of a longer packet."""
_STREAMS = {2: Stream.STDOUT, 3: Stream.STDERR}
_CONNECT_ATTEMPTS = 200
_CONNECT_PAUSE = 0.005
_ACCEPT_ATTEMPTS = 1000
_ACCEPT_PAUSE = 0.0005


class AttachSession:
    """`heft.weights.base.Session` over conmon's socket."""

    def __init__(
        self, sock: socket.socket, *, stdin: bool, closed: Callable[[AttachSession], None]
    ) -> None:
        self._socket = sock
        self._stdin = stdin
        self._closed = closed
        self._loop = asyncio.get_running_loop()
        self._waiting: set[asyncio.Future[None]] = set()
        self._reading = False
        self._last_read = time.monotonic()

    def is_stalled(self, seconds: float) -> bool:
        """Say whether nobody has read from it for so long."""
        return not self._reading and time.monotonic() - self._last_read > seconds

    async def read(self) -> tuple[Stream, bytes] | None:
        """Give the next piece of output; None when there will be no more."""
        self._reading = True
        try:
            return await self._read()
        finally:
            self._reading = False
            self._last_read = time.monotonic()

    async def _read(self) -> tuple[Stream, bytes] | None:
        while self._socket.fileno() >= 0:
            try:
                packet = self._socket.recv(_PACKET)
            except BlockingIOError:
                await self._ready(self._loop.add_reader, self._loop.remove_reader)
                continue
            except ConnectionResetError:
                # conmon ended with input unread. The kernel says so once, before what conmon wrote.
                continue
            if not packet:
                return None
            # However much there is to read, the others have their turn.
            await asyncio.sleep(0)
            return _STREAMS.get(packet[0], Stream.STDOUT), packet[1:]
        return None

    async def write(self, data: bytes) -> None:
        """Feed standard input; dropped if there is none, or nobody to read it."""
        if not self._stdin:
            return
        for start in range(0, len(data), _INPUT_PACKET):
            await self._write_packet(data[start : start + _INPUT_PACKET])

    async def _write_packet(self, packet: bytes) -> None:
        while self._socket.fileno() >= 0:
            try:
                self._socket.send(packet, socket.MSG_NOSIGNAL)
            except BlockingIOError:
                await self._ready(self._loop.add_writer, self._loop.remove_writer)
            except OSError:
                self._stdin = False
                return
            else:
                return

    async def close_stdin(self) -> None:
        """Tell conmon that there is no more input; it ends the workload's, where that is wanted."""
        self._stdin = False
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)

    async def close(self) -> None:
        """Let go."""
        self.cut()

    def cut(self) -> None:
        """Let go at once; a read that waits ends."""
        for future in self._waiting:
            if not future.done():
                future.set_result(None)
        if self._socket.fileno() >= 0:
            self._loop.remove_reader(self._socket)
            self._loop.remove_writer(self._socket)
            self._socket.close()
            self._closed(self)

    async def _ready(
        self,
        add: Callable[[int, Callable[[], None]], None],
        remove: Callable[[int], bool],
    ) -> None:
        future: asyncio.Future[None] = self._loop.create_future()
        descriptor = self._socket.fileno()

        def ready() -> None:
            if not future.done():
                future.set_result(None)

        self._waiting.add(future)
        add(descriptor, ready)
        try:
            await future
        finally:
            self._waiting.discard(future)
            if self._socket.fileno() >= 0:
                remove(descriptor)


async def join(
    directory: Path, monitor: int, *, stdin: bool, closed: Callable[[AttachSession], None]
) -> AttachSession:
    """Open a session on a conmon (of process id `monitor`), and see to it that it takes part.

    conmon takes one new client for each time round its loop; what it reads of the workload before a
    client's turn, that client never sees. One caller at a time: it is told by a new socket of
    conmon's that it is its turn.
    """
    before = _sockets(monitor)
    session = await connect(directory, stdin=stdin, closed=closed)
    for _ in range(_ACCEPT_ATTEMPTS):
        now = _sockets(monitor)
        if not now or now - before:
            break
        await asyncio.sleep(_ACCEPT_PAUSE)
    return session


def _sockets(pid: int) -> set[str]:
    """Give the sockets that a process has (proc(5), `fd`); none if it has ended."""
    found = set()
    directory = f"/proc/{pid}/fd"
    with contextlib.suppress(OSError):
        for name in os.listdir(directory):
            with contextlib.suppress(FileNotFoundError):
                found.add(os.readlink(f"{directory}/{name}"))
    return {link for link in found if link.startswith("socket:")}


async def connect(
    directory: Path, *, stdin: bool, closed: Callable[[AttachSession], None]
) -> AttachSession:
    """Open a session on the conmon whose socket is in a directory.

    Raises `HostError` if nobody listens there.
    """
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)
    # By a descriptor, as the name of a socket must be shorter than 108 bytes (unix(7)).
    try:
        handle = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        sock.close()
        raise HostError(f"cannot attach: {error.strerror}") from error
    try:
        for _ in range(_CONNECT_ATTEMPTS):
            with contextlib.suppress(BlockingIOError):
                sock.connect(f"/proc/self/fd/{handle}/attach")
                return AttachSession(sock, stdin=stdin, closed=closed)
            # conmon is busy, and as many others as it lets wait are waiting.
            await asyncio.sleep(_CONNECT_PAUSE)
        raise HostError("cannot attach: the monitor does not answer")
    except OSError as error:
        sock.close()
        raise HostError(f"cannot attach: {error.strerror}") from error
    except BaseException:
        sock.close()
        raise
    finally:
        os.close(handle)
