"""A disk that a guest has written and no guest has now: looked through, and mended by e2fsck(8).

That runs where it can do no harm (`heft.guest.fsck`).
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from heft.errors import HostError
from heft.guest import disks

if TYPE_CHECKING:
    from pathlib import Path

ERRORS = "its file system has errors"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is wrong with a disk (empty: nothing), and what was done about it, if anything."""

    problem: str = ""
    done: str = ""


async def look(disk: Path, *, repair: bool) -> Verdict:
    """Look through a disk, and mend it if asked to; what cannot be mended stays as the problem.

    One that the power was taken from is in order, if its journal can be replayed: that is only
    tried by `repair`.
    """
    problem = ""
    try:
        problem = await disks.look_through(disk)
        if repair and (problem or await asyncio.to_thread(disks.is_in_use, disk)):
            return await _mend(disk, problem)
    except HostError as error:
        return Verdict(problem or error.message)
    return Verdict(problem)


async def _mend(disk: Path, problem: str) -> Verdict:
    with contextlib.suppress(HostError):
        await disks.repair(disk)
        if not await disks.look_through(disk):
            return Verdict(problem, "it was mended without loss" if problem else "")
    await disks.repair(disk, thoroughly=True)
    if left := await disks.look_through(disk):
        raise HostError(left)
    return Verdict(problem or ERRORS, "it was mended; what had lost its place is in its lost+found")
