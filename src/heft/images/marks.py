"""How a layer says that something below it is gone: in a tar, and in a directory of overlayfs.

In tars (OCI image-spec, layer.md): an empty file `.wh.NAME` hides NAME of the layers below, one
`.wh..wh..opq` all that its directory has there. In directories (kernel documentation,
filesystems/overlayfs): a character device 0:0, and the attribute `trusted.overlay.opaque`.
"""

from __future__ import annotations

import contextlib
import os
import stat

PREFIX = ".wh."
META_PREFIX = ".wh..wh."
OPAQUE = ".wh..wh..opq"

OPAQUE_ATTRIBUTE = "trusted.overlay.opaque"
_DEVICE = os.makedev(0, 0)


def is_whiteout(status: os.stat_result) -> bool:
    """Say whether this is overlayfs's mark for something that is gone."""
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == _DEVICE


def make_whiteout(path: str) -> None:
    """Make the mark. Raises `FileExistsError` if anything is there."""
    os.mknod(path, stat.S_IFCHR, _DEVICE)


def is_opaque(path: str) -> bool:
    """Say whether a directory hides what is below it."""
    with contextlib.suppress(OSError):
        return os.getxattr(path, OPAQUE_ATTRIBUTE, follow_symlinks=False) == b"y"
    return False


def make_opaque(path: str) -> None:
    """Let a directory hide what is below it."""
    os.setxattr(path, OPAQUE_ATTRIBUTE, b"y", follow_symlinks=False)
