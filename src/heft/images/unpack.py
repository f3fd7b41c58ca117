"""The process that makes a layer's directory of a tar (`python -m heft.images.unpack`).

    unpack TREE KEEP VIEW [LOWER…] < TAR

TREE is the empty directory to fill; KEEP a file to write what comes in to, or `-`, or the digest of
what comes in, where it is a blob already; VIEW a mount point for the view of the layers below,
LOWER…, from the lowest up. The verdict (`heft.images
.verdict`) has the fields of `Taken` and `applied`, the bytes of the layer's files.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from heft.images import attributes, below, verdict
from heft.images.entries import entries
from heft.images.intake import Intake
from heft.images.tree import Tree


def unpack(directory: str, keep: str, view: str, lowers: list[str]) -> dict[str, Any]:
    """Fill the directory; the process is chrooted to it when this returns."""
    kept, known = None, keep if keep.startswith("sha256:") else ""
    if keep != "-" and not known:
        kept = os.open(keep, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    lower = below.open_view([Path(path) for path in lowers], Path(view)) if lowers else None
    os.chdir(directory)
    os.chroot(".")
    _make_root(lower)
    stream = Intake(0, kept, known=known)
    tree = Tree(stream, lower)
    for entry in entries(stream):
        tree.add(entry)
    tree.finish()
    taken = stream.finish()
    return {**taken._asdict(), "applied": tree.size}


def _make_root(lower: int | None) -> None:
    """Let the root be as it is below, unless the tar says otherwise."""
    os.chmod(".", 0o755)  # noqa: S103 - it is the root of a machine
    if lower is not None:
        status = os.fstat(lower)
        attributes.copy(lower, status, ".")
        os.utime(".", ns=(status.st_atime_ns, status.st_mtime_ns))


def main() -> int:
    """Run the process."""
    directory, keep, view, *lowers = sys.argv[1:]
    return verdict.deliver(lambda: unpack(directory, keep, view, lowers))


if __name__ == "__main__":
    sys.exit(main())
