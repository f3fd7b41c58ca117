"""How far something long is: bars on a terminal, plain lines elsewhere, or nothing.

All of it goes to standard error where the result is on standard output.
"""

from __future__ import annotations

import os
import sys
import time

from heft.cli import json_text
from heft.cli.failures import Failure
from heft.cli.human import size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any, TextIO

BAR_WIDTH = 40
REDRAW_SECONDS = 0.1


class Progress:
    """Shows the latest of every part; parts are lines on a terminal."""

    def __init__(self, target: TextIO, *, quiet: bool = False) -> None:
        self._target = target
        self._quiet = quiet
        self._terminal = target.isatty()
        self._parts: dict[str, str] = {}
        self._told: dict[str, str] = {}
        self._drawn = 0
        self._at = 0.0

    def part(self, name: str, status: str, done: int, total: int) -> None:
        """Take how far a part is; sizes in bytes, `total` 0 is unknown."""
        if self._quiet:
            return
        if self._terminal:
            known = name in self._parts
            self._parts[name] = self._line(name, status, done, total)
            now = time.monotonic()
            if not known or now - self._at >= REDRAW_SECONDS or (total and done >= total):
                self._at = now
                self._draw()
        elif self._told.get(name) != status:
            # Elsewhere a line a change is enough.
            self._told[name] = status
            self._target.write(f"{name}: {status}\n" if name else f"{status}\n")
            self._target.flush()

    def _line(self, name: str, status: str, done: int, total: int) -> str:
        head = f"{name}: {status}" if name else status
        if total:
            filled = min(BAR_WIDTH, done * BAR_WIDTH // total)
            bar = ("=" * filled + ">" * (filled < BAR_WIDTH)).ljust(BAR_WIDTH)
            return f"{head} [{bar}] {size(done)}/{size(total)}"
        return f"{head} {size(done)}" if done else head

    def _draw(self) -> None:
        columns, rows = _terminal_size(self._target)
        lines = [line[: columns - 1] for line in self._parts.values()][-(rows - 1) :]
        up = f"\033[{self._drawn}A" if self._drawn else ""
        self._target.write(up + "".join(f"\r\033[K{line}\n" for line in lines))
        self._target.flush()
        self._drawn = len(lines)

    def end(self) -> None:
        """Draw the last state."""
        if self._terminal and self._parts:
            self._draw()


def _terminal_size(target: TextIO) -> tuple[int, int]:
    try:
        columns, rows = os.get_terminal_size(target.fileno())
    except OSError:
        return 80, 24
    return columns or 80, rows or 24


def follow(lines: Iterable[bytes], progress: Progress, tell: Callable[[str], object]) -> list[str]:
    """Show the lines of an answer of the API that tells of progress.

    What is said in text (`stream`) goes to `tell`. Gives the statuses that belong to no part: the
    last of them is the result. Raises `Failure` for a line that is an error.
    """
    said: list[str] = []
    try:
        for line in lines:
            value: dict[str, Any] = json_text.loads(line)
            if "error" in value:
                raise Failure(str(value["error"]))
            if "stream" in value:
                tell(value["stream"])
            elif "progressDetail" in value:
                detail = value["progressDetail"] or {}
                current, total = detail.get("current", 0), detail.get("total", 0)
                progress.part(value.get("id", ""), value.get("status", ""), current, total)
            elif "status" in value:
                said.append(value["status"])
    finally:
        progress.end()
    return said


def counted(
    blocks: Iterable[bytes], progress: Progress, name: str, status: str, total: int = 0
) -> Iterator[bytes]:
    """Give the blocks on, and show how many bytes have gone."""
    done = 0
    for block in blocks:
        yield block
        done += len(block)
        progress.part(name, status, done, total)


def on_stderr(*, quiet: bool = False) -> Progress:
    """Make one that leaves standard output to the result."""
    return Progress(sys.stderr, quiet=quiet)
