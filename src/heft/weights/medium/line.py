"""The line of a guest to its daemon, as this has it: two named pipes in the run's directory.

They belong to the daemon and the guest's monitor gets them as descriptors: what it could put in
their place would be opened by root. What was said stays in them while there is no daemon.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from heft.errors import HostError
from heft.failures import translated
from heft.guest import wire

if TYPE_CHECKING:
    from pathlib import Path

_ROOM = 1 << 18
"""Bytes that each pipe holds (fcntl(2), F_SETPIPE_SZ)."""


@dataclass(frozen=True, slots=True)
class Line:
    """The line of one run."""

    directory: Path

    def make(self) -> tuple[int, int]:
        """Make it; give the descriptors that are the guest's: to read, to write."""
        with translated(f"make {self.directory}"):
            for path in (self._to, self._of):
                os.mkfifo(path, 0o600)
            heard = os.open(self._to, os.O_RDWR | os.O_CLOEXEC)
            said = os.open(self._of, os.O_RDWR | os.O_CLOEXEC)
            for pipe in (heard, said):
                fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _ROOM)
        return heard, said

    async def connect(self) -> wire.Pipes:
        """Give the daemon's ends. Raises `HostError`."""
        try:
            reading = os.open(self._of, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            try:
                writing = os.open(self._to, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            except BaseException:
                os.close(reading)
                raise
        except OSError as error:
            raise HostError(f"cannot reach the guest: {error.strerror}") from error
        try:
            self._drain()
        except BaseException:
            os.close(reading)
            os.close(writing)
            raise
        return wire.Pipes(reading, writing)

    def _drain(self) -> None:
        """Take back what an earlier session has sent and the guest, stopped or busy, has not read.

        It would stand before the words that open the next, which it may leave no room for.
        """
        with translated("reach the guest"):
            heard = os.open(self._to, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            try:
                with contextlib.suppress(BlockingIOError):
                    while os.read(heard, _ROOM):
                        pass
            finally:
                os.close(heard)

    @property
    def _to(self) -> Path:
        return self.directory / "line.to"

    @property
    def _of(self) -> Path:
        return self.directory / "line.of"
