"""Bringing what was written to the disk, all at once."""

from __future__ import annotations

import ctypes
import os


def sync(directory: str) -> None:
    """Write back the file system that a directory is on (syncfs(2)). Raises `OSError`."""
    root = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if ctypes.CDLL(None, use_errno=True).syncfs(root):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
    finally:
        os.close(root)
