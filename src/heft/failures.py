"""What the kernel refuses, in Heft's words: the boundary at which `OSError` becomes `HostError`."""

from __future__ import annotations

import contextlib
import errno
from typing import TYPE_CHECKING

from heft.errors import HostError, NoSpace

if TYPE_CHECKING:
    from collections.abc import Iterator

NO_WRITES = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS})
"""A file system that is full, whose quota is, or that is read-only."""


def refused(what: str, error: OSError) -> HostError:
    """Give the error to raise: `cannot WHAT: WHY`."""
    why = (error.strerror or str(error)).lower()
    if error.errno == errno.EROFS:
        return NoSpace(f"cannot {what}: {why}", hint="the kernel's log says why, if you did not")
    if error.errno in NO_WRITES:
        return NoSpace(f"cannot {what}: {why}", hint="free space on this disk, or inodes")
    return HostError(f"cannot {what}: {why}")


@contextlib.contextmanager
def translated(what: str) -> Iterator[None]:
    """Raise `NoSpace` or `HostError` for an `OSError` that comes out of the block."""
    try:
        yield
    except OSError as error:
        raise refused(what, error) from error
