"""The serial line of a guest, as the daemon has it: two named pipes in the run's directory.

They belong to the daemon and the guest gets them as descriptors: what it could put in their place
would be opened by root.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from heft.errors import HostError
from heft.failures import translated
from heft.guest import wire
from heft.weights.medium import uml

if TYPE_CHECKING:
    from pathlib import Path

_ROOM = 1 << 18
"""Bytes that each pipe holds (fcntl(2), F_SETPIPE_SZ): twice what a session may have in it."""
_PAUSE = 0.005


@dataclass(slots=True)
class Line:
    """The line of one run."""

    directory: Path
    is_ready: bool = False
    """Whether the guest has said that bytes arrive as they are."""

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

    async def connect(self) -> wire.Line:
        """Give the daemon's ends, as soon as the guest is ready. Raises `HostError`."""
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
            await self._until_ready(reading)
        except BaseException:
            os.close(reading)
            os.close(writing)
            raise
        return wire.Line(reading, writing)

    def _drain(self) -> None:
        """Take back what an earlier session has sent and the guest, stopped or busy, has not read.

        What waits in the line adds up otherwise, and stops it for good.
        """
        with translated("reach the guest"):
            heard = os.open(self._to, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            try:
                with contextlib.suppress(BlockingIOError):
                    while os.read(heard, _ROOM):
                        pass
            finally:
                os.close(heard)

    async def _until_ready(self, reading: int) -> None:
        said = b""
        while not self.is_ready:
            try:
                piece = os.read(reading, len(uml.READY) - len(said))
            except BlockingIOError:
                await asyncio.sleep(_PAUSE)
                continue
            said += piece
            if not piece or not uml.READY.startswith(said):
                raise HostError("the guest ended before it was ready")
            self.is_ready = said == uml.READY

    @property
    def _to(self) -> Path:
        return self.directory / "line.to"

    @property
    def _of(self) -> Path:
        return self.directory / "line.of"
