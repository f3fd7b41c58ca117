"""The console of a machine: what its kernel says, and who has the line.

QEMU keeps the last of what the kernel says (`ringbuf`), and nobody need be there. A client who
opens the console gets the line itself: QEMU is told to have a socket in the place of the buffer
(`chardev-change`, qemu-qmp-ref(7)), and the buffer again afterwards. What comes on the line is
taken at once, whether the client reads or not: he who does not misses what was said first, as at a
serial line, and holds up nobody. What a daemon that was killed had opened is closed by that, and
the next one takes the line back.

The consoles of some boards lead nowhere else while they run (`boards`): there QEMU is asked for
what its buffer has, again and again, and nothing can be typed.
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
_ASK_SECONDS = 0.1
"""Between two looks at the buffer, where there is no line."""
_DEAF = b"\r\n[heft: at the console of a machine of this platform nothing can be typed]\r\n"
_LINE_SIZE = 1 << 20
"""Bytes of the host's memory that what waits on the line may have: some hundred for each sent."""


class Console:
    """That of one machine's run."""

    def __init__(self, *, lends: bool = True) -> None:
        self._lends = lends
        self._told: Control | None = None
        self._recent = b""
        self._session: LineSession | HearingSession | None = None
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
        if isinstance(self._session, LineSession):
            self._session.take()
        elif self._told is not None:
            await self._ask(self._told)
        return self._recent

    async def _ask(self, told: Control) -> None:
        said = await told.console()
        self._keep(said)
        if isinstance(self._session, HearingSession):
            self._session.hear(said)

    async def open(self, *, force: bool) -> tuple[bytes, LineSession | HearingSession]:
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
            told = self._told
            if self._lends:
                ours = await self._borrowed(told)
                self._session = LineSession(ours, self._keep, self._closed)
            else:
                await self._ask(told)
                self._session = HearingSession(lambda: self._ask(told), self._closed)
            return self._recent, self._session

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

    async def _closed(self, session: _Session) -> None:
        async with self._changing:
            await self._take_back(session)

    async def _take_back(self, session: _Session) -> None:
        if self._session is session:
            self._session = None
            if self._told is not None:
                with contextlib.suppress(HeftError):  # where its QEMU has just ended
                    await self._told.keep_console()
        session.end()

    def _keep(self, said: bytes) -> None:
        self._recent = (self._recent + said)[-CONSOLE_SIZE:]


class _Session:
    """`heft.weights.base.Session`; all output is STDOUT. How it ends is each kind's own."""

    def __init__(self, closed: Callable[[_Session], Awaitable[None]]) -> None:
        self._closed = closed
        self._unread = bytearray()
        """At most `CONSOLE_SIZE` bytes."""
        self._news = asyncio.Event()
        self._over = False

    def cut(self) -> None:
        """Let whoever reads it find its end."""
        raise NotImplementedError

    def end(self) -> None:
        """Let go of the console, once what was said was taken; harmless when repeated."""
        self.cut()

    def hear(self, data: bytes) -> None:
        """Have something to be read, in the place of what was said first."""
        if data:
            self._unread += data
            del self._unread[:-CONSOLE_SIZE]
            self._news.set()

    async def read(self) -> tuple[Stream, bytes] | None:
        """Give what the kernel says next; None when the console is somebody else's, or gone."""
        await self._news.wait()
        data = bytes(self._unread)
        self._unread.clear()
        if not self._over:
            self._news.clear()
        return (Stream.STDOUT, data) if data else None

    async def close_stdin(self) -> None:
        """Do nothing: a console has no end of input."""

    async def close(self) -> None:
        """Give the console back."""
        await self._closed(self)

    def _finish(self) -> None:
        self._over = True
        self._news.set()


class HearingSession(_Session):
    """At a console that leads nowhere else; nothing can be typed."""

    def __init__(
        self,
        ask: Callable[[], Awaitable[None]],
        closed: Callable[[_Session], Awaitable[None]],
    ) -> None:
        super().__init__(closed)
        self._told_so = False
        self._asking = asyncio.create_task(self._ask(ask))

    async def _ask(self, ask: Callable[[], Awaitable[None]]) -> None:
        try:
            with contextlib.suppress(HeftError):  # where its QEMU has just ended
                while True:
                    await ask()
                    await asyncio.sleep(_ASK_SECONDS)
        finally:
            self._finish()

    async def write(self, data: bytes) -> None:
        """Say, once, that this leads nowhere."""
        if data and not self._told_so:
            self._told_so = True
            self.hear(_DEAF)

    async def close(self) -> None:
        """Give the console back."""
        await super().close()
        await asyncio.gather(self._asking, return_exceptions=True)

    def cut(self) -> None:
        """Let whoever reads it find its end."""
        self._asking.cancel()
        self._finish()


class LineSession(_Session):
    """At the line itself."""

    def __init__(
        self,
        line: socket.socket,
        heard: Callable[[bytes], None],
        closed: Callable[[_Session], Awaitable[None]],
    ) -> None:
        super().__init__(closed)
        self._line = line
        self._heard = heard
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
            self.hear(data)
        else:
            self._finish()

    async def write(self, data: bytes) -> None:
        """Type something; dropped where the line is gone."""
        with contextlib.suppress(OSError):
            await self._loop.sock_sendall(self._line, data)

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
            super()._finish()
            self._loop.remove_reader(self._line)
            if self._next is not None:
                self._next.cancel()
