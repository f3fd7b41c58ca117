"""The process that makes the tar of a layer again of its directory (`python -m heft.files.repack`).

    repack DIRECTORY TARGET

A layer that a commit made here came of an upper, by the same rules: its directory gives the same
tar, byte by byte. The verdict (`heft.images.verdict`) has the `digest` and `size` of what was
written, so that whoever asked sees whether it did; that of others seldom does.
"""

from __future__ import annotations

import hashlib
import os
import sys
from typing import Any

from heft.files.upper import Upper
from heft.images import verdict
from heft.tars.packing import Packer


def repack(directory: str, target: str) -> dict[str, Any]:
    """Write the tar of a layer. Raises `OSError`, `Refused`."""
    opened = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    with open(target, "x+b", buffering=0) as file:
        Upper(opened, -1, frozenset(), every_mark=True).pack(Packer(file.fileno()))
        file.seek(0)
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return {"digest": f"sha256:{digest}", "size": file.tell()}


def main() -> int:
    """Run the process."""
    return verdict.deliver(lambda: repack(*sys.argv[1:]))


if __name__ == "__main__":
    sys.exit(main())
