"""`heft logs`."""

from __future__ import annotations

from heft.cli.client import path
from heft.cli.command import Command
from heft.cli.flags import switch, word
from heft.cli.frames import MULTIPLEXED, Output

TYPE_CHECKING = False
if TYPE_CHECKING:
    from heft.cli.command import Invocation


def run(call: Invocation) -> int:
    """Print what a machine wrote."""
    flags = call.flags
    answer = call.client.open(
        "GET",
        path("containers", call.arguments[0], "logs"),
        {
            "stdout": True,
            "stderr": True,
            "details": flags.on("details"),
            "follow": flags.on("follow"),
            "timestamps": flags.on("timestamps"),
            "since": flags.text("since"),
            "until": flags.text("until"),
            "tail": flags.text("tail"),
        },
    )
    output = Output(framed=answer.headers.get("content-type") == MULTIPLEXED)
    for block in answer.blocks():
        output.write(block)
    return 0


_MOMENT = '(e.g. "2013-01-02T13:23:37Z") or relative (e.g. "42m" for 42 minutes)'
LOGS = Command(
    run,
    takes="MACHINE",
    flags=(
        switch("details", "Show extra details provided to logs"),
        switch("follow", "Follow log output", "f"),
        word("since", f"Show logs since timestamp {_MOMENT}"),
        word("tail", "Number of lines to show from the end of the logs", "n", default="all"),
        switch("timestamps", "Show timestamps", "t"),
        word("until", f"Show logs before a timestamp {_MOMENT}"),
    ),
    least=1,
    most=1,
)
