"""How much is in a directory; it may take long, so callers in the daemon use a thread."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def used(directory: Path, *, disks: bool = False) -> int:
    """Give the bytes of all files under a directory, each hard-linked file once.

    What is made or removed meanwhile is counted or not. `disks`: files at its top are disks; they
    are sparse, and count with what they take on the host's.
    """
    seen: set[tuple[int, int]] = set()
    total = 0
    for path, _, entries in os.walk(directory):
        is_disk = disks and path == os.fspath(directory)
        for entry in entries:
            try:
                status = os.lstat(os.path.join(path, entry))
            except FileNotFoundError:
                continue
            if (status.st_dev, status.st_ino) not in seen:
                seen.add((status.st_dev, status.st_ino))
                total += status.st_blocks * 512 if is_disk else status.st_size
    return total
