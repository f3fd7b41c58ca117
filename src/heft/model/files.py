"""Files of a machine, as its weight tells of them.

Named tuples, as a process that lives for one copy would take longest over importing anything more.
"""

from __future__ import annotations

import enum
import posixpath
from typing import NamedTuple

from heft.errors import HostError, NotFound

MOST_CHANGES = 500_000
"""What is told of the changes of one machine: they are all in the daemon's memory."""
MOST_TOLD = 64 << 20
"""Bytes in which it is told."""


class FileStatus(NamedTuple):
    """What is at a path of a machine; a symbolic link is not followed."""

    name: str
    """The path's last part, as it was asked for: `.` and `/` too."""
    mode: int
    """Type and permissions, as stat(2) has them."""
    size: int
    modified: int
    """Nanoseconds since 1970."""
    link_target: str = ""
    """Of a symbolic link: the absolute path in the machine that it leads to."""


class ChangeKind(enum.IntEnum):
    """What a machine has done to a path of its image; the numbers are Docker's."""

    MODIFIED = 0
    ADDED = 1
    DELETED = 2


class Change(NamedTuple):
    """One difference between a machine's files and its image's."""

    path: str
    kind: ChangeKind


class Landing(NamedTuple):
    """How a tar goes into a machine."""

    same_kind: bool = False
    """Refuse to put anything but a directory in a directory's place, and the other way round."""
    owner: str = ""
    """`user[:group]` in the machine that all is given to; empty: as the tar has it."""


def called(path: str) -> str:
    """Give what is at a path its name in a tar of it: the last part, as it was asked for."""
    if path.rstrip("/").endswith("/."):
        return "."
    return posixpath.basename(posixpath.normpath("/" + path.lstrip("/"))) or "/"


def missing(path: str, name: str) -> NotFound:
    """Give the error for a path that a machine has not."""
    return NotFound(f"Could not find the file {path} in container {name}")


def check_changes(count: int, size: int, name: str) -> None:
    """Raise `HostError` where so many changes, told in so many bytes, are too many."""
    if count > MOST_CHANGES or size > MOST_TOLD:
        raise HostError(
            f"container {name} has changed too many files to list",
            hint="`commit` and `export` have no such bound",
        )
