"""A file system of the benchmark's own, the same whatever the host's are."""

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

SIZE = 40 << 30
"""Bytes of the sparse file; what is written to it is given back when it goes."""


@contextlib.contextmanager
def disk(directory: Path) -> Iterator[Path]:
    """Mount a new ext4 with a journal, as on any Debian; it goes with all that is in it.

    On an ext4 without one, which some hosts have, every new file looks through those that were
    removed within the last minutes: one measurement would slow the next.
    """
    file, place = directory / "disk.ext4", directory / "disk"
    place.mkdir()
    with file.open("wb") as sparse:
        sparse.truncate(SIZE)
    subprocess.run(("mkfs.ext4", "-q", "-m", "0", str(file)), check=True)
    # Otherwise a thread of the kernel would fill tables for minutes.
    options = "loop,noinit_itable"
    subprocess.run(("mount", "-o", options, str(file), str(place)), check=True)
    try:
        yield place
    finally:
        subprocess.run(("umount", "-l", str(place)), check=False)
        file.unlink()


@contextlib.contextmanager
def memory(path: Path) -> Iterator[Path]:
    """Make what stands for a directory under /run: in memory, as it is on any Debian."""
    path.mkdir()
    subprocess.run(("mount", "-t", "tmpfs", "tmpfs", str(path)), check=True)
    try:
        yield path
    finally:
        subprocess.run(("umount", "-l", str(path)), check=False)
