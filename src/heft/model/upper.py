"""Where a machine keeps what it wrote, as the weights have it."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


class Form(enum.StrEnum):
    """What an upper is on the host."""

    TREE = "tree"
    """Directories: what overlayfs of the host's kernel takes, with `work` beside it."""
    BOUNDED = "bounded"
    """The same in an ext4 in a file, that only the host has ever mounted."""
    DISK = "disk"
    """An ext4 in a file that a guest has written: whatever it says may be a lie."""


@dataclass(frozen=True, slots=True)
class Upper:
    """One machine's upper at one weight.

    In the directory or at the file system's root, what was written is in the directory `changed`.
    """

    form: Form
    path: Path
    """The directory that holds `changed`, or the file."""
    changed: str
    size: int = 0
    """Bytes that it may hold; 0: as the form has it."""

    @property
    def names(self) -> frozenset[str]:
        """Give the entries of the machine's directory of uppers that belong to it."""
        if self.form is Form.TREE:
            return frozenset({self.changed, "work"})
        return frozenset({self.path.name})
