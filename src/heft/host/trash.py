"""Deletion in two steps: gone from its place at once by rename(2), from the disk soon after."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
from typing import TYPE_CHECKING

from heft.errors import HeftError
from heft.failures import refused, translated
from heft.host.processes import run

if TYPE_CHECKING:
    from pathlib import Path

log = logging.getLogger(__name__)

PAUSE_SECONDS = 0.5
"""What is thrown away within this time is deleted by one process."""
DELETE_SECONDS = 3600.0


class Trash:
    """A directory that empties itself; what a killed daemon left in it goes at the next start."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Make the directory and delete what an earlier daemon left there."""
        with translated(f"make {self.directory}"):
            self.directory.mkdir(parents=True, exist_ok=True)
        if any(self.directory.iterdir()):
            self._empty_soon()

    def throw(self, path: Path) -> None:
        """Take a file or a directory away; no harm if there is none. It must be on our disk."""
        try:
            os.rename(path, self.directory / f"{path.name[:64]}.{secrets.token_hex(4)}")
        except FileNotFoundError:
            return
        except OSError as error:
            raise refused(f"remove {path}", error) from error
        self._empty_soon()

    def _empty_soon(self) -> None:
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._empty())

    async def _empty(self) -> None:
        while True:
            await asyncio.sleep(PAUSE_SECONDS)
            entries = [str(entry) for entry in self.directory.iterdir()]
            if not entries:
                return
            try:
                await run("rm", "-rf", "--one-file-system", "--", *entries, seconds=DELETE_SECONDS)
            except HeftError as error:
                log.warning("cannot empty %s: %s", self.directory, error)
                return

    async def close(self) -> None:
        """Stop deleting; the rest is for the next start."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
