"""`heft diff`, `export`, `commit`: what is in a machine, told, written out, made into an image."""

from __future__ import annotations

from heft.cli.client import path
from heft.cli.command import Command
from heft.cli.commands.images_change import split_reference
from heft.cli.failures import Failure
from heft.cli.flags import switch, word, words
from heft.cli.frames import write_all
from heft.cli.terminal import STDOUT, is_terminal
from heft.cli.whole_file import write_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from heft.cli.command import Invocation

KINDS = "CAD"
"""Changed, added, deleted: by the API's numbers."""


def diff(call: Invocation) -> int:
    """Print what a machine has changed of its image."""
    for change in call.client.get(path("containers", call.arguments[0], "changes")) or ():
        print(KINDS[change["Kind"]], change["Path"])
    return 0


def export(call: Invocation) -> int:
    """Write a machine's root as a tar to a file, or to standard output."""
    target = call.flags.text("output")
    if not target and is_terminal(STDOUT):
        raise Failure("cowardly refusing to save to a terminal. Use the -o flag or redirect")
    answer = call.client.open("GET", path("containers", call.arguments[0], "export"))
    if target:
        write_file(target, answer.blocks(), "export container")
        return 0
    for block in answer.blocks():
        write_all(STDOUT, block)
    return 0


def commit(call: Invocation) -> int:
    """Make an image of a machine, and print its id."""
    flags = call.flags
    machine, *names = call.arguments
    repository, tag = split_reference(names[0]) if names else ("", "")
    made = call.client.call(
        "POST",
        "/commit",
        {
            "container": machine,
            "repo": repository,
            "tag": tag,
            "author": flags.text("author"),
            "comment": flags.text("message"),
            "changes": flags.list("change"),
            "pause": "1" if flags.on("pause") else "0",
        },
    )
    print(made["Id"])
    return 0


DIFF = Command(diff, takes="MACHINE", least=1, most=1)
EXPORT = Command(
    export,
    takes="MACHINE",
    flags=(word("output", "Write to a file, instead of STDOUT", "o"),),
    least=1,
    most=1,
)
COMMIT = Command(
    commit,
    takes="MACHINE [REPOSITORY[:TAG]]",
    flags=(
        word("author", 'Author (e.g., "John Hannibal Smith <hannibal@a-team.com>")', "a"),
        words("change", "Apply Dockerfile instruction to the created image", "c"),
        word("message", "Commit message", "m"),
        switch("pause", "Pause machine during commit", "p", default=True),
    ),
    least=1,
    most=2,
)
