"""The process that compares two directories of layers (`python -m heft.images.comparison`).

    comparison EXPECTED FOUND

The verdict (`heft.images.verdict`) has `count`, how many files differ, and `first`, what is wrong
with some of them. Times are compared where the tar has said them: a layer's directories and marks
can be younger.
"""

from __future__ import annotations

import hashlib
import os
import stat
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

from heft.images import verdict

if TYPE_CHECKING:
    from collections.abc import Iterator

MOST_SHOWN = 3
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC


class Entry(NamedTuple):
    """What is compared of a file; `content` is a digest, or where a symbolic link leads."""

    kind: int
    content: bytes
    attributes: tuple[object, ...]


def listing(root: str) -> dict[bytes, Entry]:
    """Describe every file under a directory, however deep, by its path."""
    os.chdir(root)
    found = {b".": _entry(b".")}
    ways: list[tuple[bytes, Iterator[bytes]]] = [(b"", iter(sorted(os.listdir(b"."))))]
    while ways:
        prefix, names = ways[-1]
        name = next(names, None)
        if name is None:
            ways.pop()
            if ways:
                os.chdir("..")
            continue
        entry = found[prefix + name] = _entry(name)
        if entry.kind == stat.S_IFDIR:
            os.chdir(name)
            ways.append((prefix + name + b"/", iter(sorted(os.listdir(b".")))))
    return found


def _entry(name: bytes) -> Entry:
    status = os.lstat(name)
    kind, content, moment = stat.S_IFMT(status.st_mode), b"", 0
    if kind == stat.S_IFREG:
        moment = status.st_mtime_ns
        with open(os.open(name, _READ), "rb", buffering=0) as file:
            content = hashlib.file_digest(file, "sha256").digest()
    elif kind == stat.S_IFLNK:
        moment, content = status.st_mtime_ns, os.readlink(name)
    extended = tuple(
        (key, os.getxattr(name, key, follow_symlinks=False))
        for key in sorted(os.listxattr(name, follow_symlinks=False))
    )
    links = 0 if kind == stat.S_IFDIR else status.st_nlink
    own = (stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid, status.st_rdev)
    return Entry(kind, content, (*own, links, moment, extended))


def differences(expected: dict[bytes, Entry], found: dict[bytes, Entry]) -> Iterator[str]:
    """Say of each path that differs what is wrong there."""
    for path in sorted(expected.keys() | found.keys()):
        right, real = expected.get(path), found.get(path)
        shown = os.fsdecode(path).encode("utf-8", "backslashreplace").decode()
        if real is None:
            yield f"{shown} is missing"
        elif right is None:
            yield f"{shown} should not be there"
        elif real.kind != right.kind:
            yield f"{shown} is another kind of file"
        elif real.content != right.content:
            yield f"{shown} has another content"
        elif real.attributes != right.attributes:
            yield f"{shown} has other attributes"


def compare(expected: str, found: str) -> dict[str, Any]:
    """Compare two trees. Raises `OSError`."""
    if not os.path.isdir(found):
        return {"count": 1, "first": ["its directory is missing"]}
    wrong = list(differences(listing(expected), listing(found)))
    return {"count": len(wrong), "first": wrong[:MOST_SHOWN]}


def main() -> int:
    """Run the process."""
    return verdict.deliver(lambda: compare(*sys.argv[1:]))


if __name__ == "__main__":
    sys.exit(main())
