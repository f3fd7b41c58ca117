"""Points at which a test can kill the daemon.

`HEFT_FAULT=create.recorded` (or `create.recorded:3` for the third time) makes the process kill
itself with SIGKILL when it gets there, as a power switch would: nothing is flushed, no handler
runs. The names of all points stand in `POINTS`, so that a test can go through every one.
"""

from __future__ import annotations

import os
import signal

POINTS: frozenset[str] = frozenset(
    {
        "create.recorded",
        "create.directory",
        "create.volumes",
        "create.base",
        "create.acknowledged",
        "start.intended",
        "start.users",
        "start.network",
        "start.files",
        "start.prepared",
        "start.released",
        "start.recorded",
        "emulator.mounted",
        "emulator.registered",
        "heavy.grouped",
        "heavy.shared",
        "heavy.spawned",
        "heavy.recorded",
        "heavy.held",
        "heavy.ended",
        "medium.grouped",
        "medium.spawned",
        "medium.recorded",
        "medium.held",
        "medium.ended",
        "spare.moved",
        "spare.renamed",
        "guest.released",
        "stop.signalled",
        "stop.exited",
        "exit.seen",
        "exit.discarded",
        "exit.disconnected",
        "exit.recorded",
        "update.recorded",
        "update.adjusted",
        "weight.recorded",
        "weight.made",
        "weight.switched",
        "weight.cleared",
        "remove.intended",
        "remove.discarded",
        "remove.directory",
        "remove.recorded",
        "import.blob",
        "import.layer",
        "import.config",
        "import.recorded",
        "pull.part",
        "pull.fetched",
        "pull.blob",
        "pull.layer",
        "pull.config",
        "pull.recorded",
        "push.blob",
        "push.manifest",
        "disk.blob",
        "disk.config",
        "disk.recorded",
        "commit.layer",
        "commit.recorded",
        "base.written",
        "base.renamed",
        "base.recorded",
        "fsck.placed",
        "fsck.recorded",
        "kit.made",
        "kit.put-away",
        "template.saved",
    }
)

_wanted, _, _count = os.environ.get("HEFT_FAULT", "").partition(":")
_left = int(_count or 1) if _wanted else 0


def reach(point: str) -> None:
    """Die here if this is the point, and the time, that the environment names."""
    global _left  # noqa: PLW0603 - it counts for the whole process
    if not _left or point != _wanted:
        return
    _left -= 1
    if not _left:
        os.kill(os.getpid(), signal.SIGKILL)
