"""`heft kit ls`, `pull`, `warm`, `rm`."""

from __future__ import annotations

import os
import sys

from heft.cli.client import path
from heft.cli.command import Command, each
from heft.cli.failures import Failure
from heft.cli.flags import Flag, switch, word
from heft.cli.human import size as human
from heft.cli.machine_flags import lazily
from heft.cli.progress import follow, on_stderr
from heft.cli.tables import FORMAT_HELP, Listing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from heft.cli.command import Invocation

HEADERS = {
    "Name": "KIT",
    "Package": "PACKAGE",
    "Version": "VERSION",
    "Kernel": "KERNEL",
    "Damaged": "DAMAGED",
    "Size": "SIZE",
    "Machines": "MACHINES",
}
DEFAULT, OWN = "debian", "own"


def list_all(call: Invocation) -> int:
    """List the kits."""
    kits = call.client.get("/heft/v1/kits")
    form = call.flags.text("format")
    if call.flags.on("quiet") and not form:
        for kit in kits:
            print(kit["name"])
        return 0
    shown = ("Name", "Version", "Kernel", "Size", "Machines")
    Listing(HEADERS, shown).show([_row(kit) for kit in kits], form)
    return 0


def _row(kit: dict[str, Any]) -> dict[str, Any]:
    return {
        "Name": kit["name"],
        "Package": kit["package"],
        "Version": "damaged" if kit["damaged"] else kit["version"],
        "Kernel": kit["kernel"],
        "Damaged": kit["damaged"],
        "Size": human(kit["size"]),
        "Machines": str(len(kit["machines"])),
    }


def pull(call: Invocation) -> int:
    """Make a kit of packages, or of a kernel of one's own; print what it is."""
    paths = {flag: call.flags.text(flag) for flag in ("kernel", "modules")}
    given = {flag: os.path.abspath(path) for flag, path in paths.items() if path}
    name = call.arguments[0] if call.arguments else OWN if "kernel" in given else DEFAULT
    progress = on_stderr(quiet=call.flags.on("quiet"))
    answer = call.client.open("POST", "/heft/v1/kits", body={"name": name, **given})
    said = follow(answer.lines(), progress, sys.stderr.write)
    print(name if call.flags.on("quiet") or not said else said[-1])
    return 0


def warm(call: Invocation) -> int:
    """Make what machines with a kit start from; fail where they boot cold."""
    name = call.arguments[0] if call.arguments else DEFAULT
    body = {"memory": call.flags.value("memory") or 0, "nanoCpus": call.flags.value("cpus") or 0}
    answer = call.client.open("POST", path("heft", "v1", "kits", name, "warm"), body=body)
    said = follow(answer.lines(), on_stderr(quiet=call.flags.on("quiet")), sys.stderr.write)
    if said and said[-1] != "warm":
        raise Failure(f"no template could be made, so machines boot {said[-1]}")
    print(name)
    return 0


def remove(call: Invocation) -> int:
    """Remove kits."""
    return each(call.arguments, lambda name: call.client.delete(path("heft", "v1", "kits", name)))


LIST = Command(
    list_all,
    flags=(word("format", FORMAT_HELP), switch("quiet", "Only display names", "q")),
)
PULL = Command(
    pull,
    takes="[KIT]",
    flags=(
        word("kernel", "Take the kernel at this path: a bzImage or a vmlinux", kind="path"),
        word("modules", "Take the kernel's modules at this path", kind="path"),
        switch("quiet", "Suppress the progress", "q"),
    ),
    most=1,
)
WARM = Command(
    warm,
    takes="[KIT]",
    flags=(
        Flag("memory", "Of such machines", short="m", kind="bytes", read=lazily("sizes", "size")),
        Flag("cpus", "Of such machines", kind="decimal", read=lazily("sizes", "cpus")),
        switch("quiet", "Suppress the progress", "q"),
    ),
    most=1,
)
RM = Command(remove, takes="KIT [KIT...]", least=1, most=None)
