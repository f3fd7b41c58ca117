"""What a running conmon can be told: lines on its FIFO `ctl` (conmon, ctrl.c)."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from heft.errors import HostError

if TYPE_CHECKING:
    from pathlib import Path

_RESIZE, _REOPEN = 1, 2
_LARGEST = 1000
"""Newer conmons refuse a terminal with more rows or columns."""


def resize(directory: Path, rows: int, columns: int) -> None:
    """Set the size of the terminal. Raises `HostError` if conmon is gone."""
    _tell(directory, _RESIZE, min(rows, _LARGEST), min(columns, _LARGEST))


def reopen_log(directory: Path) -> None:
    """Let it go on in a new log file. Raises `HostError` if conmon is gone."""
    _tell(directory, _REOPEN, 0, 0)


def _tell(directory: Path, *numbers: int) -> None:
    line = " ".join(map(str, numbers)) + "\n"
    try:
        # Not blocking: without a reader there is nobody to tell.
        descriptor = os.open(directory / "ctl", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            os.write(descriptor, line.encode())
        finally:
            os.close(descriptor)
    except OSError as error:
        raise HostError(f"cannot reach the monitor: {error.strerror}") from error
