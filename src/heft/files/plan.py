"""What is asked of the process that works on a machine's files. Plain values, passed as JSON."""

from __future__ import annotations

import msgspec

from heft.files.tasks import Task


class Mount(msgspec.Struct, frozen=True):
    """A directory or file of the host to be seen in the tree; one that is missing is left out."""

    source: str
    target: str
    read_only: bool


class Tree(msgspec.Struct, frozen=True, kw_only=True):
    """The tree to work on: an open descriptor of its root, or what to join it of."""

    descriptor: int = -1
    users: int = -1
    """A descriptor of the user namespace that the work is done in; -1: the host's."""
    layers: tuple[str, ...] = ()
    """From the lowest up."""
    upper: str = ""
    """The directory that what was changed and `work` are in."""
    disk: str = ""
    """The file with the file system that is to be mounted there first; empty: there is none."""
    disk_options: tuple[str, ...] = ()
    """Of its mount."""
    changed: str = "diff"
    """The name of the directory with what was changed."""
    options: tuple[str, ...] = ()
    """Of the overlay's mount."""
    mounts: tuple[Mount, ...] = ()
    """A parent before its children."""
    writable: bool = False
    """Whether changes go to the upper; without, they are lost with the process."""
    read_only: bool = False
    """Whether the machine itself could not change its root."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """The whole of it."""

    task: Task
    tree: Tree
    path: str = "/"
    same_kind: bool = False
    owner: str = ""
    skip: tuple[str, ...] = ()
    """Paths that are not the machine's own doing: left out of changes and layers if empty."""
