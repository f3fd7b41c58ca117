"""`heft image import-disk`, `export-disk`: disk images from files and to files."""

from __future__ import annotations

import os
import sys

from heft.cli.client import path
from heft.cli.command import Command
from heft.cli.failures import Failure
from heft.cli.flags import switch, word
from heft.cli.frames import write_all
from heft.cli.progress import counted, follow, on_stderr
from heft.cli.terminal import STDIN, STDOUT, is_terminal
from heft.cli.whole_file import write_file
from heft.tars import holes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from heft.cli.command import Invocation
    from heft.cli.progress import Progress


def import_disk(call: Invocation) -> int:
    """Make an image of a disk's file and print its id."""
    flags, (source, name) = call.flags, call.arguments
    progress = on_stderr(quiet=flags.on("quiet"))
    answer = call.client.open(
        "POST",
        "/heft/v1/disks",
        {"name": name, "format": flags.text("format"), "platform": flags.text("platform")},
        stream=_content(source, progress),
    )
    said = follow(answer.lines(), progress, sys.stdout.write)
    print(said[-1] if said else "")
    return 0


def _content(source: str, progress: Progress) -> Iterable[bytes]:
    """Give a disk's file, or standard input for `-`. Raises `Failure` if it is not there."""
    if source == "-":
        return counted(holes.content(STDIN), progress, "", "Sending")
    try:
        descriptor = os.open(source, os.O_RDONLY | os.O_CLOEXEC)
        total = os.lseek(descriptor, 0, os.SEEK_END)
    except OSError as error:
        raise Failure(f"open {source}: {(error.strerror or str(error)).lower()}") from None
    name = source.rpartition("/")[2]
    return counted(holes.content(descriptor), progress, name, "Sending", total)


def export_disk(call: Invocation) -> int:
    """Write the file of a disk image."""
    name, target = call.arguments
    if target == "-" and is_terminal(STDOUT):
        raise Failure("refusing to write a disk to a terminal: redirect it")
    progress = on_stderr(quiet=call.flags.on("quiet") or target == "-")
    answer = call.client.open("GET", path("heft", "v1", "disks", name))
    blocks = counted(answer.blocks(), progress, "", "Exporting")
    if target == "-":
        for block in blocks:
            write_all(STDOUT, block)
    else:
        write_file(target, blocks, "export disk")
    progress.end()
    return 0


IMPORT_DISK = Command(
    import_disk,
    takes="FILE|- NAME[:TAG]",
    flags=(
        word("format", "Format of the file (raw, qcow2, vmdk); without it, as it begins"),
        word("platform", "Set the platform of the system on the disk"),
        switch("quiet", "Suppress the progress", "q"),
    ),
    least=2,
    most=2,
)
EXPORT_DISK = Command(
    export_disk,
    takes="IMAGE FILE|-",
    flags=(switch("quiet", "Suppress the progress", "q"),),
    least=2,
    most=2,
)
