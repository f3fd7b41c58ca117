"""The process that takes an archive apart (`python -m heft.images.spool DIRECTORY < ARCHIVE`).

Every regular file of the archive becomes a file of the empty DIRECTORY, named by a number: no name
in the archive ever becomes a path. The verdict's result has `files`, by name: number, bytes and
digest; and `links`, by name: where symbolic and hard links lead, as names in the archive.
"""

from __future__ import annotations

import hashlib
import os
import posixpath
import sys
from typing import Any

from heft.images import verdict
from heft.images.disk import Growing, check_room
from heft.images.entries import Malformed, entries
from heft.images.intake import Intake
from heft.images.tree import inside

MOST_FILES = 10_000


def spool(directory: str) -> dict[str, Any]:
    """Take the archive on standard input apart."""
    os.chdir(directory)
    os.chroot(".")
    stream = Intake(0, None, digest=False)  # each file has its own
    files: dict[str, list[Any]] = {}
    links: dict[str, str] = {}
    for entry in entries(stream):
        name = inside(entry.name)
        if entry.isreg() and not entry.sparse:
            files[name] = [len(files), entry.size, _write(stream, str(len(files)), entry.size)]
            links.pop(name, None)
        elif entry.issym():
            links[name] = inside(posixpath.join("/", posixpath.dirname(name), entry.linkname))
        elif entry.islnk():
            links[name] = inside(entry.linkname)
        if len(files) + len(links) > MOST_FILES:
            raise Malformed(f"more than {MOST_FILES} files")
    stream.finish()
    return {"files": files, "links": links}


def _write(stream: Intake, path: str, size: int) -> str:
    check_room(size, path)
    hashed = hashlib.sha256()
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    file = Growing(descriptor)
    try:
        for piece in stream.pieces(size):
            hashed.update(piece)
            file.write(piece)
    finally:
        os.close(descriptor)
    return f"sha256:{hashed.hexdigest()}"


def main() -> int:
    """Run the process."""
    return verdict.deliver(lambda: spool(sys.argv[1]))


if __name__ == "__main__":
    sys.exit(main())
