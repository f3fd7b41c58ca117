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
from typing import TYPE_CHECKING

from heft.errors import HostError
from heft.guest import wire

if TYPE_CHECKING:
    from collections.abc import Callable

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


class _Way:
    """Carries bytes one way between two descriptors; reads no more until they are passed on."""

    def __init__(
        self,
        source: int,
        target: int,
        change: Callable[[bytes], bytes],
        ended: Callable[[], None],
    ) -> None:
        self._source, self._target = source, target
        self._change, self._ended = change, ended
        self._loop = asyncio.get_running_loop()
        self._kept = b""
        """What was read and is not passed on."""

    def open(self) -> None:
        """Begin."""
        self._loop.add_reader(self._source, self._read)

    def close(self) -> None:
        """Carry nothing more; harmless when repeated."""
        self._loop.remove_reader(self._source)
        self._loop.remove_writer(self._target)

    def _read(self) -> None:
        try:
            data = os.read(self._source, _PIECE)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._ended()
            return
        self._kept += self._change(data)
        self._pass_on()

    def _pass_on(self) -> None:
        try:
            self._kept = self._kept[os.write(self._target, self._kept) :] if self._kept else b""
        except BlockingIOError:
            pass
        except OSError:
            self._ended()
            return
        self._loop.remove_writer(self._target)
        if self._kept:
            self._loop.remove_reader(self._source)
            self._loop.add_writer(self._target, self._pass_on)
        else:
            self._loop.add_reader(self._source, self._read)


class Pump:
    """Carries bytes between a terminal and a socket, until either ends."""

    def __init__(self, path: str, tail: Tail) -> None:
        try:
            self._tty = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            raise HostError(f"cannot open the console at {path}: {error.strerror}") from error
        self._tail = tail
        self._own, self._daemons = socket.socketpair()
        self._own.setblocking(False)
        self._open = True
        with contextlib.suppress(OSError, termios.error):
            tty.setraw(self._tty, termios.TCSANOW)
            termios.tcflush(self._tty, termios.TCOFLUSH)  # what an earlier daemon has sent
        own = self._own.fileno()
        self._of_guest = _Way(self._tty, own, tail.add, self.close)
        self._to_guest = _Way(own, self._tty, _doubled, self.close)
        self._of_guest.open()

    async def connected(self) -> wire.Line:
        """Give the daemon's end, as soon as the guest is ready. Raises `HostError`."""
        try:
            await self._tail.ready.wait()
        except BaseException:
            self.close()
            raise
        if not self._open:
            raise HostError("the console was closed")
        self._to_guest.open()
        reading = self._daemons.detach()
        return wire.Line(reading, os.dup(reading))

    def close(self) -> None:
        """Let go of both ends; harmless when repeated."""
        if not self._open:
            return
        self._open = False
        self._of_guest.close()
        self._to_guest.close()
        os.close(self._tty)
        self._own.close()
        self._daemons.close()
        self._tail.ready.set()


def _doubled(data: bytes) -> bytes:
    return data.replace(_SYSRQ, 2 * _SYSRQ)
