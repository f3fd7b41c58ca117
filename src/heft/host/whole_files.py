"""Small files of the daemon's own that others read meanwhile, or that a kill must not halve."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def put(path: Path, content: bytes, mode: int = 0o644) -> None:
    """Let a file with this content be at `path`: whoever opens it has the old one or all of this.

    It is not brought to the disk: after a crash of the host it may be missing or empty. Raises
    `OSError`.
    """
    new = path.with_name(f"{path.name}.new")
    new.write_bytes(content)
    new.chmod(mode)
    new.replace(path)
