"""The layers below one that is being made: looked at where a tar refers to what it does not bring.

A `Trail` goes down from the root with the layer's own directory, component by component, and never
follows a link of its own accord.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from heft.host import mounts

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def open_view(lowers: Sequence[Path], mount_point: Path) -> int:
    """Give a descriptor of all layers (from the lowest up) seen as one tree.

    The view is a mount in a namespace that this makes for the process, and goes with it. Must be
    called before the process has threads.
    """
    mounts.leave_namespace()
    mounts.overlay(mount_point, lowers)
    return os.open(mount_point, _DIRECTORY)


class Trail:
    """A directory of the view and those above it; None where the view has none, or it is hidden."""

    def __init__(self, root: int | None) -> None:
        self._root = root
        self._directories: list[int | None] = []

    @property
    def here(self) -> int | None:
        """The directory that the trail has reached."""
        return self._directories[-1] if self._directories else self._root

    def down(self, name: str, *, hidden: bool = False) -> None:
        """Go into a directory; `hidden`: whatever is there does not count."""
        status = None if hidden else self.look(name)
        found = None
        if status is not None and stat.S_ISDIR(status.st_mode):
            found = os.open(name, _DIRECTORY, dir_fd=self.here)
        self._directories.append(found)

    def up(self) -> None:
        """Go back one directory; no further than to the root."""
        if self._directories and (last := self._directories.pop()) is not None:
            os.close(last)

    def look(self, name: str) -> os.stat_result | None:
        """Give the status of what is here under a name, or None."""
        if self.here is None:
            return None
        try:
            return os.stat(name, dir_fd=self.here, follow_symlinks=False)
        except FileNotFoundError:
            return None

    def link(self, name: str) -> str:
        """Read a symbolic link."""
        assert self.here is not None
        return os.readlink(name, dir_fd=self.here)

    def close(self) -> None:
        """Let go of all directories but the root."""
        while self._directories:
            self.up()
