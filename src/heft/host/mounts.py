"""Mounts, by the kernel's own calls: mount(2), umount2(2), open_tree(2), mount_setattr(2).

A mount can take long (the unmounting of an overlay writes its upper file system back), so callers
in the daemon use a thread. Everything here raises `HostError`, or `NoSpace`.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from heft.errors import NotSupported
from heft.failures import translated
from heft.host import syscalls

if TYPE_CHECKING:
    from collections.abc import Sequence

_OPEN_TREE, _MOVE_MOUNT, _MOUNT_SETATTR = 428, 429, 442
_OPEN_TREE_CLONE = 0x1
_OPEN_TREE_CLOEXEC = os.O_CLOEXEC
_MOVE_MOUNT_F_EMPTY_PATH = 0x4
_AT_FDCWD = -100
_AT_EMPTY_PATH = 0x1000
_AT_RECURSIVE = 0x8000
_MOUNT_ATTR_RDONLY = 0x1
_MOUNT_ATTR_NOSUID = 0x2
_MOUNT_ATTR_NODEV = 0x4
_MOUNT_ATTR_IDMAP = 0x100000

_PAGE = 4096
_PLAIN = re.compile(r"[A-Za-z0-9_./+@=-]+")
"""Paths that need no escaping in mount options: no comma, colon, backslash, space, newline."""


class _Attributes(ctypes.Structure):
    """`struct mount_attr`."""

    _fields_ = (
        ("attr_set", ctypes.c_uint64),
        ("attr_clr", ctypes.c_uint64),
        ("propagation", ctypes.c_uint64),
        ("userns_fd", ctypes.c_uint64),
    )


def leave_namespace(others: int = 0) -> None:
    """Get mounts of one's own, which nobody else sees, and `others` (CLONE_…, unshare(2)) besides.

    The process must have one thread. Raises `OSError`.
    """
    syscalls.checked(syscalls.libc.unshare(syscalls.CLONE_NEWNS | others))
    syscalls.mount(b"none", b"/", b"", syscalls.MS_REC | syscalls.MS_PRIVATE, b"")


def mount(
    kind: str, target: Path, *, source: str = "", flags: int = 0, options: Sequence[str] = ()
) -> None:
    """Mount a file system of this kind (`tmpfs`, `cgroup` …); `source` is its name or device."""
    with translated(f"mount {kind} on {target}"):
        syscalls.mount(
            os.fsencode(source or kind),
            os.fsencode(target),
            kind.encode(),
            flags,
            os.fsencode(",".join(options)),
        )


def overlay(
    target: Path,
    lowers: Sequence[Path],
    *,
    upper: Path | None = None,
    work: Path | None = None,
    options: Sequence[str] = (),
) -> None:
    """Join directories into one tree (kernel documentation, filesystems/overlayfs).

    `lowers` go from the LOWEST up. `upper` takes what is written, and needs `work`, an empty
    directory beside it; without them the tree is read-only, and of one lower it is a mere view.
    """
    if len(lowers) == 1 and upper is None:
        # overlayfs wants two directories; a read-only bind of the only one shows the same.
        bind(lowers[0], target, recursive=False, read_only=True)
        return
    with translated(f"mount overlay on {target}"), contextlib.ExitStack() as stack:
        plain = _overlay_options([str(path) for path in reversed(lowers)], upper, work, options)
        if len(plain) >= _PAGE or not all(map(_is_plain, (*lowers, upper, work))):
            # Short names without any character to escape, for as long as the mount is made.
            names = [_through_descriptor(path, stack) for path in reversed(lowers)]
            over = Path(_through_descriptor(upper, stack)) if upper else None
            beside = Path(_through_descriptor(work, stack)) if work else None
            plain = _overlay_options(names, over, beside, options)
        syscalls.mount(b"overlay", os.fsencode(target), b"overlay", 0, os.fsencode(plain))


def _is_plain(path: Path | None) -> bool:
    return path is None or _PLAIN.fullmatch(str(path)) is not None


def _through_descriptor(path: Path, stack: contextlib.ExitStack) -> str:
    descriptor = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    stack.callback(os.close, descriptor)
    return f"/proc/self/fd/{descriptor}"


def _overlay_options(
    lowers_from_top: Sequence[str], upper: Path | None, work: Path | None, options: Sequence[str]
) -> str:
    parts = ["lowerdir=" + ":".join(lowers_from_top)]
    if upper is not None:
        parts += [f"upperdir={upper}", f"workdir={work}"]
    return ",".join((*parts, *options))


def bind(
    source: Path,
    target: Path,
    *,
    recursive: bool = True,
    read_only: bool = False,
    user_namespace: int | None = None,
) -> None:
    """Show `source` at `target` too, with its submounts if `recursive`.

    It is read-only (submounts too) from its first instant on, if that is asked for. With a
    `user_namespace` (a descriptor of one) what is owned by an id there is owned by what that id
    is on the host (mount_setattr(2), "ID-mapped mounts"): the files' owners stay as they are.
    """
    depth = _AT_RECURSIVE if recursive else 0
    attributes = (_MOUNT_ATTR_RDONLY if read_only else 0) | (
        _MOUNT_ATTR_IDMAP if user_namespace is not None else 0
    )
    with translated(f"bind {source} to {target}"):
        tree = _cloned(source, depth)
        try:
            if attributes:
                _set_attributes(tree, attributes, depth, user_namespace or 0)
            _attach(tree, target)
        finally:
            os.close(tree)


def detached(
    source: Path, *, recursive: bool = True, read_only: bool = False, read_only_below: bool = True
) -> int:
    """Give a mount of `source` that is nowhere yet, and gone when its descriptor is closed.

    No device works in it and no program gets its owner's rights; what is mounted at its source
    later, or unmounted there, changes nothing in it. `attach` puts it somewhere, in whatever mount
    namespace.
    """
    depth = _AT_RECURSIVE if recursive else 0
    with translated(f"bind {source}"):
        tree = _cloned(source, depth)
        try:
            plain = _MOUNT_ATTR_NOSUID | _MOUNT_ATTR_NODEV
            _set_attributes(tree, plain, depth, 0, propagation=syscalls.MS_PRIVATE)
            if read_only:
                _set_attributes(tree, _MOUNT_ATTR_RDONLY, depth if read_only_below else 0, 0)
        except BaseException:
            os.close(tree)
            raise
    return tree


def attach(tree: int, target: Path) -> None:
    """Put a detached mount where it is to be."""
    with translated(f"mount on {target}"):
        _attach(tree, target)


def _cloned(source: Path, depth: int) -> int:
    flags = _OPEN_TREE_CLONE | _OPEN_TREE_CLOEXEC | depth
    return syscalls.call(_OPEN_TREE, _AT_FDCWD, os.fsencode(source), flags)


def _attach(tree: int, target: Path) -> None:
    path = os.fsencode(target)
    syscalls.call(_MOVE_MOUNT, tree, b"", _AT_FDCWD, path, _MOVE_MOUNT_F_EMPTY_PATH)


def _set_attributes(
    tree: int, attributes: int, depth: int, user_namespace: int, *, propagation: int = 0
) -> None:
    wanted = _Attributes(attr_set=attributes, propagation=propagation, userns_fd=user_namespace)
    how = _AT_EMPTY_PATH | depth
    try:
        syscalls.call(_MOUNT_SETATTR, tree, b"", how, wanted, ctypes.sizeof(wanted))
    except OSError as error:
        if not (attributes & _MOUNT_ATTR_IDMAP and error.errno == errno.EINVAL):
            raise
        raise NotSupported(
            "the file system has no ID-mapped mounts, which user namespaces need here",
            hint="ext4, XFS, btrfs and tmpfs of Linux 6.3 have them; or use --userns=host",
        ) from error


def share(target: Path) -> None:
    """Let what is mounted at and under `target` be seen by others who have it too, and by them."""
    with translated(f"share {target}"):
        syscalls.mount(b"none", os.fsencode(target), b"", syscalls.MS_SHARED | syscalls.MS_REC, b"")


def unmount(target: Path, *, lazy: bool = True) -> None:
    """Unmount the topmost mount at `target`; harmless if nothing is mounted there.

    `lazy` takes it out of the tree at once even if it is in use.
    """
    flags = syscalls.UMOUNT_NOFOLLOW | (syscalls.MNT_DETACH if lazy else 0)
    with translated(f"unmount {target}"):
        try:
            syscalls.umount2(os.fsencode(target), flags)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOENT):
                raise


def mounted_under(directory: Path) -> tuple[Path, ...]:
    """Give the mount points at or under a directory, in the order in which to unmount them."""
    with open("/proc/self/mountinfo", "rb") as file:
        return under(file.read(), directory)


def under(mountinfo: bytes, directory: Path) -> tuple[Path, ...]:
    """Find mount points in the text of `/proc/PID/mountinfo` (proc(5)), deepest first.

    A path that is mounted on twice is listed twice.
    """
    found = [
        path
        for line in mountinfo.splitlines()
        if (path := Path(_unescaped(line.split(b" ")[4]))).is_relative_to(directory)
    ]
    return tuple(sorted(found, key=lambda path: len(path.parts), reverse=True))


def _unescaped(field: bytes) -> str:
    """Undo proc(5)'s octal escapes of space, tab, newline and backslash."""
    octal = re.compile(rb"\\([0-7]{3})")
    return os.fsdecode(octal.sub(lambda match: bytes([int(match[1], 8)]), field))
