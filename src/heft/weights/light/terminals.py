"""A process's terminal is its user's, as with runc (`fixStdioPermissions`).

crun gives a workload its terminal, but leaves that of a further process root's. So it is given here
when the process is known, which is a moment after it has begun.
"""

from __future__ import annotations

import contextlib
import os
import stat

_SLAVES = 136
"""The major number of the slaves of pty(7)."""


def give(pid: int, uid: int) -> None:
    """Make the terminal that is a process's standard input a user's (of the host).

    Whatever else it has there by now, or nothing, is left alone.
    """
    with contextlib.suppress(OSError):
        descriptor = os.open(f"/proc/{pid}/fd/0", os.O_PATH | os.O_CLOEXEC)
        try:
            found = os.fstat(descriptor)
            if stat.S_ISCHR(found.st_mode) and os.major(found.st_rdev) == _SLAVES:
                os.chown(f"/proc/self/fd/{descriptor}", uid, -1)
        finally:
            os.close(descriptor)
