"""`fsck` of what machines with a kernel of their own wrote: the disks of those that do not run.

e2fsck(8) reads them where it can do no harm (`heft.guest.fsck`). The disk of a machine that runs is
its guest's: to look at it from here would tell of damage where there is none.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from heft.engine.weight_change import STILL
from heft.errors import NotFound, NotSupported
from heft.images.checking import Finding
from heft.model.upper import Form
from heft.uppers import mending
from heft.weights.abilities import Exchanging

if TYPE_CHECKING:
    from pathlib import Path

    from heft.engine.machines import Machines
    from heft.engine.parts import Parts
    from heft.images.catalog import Progress
    from heft.model.machine import Machine


@dataclass(slots=True)
class Checked:
    """What is damaged, and the names of the machines whose disks were not looked at: they run."""

    found: list[Finding] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)


async def check(parts: Parts, machines: Machines, *, repair: bool, progress: Progress) -> Checked:
    """Look through the disks, and mend what can be mended if asked to."""
    checked = Checked()
    wanted = [machine.id for machine in machines.list() if _disk(parts, machine) is not None]
    for number, machine_id in enumerate(wanted, 1):
        progress("", "Checking machines' disks", number, len(wanted))
        with contextlib.suppress(NotFound):  # it was removed meanwhile
            async with machines.life(machine_id).held() as machine:
                disk = _disk(parts, machine)
                if machine.state not in STILL:
                    checked.skipped.append(machine.name)
                elif disk is not None and (found := await _check(machine, disk, repair=repair)):
                    checked.found.append(found)
    return checked


def _disk(parts: Parts, machine: Machine) -> Path | None:
    """Give where a machine's disk is, if it has one that guests write."""
    try:
        weight = parts.weight(machine)
    except NotSupported:
        return None
    if not isinstance(weight, Exchanging):
        return None
    upper = weight.upper(parts.launch(machine).root)
    return upper.path if upper.form is Form.DISK else None


async def _check(machine: Machine, disk: Path, *, repair: bool) -> Finding | None:
    verdict = await mending.look(disk, repair=repair)
    if not verdict.problem:
        return None
    todo = "" if verdict.done else "heft fsck --repair mends what can be mended"
    if repair and not verdict.done:
        todo = "remove the container, or bring its disk back"
    return Finding(
        kind="disk",
        name=machine.name,
        problem=verdict.problem,
        machines=(machine.id,),
        done=verdict.done,
        todo=todo,
    )
