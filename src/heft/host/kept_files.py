"""Files that are kept in a directory of the daemon's own, where anything may be in their place.

A named pipe there would keep whoever opens it waiting for good, and the thread with him; a device
is not to be touched, and a directory is in the way of what takes its place.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextlib.contextmanager
def opened(path: Path) -> Iterator[int]:
    """Open a regular file to read. Raises `OSError`, also where it is something else."""
    handle = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        mode = os.fstat(handle).st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        if not stat.S_ISREG(mode):
            raise OSError(errno.EINVAL, "Not a regular file", str(path))
        # Through the handle: whatever is at the path by now, this is what was looked at.
        file = os.open(f"/proc/self/fd/{handle}", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.close(handle)
    try:
        yield file
    finally:
        os.close(file)


def content(path: Path) -> bytes:
    """Read a regular file. Raises `OSError`, also where it is something else."""
    with opened(path) as file, open(file, "rb", closefd=False) as reader:
        return reader.read()


def clear(path: Path) -> None:
    """Remove what is at a path, whatever it is; harmless where nothing is. Raises `OSError`."""
    try:
        path.unlink()
    except FileNotFoundError:
        return
    except IsADirectoryError:
        shutil.rmtree(path)
