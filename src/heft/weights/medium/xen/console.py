"""The line of a domain: its console, as a terminal of this host that xenconsoled(8) keeps.

Linux takes the byte 0x0f (^O) that comes there for SysRq, and two of them for one (the kernel's
drivers/tty/hvc/hvc_console.c), so what is sent goes through here. So does what comes: the last of
it is kept, as a kernel that panics says so there.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import termios
import tty

from heft.errors import HostError
from heft.guest import wire

READY = b"HEFT-LINE-READY\n"
"""What the agent says when its line carries bytes as they are (agent/main.c)."""
_SYSRQ = b"\x0f"
_PIECE = 1 << 13
_KEPT = 1 << 13
"""Bytes of what came last."""


class Tail:
    """The last that came by a line, over all connections; and whether its guest was ready."""

    def __init__(self, *, is_ready: bool = False) -> None:
        self.ready = asyncio.Event()
        if is_ready:
            self.ready.set()
        self._last = b""

    def add(self, data: bytes) -> bytes:
        """Take what came; give what of it is the agent's."""
        before = self._last if not self.ready.is_set() else b""
        self._last = (self._last + data)[-_KEPT:]
        if self.ready.is_set():
            return data
        _, mark, rest = (before + data).partition(READY)
        if mark:
            self.ready.set()
        return rest

    @property
    def text(self) -> str:
        """What can be read of it."""
        return self._last.decode(errors="replace")


class Pump:
    """Carries bytes between a terminal and a socket, until either ends."""

    def __init__(self, path: str, tail: Tail) -> None:
        try:
            self._tty = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            raise HostError(f"cannot open the console at {path}: {error.strerror}") from error
        self._tail = tail
        self._loop = asyncio.get_running_loop()
        self._own, self._daemons = socket.socketpair()
        self._own.setblocking(False)
        self._open = True
        self._in, self._out = b"", b""
        """What came and was not passed on; what is to be sent."""
        with contextlib.suppress(OSError, termios.error):
            tty.setraw(self._tty, termios.TCSANOW)
            termios.tcflush(self._tty, termios.TCOFLUSH)  # what an earlier daemon has sent
        self._loop.add_reader(self._tty, self._readable)

    async def connected(self) -> wire.Line:
        """Give the daemon's end, as soon as the guest is ready. Raises `HostError`."""
        try:
            await self._tail.ready.wait()
        except BaseException:
            self.close()
            raise
        if not self._open:
            raise HostError("the console was closed")
        self._loop.add_reader(self._own, self._asked)
        reading = self._daemons.detach()
        return wire.Line(reading, os.dup(reading))

    # From the guest

    def _readable(self) -> None:
        try:
            data = os.read(self._tty, _PIECE)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.close()
            return
        self._in += self._tail.add(data)
        self._pass_on()

    def _pass_on(self) -> None:
        try:
            self._in = self._in[self._own.send(self._in) :] if self._in else b""
        except BlockingIOError:
            pass
        except OSError:
            self.close()
            return
        self._loop.remove_writer(self._own)
        if self._in:
            self._loop.remove_reader(self._tty)
            self._loop.add_writer(self._own, self._pass_on)
        else:
            self._loop.add_reader(self._tty, self._readable)

    # To the guest

    def _asked(self) -> None:
        try:
            data = self._own.recv(_PIECE)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.close()
            return
        self._out += data.replace(_SYSRQ, 2 * _SYSRQ)
        self._send()

    def _send(self) -> None:
        try:
            self._out = self._out[os.write(self._tty, self._out) :]
        except BlockingIOError:
            pass
        except OSError:
            self.close()
            return
        self._loop.remove_writer(self._tty)
        if self._out:
            self._loop.remove_reader(self._own)
            self._loop.add_writer(self._tty, self._send)
        else:
            self._loop.add_reader(self._own, self._asked)

    def close(self) -> None:
        """Let go of both ends; harmless when repeated."""
        if not self._open:
            return
        self._open = False
        self._loop.remove_reader(self._tty)
        self._loop.remove_writer(self._tty)
        self._loop.remove_reader(self._own)
        self._loop.remove_writer(self._own)
        os.close(self._tty)
        self._own.close()
        self._daemons.close()
        self._tail.ready.set()
