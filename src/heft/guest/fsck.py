"""The process that has a machine's disk looked at, or mended (`python -m heft.guest.fsck`).

    fsck FILE OPTION…

Whatever a guest has written is read here by e2fsck(8), which may fall for it. So the program runs
where there is nothing to be had: its root is a file system in memory that shows the distribution's
programs, read-only, and this one file; it has no network, no other processes, and none of root's
privileges; its memory is bounded, and so is what it can write. Its exit status is the process's.
"""

from __future__ import annotations

import os
import resource
import sys
from pathlib import Path
from typing import NoReturn

from heft.errors import HeftError
from heft.host import mounts, tied
from heft.host.syscalls import CLONE_NEWIPC, CLONE_NEWNET, CLONE_NEWPID, CLONE_NEWUTS

DISK = "/disk"
TROUBLE = 125
"""The exit status where e2fsck was not come to; its own are less (e2fsck(8))."""

_NAMESPACES = CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWPID | CLONE_NEWNET
_SHOWN = ("usr", "bin", "lib", "lib32", "lib64", "libx32", "sbin")
"""What the distribution's programs consist of; links to `usr`, or directories of old."""


def command(options: tuple[str, ...], uid: int, gid: int) -> tuple[str, ...]:
    """Give the command line: e2fsck as the file's owner, without any privileges of root's."""
    owner = (f"--reuid={uid}", f"--regid={gid}", "--clear-groups")
    bounds = ("--no-new-privs", "--inh-caps=-all", "--bounding-set=-all")
    unprivileged = ("setpriv", *owner, *bounds, "--securebits=+noroot,+noroot_locked")
    return (*unprivileged, "e2fsck", *options, DISK)


def enclose(file: Path, *, writable: bool) -> None:
    """Leave everything but the programs and one file. Raises `OSError`, `HeftError`."""
    mounts.leave_namespace(_NAMESPACES)
    disk = os.open(file, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    root = file.parent
    mounts.mount("tmpfs", root, options=("mode=755", "size=1m"))
    for name in _SHOWN:
        here = Path("/", name)
        if here.is_symlink():
            (root / name).symlink_to(os.readlink(here))
        elif here.is_dir():
            (root / name).mkdir()
            mounts.bind(here, root / name, recursive=False, read_only=True)
    (root / DISK[1:]).touch()
    source = Path(f"/proc/self/fd/{disk}")
    mounts.bind(source, root / DISK[1:], recursive=False, read_only=not writable)
    os.chroot(root)
    os.chdir("/")


def run(options: tuple[str, ...], nowhere: int) -> NoReturn:
    """Become the program; what it says, which a guest can make endless, goes nowhere."""
    for descriptor in (1, 2):
        os.dup2(nowhere, descriptor)
    tied.end_with_parent()
    tied.bound_memory()
    status = os.stat(DISK)
    resource.setrlimit(resource.RLIMIT_FSIZE, (status.st_size, status.st_size))
    line = command(options, status.st_uid, status.st_gid)
    os.execvpe(line[0], line, {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"})  # noqa: S606 - no shell is needed


def main() -> int:
    """Run the process."""
    tied.end_with_daemon()
    file, *options = sys.argv[1:]
    nowhere = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
    try:
        enclose(Path(file), writable="-n" not in options)
        child = os.fork()  # the first process of the new namespace
        if not child:
            run(tuple(options), nowhere)
        _, status = os.waitpid(child, 0)
    except (OSError, HeftError) as error:
        sys.stderr.write(f"{error}\n")
        return TROUBLE
    return os.waitstatus_to_exitcode(status) if os.WIFEXITED(status) else TROUBLE


if __name__ == "__main__":
    sys.exit(main())
