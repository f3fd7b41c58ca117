"""The console of a machine: what its kernel says, and who has the line.

QEMU keeps the last of what the kernel says (`ringbuf`), and nobody need be there. A client who
opens the console gets the line itself: QEMU is told to have a socket in the place of the buffer
(`chardev-change`, qemu-qmp-ref(7)), and the buffer again afterwards. What comes on the line is
taken at once, whether the client reads or not: he who does not misses what was said first, as at a
serial line, and holds up nobody. What a daemon that was killed had opened is closed by that, and
the next one takes the line back.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import TYPE_CHECKING

from heft.errors import Conflict, HeftError, HostError
from heft.model.machine import Stream
from heft.weights.heavy.qemu import CONSOLE_SIZE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from heft.weights.heavy.control import Control

_BLOCK = 1 << 18
"""Bytes that are taken at once: more than the line holds, as QEMU sends byte by byte."""
_SO_SNDBUFFORCE = 32
"""socket(7); Python has no name for it."""
_PAUSE = 0.005
"""Seconds between two looks at the line: each byte would wake the daemon else."""
_LINE_SIZE = 1 << 20
"""Bytes of the host's memory that what waits on the line may have: some hundred for each sent."""


class Console:
    """That of one machine's run."""

    def __init__(self) -> None:
        self._told: Control | None = None
        self._recent = b""
        self._session: ConsoleSession | None = None
        self._changing = asyncio.Lock()

    @contextlib.asynccontextmanager
    async def reached(self, told: Control) -> AsyncIterator[None]:
        """Have a connection to QEMU within."""
        async with self._changing:
            await told.keep_console()
            self._told = told
        try:
            yield
        finally:
            self._told = None
            if self._session is not None:
                self._session.cut()

    async def recent(self) -> bytes:
        """Give the last of what the kernel has said; at most `CONSOLE_SIZE` bytes."""
        if self._session is not None:
            self._session.take()
        elif self._told is not None:
            self._keep(await self._told.console())
        return self._recent

    async def open(self, *, force: bool) -> tuple[bytes, ConsoleSession]:
        """Give the last of what was said, and the line; `force` takes it from who has it.

        Raises `Conflict` where somebody has it, `HostError`.
        """
        async with self._changing:
            if self._told is None:
                raise HostError("QEMU cannot be reached at the moment", hint="try again")
            if self._session is not None:
                if not force:
                    raise Conflict("the console is in use", hint="--force takes it over")
                await self._take_back(self._session)
            ours = await self._borrowed(self._told)
            recent, self._session = self._recent, ConsoleSession(ours, self._keep, self._closed)
            return recent, self._session

    async def _borrowed(self, told: Control) -> socket.socket:
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                ours.setblocking(False)
                with contextlib.suppress(OSError):  # without it the guest waits a little more
                    theirs.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, _LINE_SIZE)
                self._keep(await told.lend_console(theirs.fileno()))
        except BaseException:
            ours.close()
            with contextlib.suppress(HeftError):  # it may have taken it, and said so to nobody
                await told.keep_console()
            raise
        return ours

    async def _closed(self, session: ConsoleSession) -> None:
        async with self._changing:
            await self._take_back(session)

    async def _take_back(self, session: ConsoleSession) -> None:
        if self._session is session:
            self._session = None
            if self._told is not None:
                with contextlib.suppress(HeftError):  # where its QEMU has just ended
                    await self._told.keep_console()
        session.end()

    def _keep(self, said: bytes) -> None:
        self._recent = (self._recent + said)[-CONSOLE_SIZE:]


class ConsoleSession:
    """`heft.weights.base.Session`; all output is STDOUT."""

    def __init__(
        self,
        line: socket.socket,
        heard: Callable[[bytes], None],
        closed: Callable[[ConsoleSession], Awaitable[None]],
    ) -> None:
        self._line = line
        self._heard = heard
        self._closed = closed
        self._unread = bytearray()
        """At most `CONSOLE_SIZE` bytes."""
        self._news = asyncio.Event()
        self._over = False
        self._loop = asyncio.get_running_loop()
        self._next: asyncio.TimerHandle | None = None
        self._listen()

    def _listen(self) -> None:
        self._loop.add_reader(self._line, self._came)

    def _came(self) -> None:
        self.take()
        if not self._over:
            self._loop.remove_reader(self._line)
            self._next = self._loop.call_later(_PAUSE, self._listen)

    def take(self) -> None:
        """Take what has come on the line, all of it; does not wait."""
        if self._over:
            return
        try:
            data = self._line.recv(_BLOCK)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            self._heard(data)
            self._unread += data
            del self._unread[:-CONSOLE_SIZE]
        else:
            self._finish()
        self._news.set()

    async def read(self) -> tuple[Stream, bytes] | None:
        """Give what the kernel says next; None when the line is somebody else's, or gone."""
        await self._news.wait()
        data = bytes(self._unread)
        self._unread.clear()
        if not self._over:
            self._news.clear()
        return (Stream.STDOUT, data) if data else None

    async def write(self, data: bytes) -> None:
        """Type something; dropped where the line is gone."""
        with contextlib.suppress(OSError):
            await self._loop.sock_sendall(self._line, data)

    async def close_stdin(self) -> None:
        """Do nothing: a console has no end of input."""

    async def close(self) -> None:
        """Give the line back."""
        await self._closed(self)

    def cut(self) -> None:
        """Let whoever reads it find its end."""
        with contextlib.suppress(OSError):
            self._line.shutdown(socket.SHUT_RDWR)

    def end(self) -> None:
        """Let go of the line, once what is on it was taken; harmless when repeated."""
        self.cut()
        self.take()
        self._finish()
        self._line.close()

    def _finish(self) -> None:
        if not self._over:
            self._over = True
            self._loop.remove_reader(self._line)
            if self._next is not None:
                self._next.cancel()
            self._news.set()
