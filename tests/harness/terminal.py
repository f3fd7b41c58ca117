"""A client on a terminal, as a user has it (pty(7))."""

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from tests.harness.pace import patience

SECONDS = patience(20)


class Terminal:
    """A process whose terminal the test types on and reads from."""

    def __init__(
        self, command: Sequence[str], environment: dict[str, str], *, rows: int = 24, cols: int = 80
    ) -> None:
        self._ours, theirs = pty.openpty()
        self.resize(rows, cols, tell=False)
        self.process = subprocess.Popen(
            command,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env={**environment, "TERM": "xterm"},
            preexec_fn=_take_terminal,
        )
        os.close(theirs)
        self.seen = b""

    def write(self, text: str) -> None:
        """Type."""
        os.write(self._ours, text.encode())

    def resize(self, rows: int, cols: int, *, tell: bool = True) -> None:
        """Change the window's size."""
        fcntl.ioctl(self._ours, termios.TIOCSWINSZ, struct.pack("HHHH", rows, cols, 0, 0))
        if tell:
            self.process.send_signal(signal.SIGWINCH)

    def until(self, text: str) -> str:
        """Read until a text has come; what was read before it is not looked at again."""
        deadline = time.monotonic() + SECONDS
        while text.encode() not in self.seen:
            assert time.monotonic() < deadline, f"{text!r} did not come: {self.seen!r}"
            if select.select([self._ours], [], [], 0.1)[0] and not self._read():
                raise AssertionError(f"{text!r} did not come: {self.seen!r}")
        before, _, self.seen = self.seen.partition(text.encode())
        return before.decode(errors="replace")

    def _read(self) -> bool:
        try:
            data = os.read(self._ours, 65536)
        except OSError:  # EIO: nobody has the other end any more
            return False
        self.seen += data
        return bool(data)

    def ended(self, seconds: float = SECONDS) -> int:
        """Read to the end, within a time, and give the exit status."""
        deadline = time.monotonic() + seconds
        while self.process.poll() is None:
            assert time.monotonic() < deadline, f"it does not end: {self.seen!r}"
            if select.select([self._ours], [], [], 0.02)[0]:
                self._read()
        while select.select([self._ours], [], [], 0)[0] and self._read():
            pass
        return self.process.returncode

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self._ours)


def _take_terminal() -> None:
    os.setsid()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
