"""What a machine wrote, carried from the form that one weight has it in to another's.

The new upper is made beside the old one, which is only read: as long as this goes on, and where it
fails, the machine is what it was. What was made for the host alone is read and filled by the host's
kernel. A disk that a guest has written is read by `heft.uppers.reading`, after e2fsck(8) has
replayed its journal, and has found it whole, where it can do no harm (`heft.guest.fsck`).
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from typing import TYPE_CHECKING

from heft.errors import HostError
from heft.failures import translated
from heft.guest import disks
from heft.host import space
from heft.host.processes import own_program, run
from heft.images import verdict
from heft.model.upper import Form

if TYPE_CHECKING:
    from pathlib import Path

    from heft.model.upper import Upper

SCRATCH = "carrying"
"""The directory for mount points and the like, among the machine's uppers, while it lasts."""
SECONDS = 3600.0


async def carry(source: Upper, target: Upper, uppers: Path, name: str) -> None:
    """Make the target of what is in the source; nothing of it may be there.

    `uppers` is the directory of both, `name` the machine's, for errors. Raises `InvalidArgument`
    where there is something that cannot be carried, `NoSpace`, `HostError`; then parts of the
    target may be there.
    """
    if source.form is target.form is Form.DISK:
        with translated(f"make {target.path}"):  # another guest's: it takes the very file
            await asyncio.to_thread(os.link, source.path, target.path)
        return
    if source.form is Form.DISK:
        await _mend(source.path, name)
    points = uppers / SCRATCH
    with translated(f"make {points}"):
        await asyncio.to_thread(_make_points, points)
    if target.form is not Form.TREE:
        with translated(f"look at {source.path}"):
            used = await asyncio.to_thread(_used, source)
        size = target.size or max(disks.DEFAULT_SIZE, 2 * used)
        net = target.form is Form.BOUNDED
        await disks.make_upper(target.path, size, net=net)
    plan = {"source": _told(source), "target": _told(target), "place": str(points)}
    command = own_program("heft.uppers.child", json.dumps(plan))
    done = await run(*command, check=False, seconds=SECONDS)
    verdict.read(done.stdout, f"what container {name} wrote cannot be carried over")
    with translated(f"remove {points}"):
        await asyncio.to_thread(shutil.rmtree, points)


def _told(upper: Upper) -> dict[str, str]:
    return {"form": upper.form, "path": str(upper.path), "changed": upper.changed}


def _make_points(points: Path) -> None:
    for name in ("from", "to"):
        (points / name).mkdir(parents=True)


def _used(upper: Upper) -> int:
    """Give about the bytes of it."""
    if upper.form is Form.TREE:
        return space.used(upper.path)
    return upper.path.stat().st_blocks * 512


async def _mend(disk: Path, name: str) -> None:
    """Let the journal of a disk be replayed. Raises `HostError` where it is damaged."""
    try:
        await disks.repair(disk)
    except HostError as error:
        raise HostError(
            f"the disk of container {name} is damaged, and stays as it is", hint=str(error)
        ) from error
