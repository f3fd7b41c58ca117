"""The process that works on a light machine's files; see `heft.files.child`."""

from __future__ import annotations

import sys

from heft.files import child
from heft.weights.light import users


def look_up(root: int, owner: str) -> tuple[int, int]:
    """Find `user[:group]` in the machine's own files."""
    identity = users.look_up(root, owner, ())
    return identity.uid, identity.gid


if __name__ == "__main__":
    sys.exit(child.main(look_up))
