"""`heft fsck`."""

from __future__ import annotations

import json
import sys

from heft.cli.command import Command
from heft.cli.flags import switch
from heft.cli.progress import follow, on_stderr

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

    from heft.cli.command import Invocation

CORRECTED, LEFT = 1, 4
"""Exit statuses, as fsck(8) has them."""
_SHORT = 12


def run(call: Invocation) -> int:
    """Check the store, and say what is damaged."""
    repair = call.flags.on("repair")
    found: list[dict[str, Any]] = []
    skipped: list[str] = []
    headers = _known(call) if repair else {}
    answer = call.client.open("POST", "/heft/v1/fsck", body={"repair": repair}, headers=headers)
    progress = on_stderr(quiet=call.flags.on("quiet"))
    follow(_picked(answer.lines(), found, skipped), progress, sys.stderr.write)
    for finding in found:
        _show(finding)
    if skipped:
        print(f"not looked at, as they run: the disks of {', '.join(skipped)}")
    left = [finding for finding in found if finding["todo"] or not finding["done"]]
    if not found:
        print("nothing is damaged")
        return 0
    print(f"{len(found)} damaged, {len(found) - len(left)} of them repaired")
    return LEFT if left else CORRECTED


def _known(call: Invocation) -> dict[str, str]:
    """Say who somebody is to the registries that images here are known to be in."""
    from heft.cli.docker_config import headers_of

    images = call.client.get("/images/json", all=True)
    return headers_of(digest for image in images for digest in image["RepoDigests"] or ())


def _picked(
    lines: Iterable[bytes], found: list[dict[str, Any]], skipped: list[str]
) -> Iterator[bytes]:
    """Give the lines of progress on, and keep what was found, and what was skipped."""
    for line in lines:
        value = json.loads(line)
        if "finding" in value:
            found.append(value["finding"])
        elif "skipped" in value:
            skipped += value["skipped"]
        else:
            yield line


def _show(finding: dict[str, Any]) -> None:
    print(f"{finding['kind']} {finding['name']}: {finding['problem']}")
    machines = [machine[:_SHORT] for machine in finding["machines"]]
    for title, shown in (
        ("images", ", ".join(finding["images"])),
        ("machines", ", ".join(machines)),
        ("done", finding["done"]),
        ("to do", finding["todo"]),
    ):
        if shown:
            print(f"  {title}: {shown}")


FSCK = Command(
    run,
    flags=(
        switch("quiet", "Suppress the progress", "q"),
        switch("repair", "Make or fetch again what can be, and remove what is damaged"),
    ),
)
