"""`heft import`, `load`, `save`: images from files and to files."""

from __future__ import annotations

import os
import sys

from heft.cli.client import path
from heft.cli.command import Command
from heft.cli.commands.images_change import split_reference
from heft.cli.connection import file_blocks
from heft.cli.failures import Failure
from heft.cli.flags import switch, word, words
from heft.cli.frames import write_all
from heft.cli.progress import counted, follow, on_stderr
from heft.cli.terminal import STDIN, STDOUT, is_terminal
from heft.cli.whole_file import write_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from heft.cli.command import Invocation
    from heft.cli.progress import Progress

URLS = ("http://", "https://", "ftp://")


def import_tar(call: Invocation) -> int:
    """Make an image of a tar and print its id."""
    flags = call.flags
    source, *names = call.arguments
    repository, tag = split_reference(names[0]) if names else ("", "")
    progress = on_stderr(quiet=flags.on("quiet"))
    remote = source.startswith(URLS)
    answer = call.client.open(
        "POST",
        "/images/create",
        {
            "fromSrc": source if remote else "-",
            "repo": repository,
            "tag": tag,
            "message": flags.text("message"),
            "platform": flags.text("platform"),
            "changes": flags.list("change"),
        },
        stream=None if remote else _content(source, progress),
    )
    said = follow(answer.lines(), progress, sys.stdout.write)
    print(said[-1] if said else "")
    return 0


def load(call: Invocation) -> int:
    """Take in what `save` wrote."""
    source, quiet = call.flags.text("input"), call.flags.on("quiet")
    if not source and is_terminal(STDIN):
        raise Failure("requested load from stdin, but stdin is empty")
    progress = on_stderr(quiet=quiet)
    answer = call.client.open(
        "POST", "/images/load", {"quiet": quiet}, stream=_content(source or "-", progress)
    )
    follow(answer.lines(), progress, sys.stdout.write)
    return 0


def _content(source: str, progress: Progress) -> Iterable[bytes]:
    """Give a file's content, or standard input's for `-`. Raises `Failure` if it is not there."""
    if source == "-":
        return counted(file_blocks(STDIN), progress, "", "Sending")
    try:
        descriptor = os.open(source, os.O_RDONLY | os.O_CLOEXEC)
        total = os.fstat(descriptor).st_size
    except OSError as error:
        raise Failure(f"open {source}: {(error.strerror or str(error)).lower()}") from None
    name = source.rpartition("/")[2]
    return counted(file_blocks(descriptor), progress, name, "Sending", total)


def save(call: Invocation) -> int:
    """Write images to a file, or to standard output."""
    target, names = call.flags.text("output"), call.arguments
    if not target and is_terminal(STDOUT):
        raise Failure("cowardly refusing to save to a terminal. Use the -o flag or redirect")
    if len(names) == 1:
        answer = call.client.open("GET", path("images", names[0], "get"))
    else:
        answer = call.client.open("GET", "/images/get", {"names": names})
    if not target:
        for block in answer.blocks():
            write_all(STDOUT, block)
        return 0
    write_file(target, answer.blocks(), "save image")
    return 0


IMPORT = Command(
    import_tar,
    takes="file|URL|- [REPOSITORY[:TAG]]",
    flags=(
        words("change", "Apply Dockerfile instruction to the created image", "c"),
        word("message", "Set commit message for imported image", "m"),
        word("platform", "Set platform if the daemon is multi-platform capable"),
        switch("quiet", "Suppress the progress", "q"),
    ),
    least=1,
    most=2,
)
LOAD = Command(
    load,
    flags=(
        word("input", "Read from tar archive file, instead of STDIN", "i"),
        switch("quiet", "Suppress the load output", "q"),
    ),
)
SAVE = Command(
    save,
    takes="IMAGE [IMAGE...]",
    flags=(word("output", "Write to a file, instead of STDOUT", "o"),),
    least=1,
    most=None,
)
