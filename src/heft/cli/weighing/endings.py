"""Signals that end a command, kept waiting while it does what must be whole."""

from __future__ import annotations

import contextlib
import signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

ENDING = (signal.SIGINT, signal.SIGTERM)


@contextlib.contextmanager
def held() -> Iterator[None]:
    """Let what ends the command do so only afterwards. In the main thread alone.

    By handlers and not by the thread's mask: another thread would take the signal then, and the
    main one act upon it all the same.
    """
    came: list[int] = []

    def keep(number: int, _: object) -> None:
        came.append(number)

    before = {number: signal.signal(number, keep) for number in ENDING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if came:
            signal.raise_signal(came[0])
