"""What the process that works on a machine's files can do."""

from __future__ import annotations

import enum


class Task(enum.StrEnum):
    """What to do; beside each, what comes out of the process."""

    STATUS = "status"
    """Say what is at a path."""
    PACK = "pack"
    """Say so, then give it as a tar."""
    ROOT = "root"
    """Give the whole tree as a tar, with names from the root."""
    LAYER = "layer"
    """Give the upper as the tar of an image's layer."""
    CHANGES = "changes"
    """Give the differences from the layers below, as JSON lines."""
    UNPACK = "unpack"
    """Take a tar, and put it in a directory."""


class Stopped(Exception):
    """The daemon has no more use for the work, or is gone."""
