"""The process that reads blobs and compares them with their names (`python -m heft.images.sums`).

    sums DIRECTORY < NAMES

NAMES are lines, each the sha256 in hex of what the file of that name in DIRECTORY should hold. The
verdict (`heft.images.verdict`) has `wrong`: by name, what is wrong with it.
"""

from __future__ import annotations

import hashlib
import os
import sys
from typing import Any

from heft.images import verdict


def sums(directory: str) -> dict[str, Any]:
    """Read every file that standard input names."""
    os.chdir(directory)
    found = {line.strip(): _problem(line.strip()) for line in sys.stdin}
    return {"wrong": {name: problem for name, problem in found.items() if problem}}


def _problem(name: str) -> str:
    try:
        with open(name, "rb", buffering=0) as file:
            real = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        return "it is missing" if isinstance(error, FileNotFoundError) else str(error.strerror)
    return "" if real == name else f"its content has the digest sha256:{real}"


def main() -> int:
    """Run the process."""
    return verdict.deliver(lambda: sums(sys.argv[1]))


if __name__ == "__main__":
    sys.exit(main())
