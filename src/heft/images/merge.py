"""The process that merges layers into one EROFS file (`python -m heft.images.merge`).

    merge FILE UUID VIEW [LAYER…]

FILE is what to make, VIEW an empty directory, LAYER… the directories of the layers from the lowest
up. They are stacked on VIEW by overlayfs, which knows all about whiteouts and opaque directories
and shows none of its own marks, in a mount namespace that goes with the process; then the process
becomes mkfs.erofs(1), so that to kill it is to kill all that there is.
"""

from __future__ import annotations

import os
import resource
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from heft.errors import HeftError
from heft.host import tied
from heft.images import below

if TYPE_CHECKING:
    from collections.abc import Sequence

TOOL = "mkfs.erofs"
NICE = 5
"""The daemon, which others wait for, goes first."""
_NO_SHARED_ATTRIBUTES = 2**31 - 1
"""The value of `-x` that spares a walk through the whole tree in search of extended attributes
that many files have (erofs-utils, lib/xattr.c); they are kept with their inodes. A fifth faster."""
EPOCH = str(2**64 - 2)
"""`SOURCE_DATE_EPOCH`: the time of the file system, and the time that no file may be newer than.

Without it the result would carry the time at which it was made. The largest time but one, which
mkfs.erofs takes for "none": so no file's own time is touched.
"""


def command(file: str, uuid: str, tree: str) -> tuple[str, ...]:
    """Give the command line that makes a file system of a tree.

    Not compressed: a compressed one takes longer to make, and much longer to read where every
    instruction of the guest is emulated.
    """
    return (TOOL, "--quiet", "-d1", f"-x{_NO_SHARED_ATTRIBUTES}", "-U", uuid, file, tree)


def merge(file: str, uuid: str, view: str, layers: Sequence[str]) -> NoReturn:
    """Become the program that makes the file. Raises `OSError`, `HeftError`."""
    if layers:
        below.open_view([Path(layer) for layer in layers], Path(view))
    _leave_room(os.path.dirname(file))
    line = command(file, uuid, view)
    environment = {**os.environ, "SOURCE_DATE_EPOCH": EPOCH}
    os.execvpe(line[0], line, environment)  # noqa: S606 - it is to be this very process


def _leave_room(directory: str) -> None:
    """Let writing fail before the disk's last hundredth is taken, which the store may need."""
    space = os.statvfs(directory)
    room = max(space.f_bavail - space.f_blocks // 100, 0) * space.f_frsize
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))


def main() -> int:
    """Run the process."""
    tied.end_with_parent()
    os.nice(NICE)
    os.umask(0o077)
    file, uuid, view, *layers = sys.argv[1:]
    try:
        merge(file, uuid, view, layers)
    except (OSError, HeftError) as error:
        sys.stderr.write(f"{error}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
