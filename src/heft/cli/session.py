"""A machine's or an exec's streams, joined to this process's own."""

from __future__ import annotations

import enum
import os
import select
import signal

from heft.cli.failures import Unreachable
from heft.cli.frames import MULTIPLEXED, Output
from heft.cli.keys import Watch
from heft.cli.terminal import STDIN, Raw, is_terminal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from heft.cli.connection import Answer, Connection

BLOCK = 1 << 15
MOST_UNSENT = 1 << 18
"""Bytes of input that wait for the daemon before no more is read."""


class Ending(enum.Enum):
    """Why a session ended."""

    OUTPUT = "the output has ended"
    DETACHED = "the user typed the detach keys"


class Session:
    """Carries input to the daemon and output to the user, until the output ends.

    `keys` are those that detach, empty where none do.
    """

    def __init__(
        self, connection: Connection, answer: Answer, *, tty: bool, stdin: bool, keys: bytes = b""
    ) -> None:
        self._connection = connection
        self._output = Output(framed=answer.headers.get("content-type") == MULTIPLEXED)
        self._raw = Raw(wanted=tty and stdin)
        self._reads = stdin
        self._watch = Watch(keys) if keys and tty and stdin and is_terminal(STDIN) else None
        self._unsent = bytearray()
        self._input_ended = False
        self._signalled = -1
        """A pipe in which there is something when a signal has come."""

    def run(self) -> Ending:
        """Carry until the end. Raises `Unreachable` if the connection breaks."""
        peer = self._connection.socket
        peer.setblocking(False)
        self._signalled, told = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        # A signal that comes just before poll(2) would else be dealt with when that returns.
        signal.set_wakeup_fd(told, warn_on_full_buffer=False)
        try:
            with self._raw:
                while self._turn():
                    pass
        finally:
            signal.set_wakeup_fd(-1)
            os.close(told)
            os.close(self._signalled)
            self._connection.close()
        detached = self._watch is not None and self._watch.seen
        return Ending.DETACHED if detached else Ending.OUTPUT

    def _turn(self) -> bool:
        """Do what can be done now, or wait until something can be; False at the end."""
        if self._connection.holds:
            ready = {self._connection.socket.fileno(): select.POLLIN}
        else:
            ready = dict(self._poll().poll())
        if self._signalled in ready:
            os.read(self._signalled, BLOCK)
        events = ready.get(self._connection.socket.fileno(), 0)
        if events & select.POLLOUT:
            self._send()
        if STDIN in ready and self._reads:
            self._take_input()
        if events & (select.POLLIN | select.POLLHUP | select.POLLERR):
            return self._take_output()
        return True

    def _poll(self) -> select.poll:
        poll = select.poll()
        sends = self._unsent or self._connection.waits
        wanted = select.POLLIN | (select.POLLOUT if sends else 0)
        poll.register(self._connection.socket.fileno(), wanted)
        poll.register(self._signalled, select.POLLIN)
        if self._reads and len(self._unsent) < MOST_UNSENT:
            poll.register(STDIN, select.POLLIN)
        return poll

    def _take_output(self) -> bool:
        try:
            data = self._connection.some()
        except BlockingIOError:
            return True
        self._output.write(data)
        return bool(data)

    def _take_input(self) -> None:
        try:
            data = os.read(STDIN, BLOCK)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            if self._watch is not None:
                self._watch.feed(data)
            self._unsent += data
        else:
            self._reads = False
            self._input_ended = True
        self._send()

    def _send(self) -> None:
        try:
            while self._unsent or self._connection.waits:
                del self._unsent[: self._connection.give(self._unsent)]
        except BlockingIOError:
            return
        except Unreachable:
            # It listens no more. What it still says is read to its end.
            self._unsent.clear()
            self._reads = False
            return
        if self._input_ended:
            self._input_ended = False
            self._connection.end_output()
