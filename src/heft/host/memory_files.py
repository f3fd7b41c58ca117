"""Files in memory (memfd_create(2)) for what programs say."""

from __future__ import annotations

import fcntl
import os

MOST_SAID = 4096
"""Bytes."""


def bounded(size: int = MOST_SAID) -> int:
    """Give one that cannot grow: who writes more to it than fits is not heard.

    For programs that are not to be trusted, which could fill the host's memory with it.
    """
    file = os.memfd_create("errors", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(file, size)
    fcntl.fcntl(file, fcntl.F_ADD_SEALS, fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK)
    return file


def end(file: int) -> str:
    """Give the last that was written to it."""
    written = os.pread(file, os.fstat(file).st_size, 0).rstrip(b"\0")
    return written[-MOST_SAID:].decode(errors="replace").strip()


def content(file: int) -> str:
    """Give what was written to it, from its beginning."""
    return os.pread(file, MOST_SAID, 0).decode(errors="replace").strip("\0\n ")
