"""Unix sockets (unix(7)) in directories that others write."""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import socket


def connect(connection: socket.socket, path: str) -> None:
    """Connect to a socket, and to nothing that a link in its place leads to. Raises `OSError`.

    By a descriptor, also because the name of a socket must be shorter than 108 bytes.
    """
    place = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if not stat.S_ISSOCK(os.fstat(place).st_mode):
            raise OSError(errno.ENOTSOCK, os.strerror(errno.ENOTSOCK))
        connection.connect(f"/proc/self/fd/{place}")
    finally:
        os.close(place)
