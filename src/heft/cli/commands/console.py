"""`heft console`."""

from __future__ import annotations

import sys

from heft.cli.client import path
from heft.cli.command import Command
from heft.cli.failures import Failure
from heft.cli.flags import switch, word
from heft.cli.keys import parse
from heft.cli.session import Ending, Session
from heft.cli.terminal import STDIN, is_terminal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from heft.cli.command import Invocation

LEAVE = "ctrl-]"


def run(call: Invocation) -> int:
    """Be at the console of a machine with a kernel of its own, until the user leaves or it ends."""
    name, client, flags = call.arguments[0], call.client, call.flags
    keys = flags.text("escape")
    typed = is_terminal(STDIN)
    connection, answer = client.hijack(
        path("heft", "v1", "machines", name, "console"),
        force=flags.on("force"),
        detachKeys=keys,
    )
    if typed:
        print(f"Connected to the console of {name}; {keys} leaves it", file=sys.stderr)
    session = Session(connection, answer, tty=True, stdin=True, keys=parse(keys))
    if session.run() is Ending.OUTPUT and typed:
        raise Failure("the console has been closed")
    return 0


CONSOLE = Command(
    run,
    takes="MACHINE",
    flags=(
        switch("force", "Take the console over from who has it"),
        word("escape", "The key sequence that leaves the console", "e", default=LEAVE),
    ),
    least=1,
    most=1,
)
