"""The process that carries an upper from one form to another (`python -m heft.uppers.child PLAN`).

PLAN is JSON: of `source` and `target` each `form`, `path` and `changed` (`heft.model.upper`), and
`place`, a directory for mount points. What is mounted is in a namespace of this process, and gone
with it. How it went is a verdict (`heft.images.verdict`) on standard output.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from heft.host import loops, mounts, syscalls
from heft.images import verdict
from heft.uppers.entries import Damaged
from heft.uppers.landing import Landing
from heft.uppers.reading import reading
from heft.uppers.walking import Walk

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from heft.uppers.entries import Entry

_TREE, _DISK = "tree", "disk"
_MOST = 1 << 62
"""Bytes of an upper that is the host's own: no bound but the disk's."""


def main() -> int:
    """Run the process."""
    plan = json.loads(sys.argv[1])
    return verdict.deliver(lambda: _carry(plan["source"], plan["target"], Path(plan["place"])))


def _carry(source: dict[str, str], target: dict[str, str], points: Path) -> dict[str, Any]:
    mounts.leave_namespace()
    try:
        with _from(source, points / "from") as (entries, data, most):
            _to(target, points / "to", Landing(data, most), entries)
    except Damaged as error:
        raise ValueError(str(error)) from error
    return {}


@contextlib.contextmanager
def _from(
    source: dict[str, str], point: Path
) -> Iterator[tuple[Iterator[Entry | None], Callable[[], int], int]]:
    """Give the entries, where the data of the last are, and how many bytes there can be."""
    changed = source["changed"]
    if source["form"] == _DISK:
        file = os.open(source["path"], os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        with reading(file, os.fsencode(changed)) as entries:
            yield entries, lambda: file, os.fstat(file).st_size
        os.close(file)
        return
    root = Path(source["path"])
    if source["form"] != _TREE:
        loops.mount(root, point, "ext4")
        root = point
    walk = Walk(str(root / changed))
    yield walk.entries(), lambda: walk.source, _MOST


def _to(
    target: dict[str, str], point: Path, landing: Landing, entries: Iterator[Entry | None]
) -> None:
    """Fill an upper that is empty, and see to it that it is on the disk."""
    root = Path(target["path"])
    if target["form"] == _TREE:
        (root / target["changed"]).mkdir(mode=0o700)
        (root / "work").mkdir(mode=0o700)
        landing.land(str(root / target["changed"]), str(point / "names"), entries)
        with _opened(root) as descriptor:
            syscalls.checked(syscalls.libc.syncfs(descriptor))
        return
    loops.mount(root, point, "ext4")
    landing.land(str(point / target["changed"]), str(point / "names"), entries)
    mounts.unmount(point, lazy=False)
    with _opened(root) as descriptor:
        os.fsync(descriptor)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


if __name__ == "__main__":
    sys.exit(main())
