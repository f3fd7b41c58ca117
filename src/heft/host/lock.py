"""The one daemon that owns a directory."""

from __future__ import annotations

import fcntl
import os
from typing import TYPE_CHECKING

from heft.errors import Unavailable
from heft.failures import translated

if TYPE_CHECKING:
    from pathlib import Path


class DirectoryLock:
    """A lock that goes with the process that holds it (flock(2))."""

    def __init__(self, path: Path) -> None:
        """Take it. Raises `Unavailable` where another process has it."""
        with translated(f"open {path}"):
            path.parent.mkdir(mode=0o711, parents=True, exist_ok=True)
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._descriptor)
            raise Unavailable(
                f"another heftd uses {path.parent}", hint="stop it, or give this one another --data"
            ) from None

    def release(self) -> None:
        """Let another daemon have it."""
        os.close(self._descriptor)
