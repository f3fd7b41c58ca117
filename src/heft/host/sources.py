"""What a mount of a machine shows, opened: whichever weight mounts it, and however."""

from __future__ import annotations

import os
from pathlib import Path

from heft.errors import StartFailed
from heft.host import paths

_REFUSED = 128
"""Docker's exit code of a machine whose mounts cannot be made."""


def open_source(source: str, subpath: str) -> int:
    """Open a file or directory of the host, or with `subpath` a part of it, by `O_PATH`.

    Links in a part stay inside of `source`: whoever uses a volume may have made them. Raises
    `StartFailed`.
    """
    try:
        if subpath:
            return paths.open_in_root(Path(source), subpath, os.O_PATH)
        return os.open(source, os.O_PATH | os.O_CLOEXEC)
    except OSError as error:
        raise StartFailed(
            f"cannot access path {os.path.join(source, subpath)}: {(error.strerror or '').lower()}",
            exit_code=_REFUSED,
        ) from error
