"""The root that the work is done in: that of a running machine, or one that is joined for it.

What is joined (the overlay, the volumes) is mounted in a namespace of this process, and gone with
it, however it ends. The process does not chroot: a module that Python loads late would then be the
machine's. Instead every path is resolved by openat2(2) in the tree's descriptor, and no name is
looked up but in the descriptor of its directory (`heft.host.paths`).
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from heft.host import loops, mounts, paths, syscalls
from heft.host.syscalls import MS_BIND, MS_RDONLY, MS_REC, MS_REMOUNT

if TYPE_CHECKING:
    from heft.files.plan import Mount, Tree

_ROOT = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


def open_tree(tree: Tree) -> int:
    """Give a descriptor of the tree's root. Raises `OSError`, `HeftError`."""
    if tree.descriptor >= 0:
        return tree.descriptor
    settle(tree)
    place = Path(tree.upper)
    diff, work = _through(place / tree.changed), _through(place / "work")
    root = _scratch(place)
    layers = [Path(layer) for layer in tree.layers]
    if tree.writable:
        mounts.overlay(root, layers, upper=diff, work=work, options=tree.options)
    else:
        # What is written (mount points) goes to memory: nothing of the machine's is touched, and
        # it may be started meanwhile.
        upper, beside = root.with_name("upper"), root.with_name("work")
        mounts.overlay(root, [*layers, diff], upper=upper, work=beside, options=tree.options)
    opened = os.open(root, _ROOT)
    for mount in tree.mounts:
        _show(opened, mount)
    if tree.writable and tree.read_only:
        # Of this mount alone: volumes in it stay as they are.
        flags = MS_BIND | MS_REMOUNT | MS_RDONLY
        syscalls.mount(b"none", os.fsencode(root), b"", flags, b"")
    return opened


def settle(tree: Tree) -> None:
    """Get mounts of one's own, and the upper to its path if it has to be mounted."""
    mounts.leave_namespace()
    if tree.disk:
        # Over the directory that the file is in: it is looked up before.
        loops.mount(Path(tree.disk), Path(tree.upper), "ext4", tree.disk_options)


def open_upper(tree: Tree) -> int:
    """Give a descriptor of what was changed."""
    return os.open(os.path.join(tree.upper, tree.changed), _ROOT)


def open_lower(tree: Tree) -> int:
    """Give a descriptor of the layers below the upper, as one tree; -1 if there are none.

    What is at the upper's path is hidden by it.
    """
    if not tree.layers:
        return -1
    root = _scratch(Path(tree.upper))
    mounts.overlay(root, [Path(layer) for layer in tree.layers])
    return os.open(root, _ROOT)


def _through(directory: Path) -> Path:
    """Give a name of a directory that stays when something is mounted above it."""
    descriptor = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    return Path(f"/proc/self/fd/{descriptor}")


def _scratch(place: Path) -> Path:
    """Make room in memory for mount points, over a directory that is there."""
    mounts.mount("tmpfs", place, options=("mode=700",))
    for name in ("root", "upper", "work"):
        (place / name).mkdir(mode=0o755)
    return place / "root"


def _show(root: int, mount: Mount) -> None:
    """Mount something of the host's where the machine would see it."""
    try:
        is_directory = stat.S_ISDIR(os.stat(mount.source).st_mode)
        _make_point(root, mount.target, is_directory=is_directory)
        target = paths.open_in_root(root, mount.target, os.O_PATH)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EEXIST, errno.EROFS):
            return  # it is not there to be shown, or the machine has something else in its way
        raise
    name = f"/proc/self/fd/{target}".encode()
    source = os.fsencode(mount.source)
    syscalls.mount(source, name, b"", MS_BIND | MS_REC, b"")
    os.close(target)
    if mount.read_only:
        # Through the path once more: the descriptor is of what is hidden now.
        shown = paths.open_in_root(root, mount.target, os.O_PATH)
        flags = MS_BIND | MS_REMOUNT | MS_RDONLY
        syscalls.mount(b"none", f"/proc/self/fd/{shown}".encode(), b"", flags, b"")
        os.close(shown)


def _make_point(root: int, target: str, *, is_directory: bool) -> None:
    if is_directory:
        paths.make_directories(root, target)
        return
    head, _, name = target.rpartition("/")
    paths.make_directories(root, head or "/")
    directory = paths.open_in_root(root, head or "/", os.O_PATH | os.O_DIRECTORY)
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        os.close(os.open(name, flags, 0o644, dir_fd=directory))
    except FileExistsError:
        pass
    finally:
        os.close(directory)
