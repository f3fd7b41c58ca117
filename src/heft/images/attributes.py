"""Ownership, mode and extended attributes of a layer's files.

Of attributes, a layer may bring those that mean something on another host: users' own,
capabilities, access control lists. It must never bring `trusted.overlay.*`, with which it could
redirect a path or make up its own whiteouts; security labels belong to one host's policy.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_USER = "user."
_ALLOWED = frozenset({"security.capability", "system.posix_acl_access", "system.posix_acl_default"})


def is_allowed(name: str) -> bool:
    """Say whether a layer may have an attribute of this name."""
    return name.startswith(_USER) or name in _ALLOWED


def give(where: int | str, attributes: Mapping[str, bytes]) -> None:
    """Set attributes of a file or directory, by descriptor or path; leave out what is not allowed.

    Owner and mode must be set already: a change of the owner takes capabilities away.
    """
    for name, value in attributes.items():
        if is_allowed(name):
            os.setxattr(where, name, value)


def give_link(path: str, attributes: Mapping[str, bytes]) -> None:
    """Set attributes of a symbolic link, which can have no users' own (xattr(7))."""
    for name, value in attributes.items():
        if name in _ALLOWED:
            os.setxattr(path, name, value, follow_symlinks=False)


def copy(source: int, status: os.stat_result, path: str) -> None:
    """Make a file or directory like another one, but for its times."""
    os.chown(path, status.st_uid, status.st_gid)
    os.chmod(path, stat.S_IMODE(status.st_mode))
    give(path, {name: os.getxattr(source, name) for name in os.listxattr(source)})
