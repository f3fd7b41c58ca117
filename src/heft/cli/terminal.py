"""The user's terminal: raw while a machine has it, as it was afterwards, and how large."""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Any

STDIN, STDOUT = 0, 1


def is_terminal(descriptor: int) -> bool:
    """Say whether it is a terminal; a closed one is none."""
    try:
        return os.isatty(descriptor)
    except OSError:
        return False


def size() -> tuple[int, int]:
    """Give rows and columns of the terminal that output goes to; zeros where there is none."""
    try:
        columns, rows = os.get_terminal_size(STDOUT)
    except OSError:
        return 0, 0
    return rows, columns


def _leave(number: int, _: object) -> None:
    sys.exit(128 + number)


class Raw:
    """Within it every key goes to the machine; on the way out the terminal is as it was.

    A signal that ends this process goes that way too: it becomes `SystemExit`.
    """

    def __init__(self, *, wanted: bool) -> None:
        self._wanted = wanted and is_terminal(STDIN)
        self._before: list[Any] | None = None

    def __enter__(self) -> None:
        if not self._wanted:
            return
        import signal
        import termios
        import tty

        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, _leave)
        sys.stdout.flush()
        self._before = termios.tcgetattr(STDIN)
        tty.setraw(STDIN, termios.TCSANOW)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._before is None:
            return
        import termios

        termios.tcsetattr(STDIN, termios.TCSANOW, self._before)
        self._before = None
