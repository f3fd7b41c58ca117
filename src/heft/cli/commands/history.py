"""`heft history`."""

from __future__ import annotations

from heft.cli import human
from heft.cli.client import path
from heft.cli.command import Command
from heft.cli.flags import switch, word
from heft.cli.tables import FORMAT_HELP, Listing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from heft.cli.command import Invocation

CREATED_BY_WIDTH = 45
HEADERS = {
    "ID": "IMAGE",
    "CreatedSince": "CREATED",
    "CreatedAt": "CREATED AT",
    "CreatedBy": "CREATED BY",
    "Size": "SIZE",
    "Comment": "COMMENT",
}


def run(call: Invocation) -> int:
    """Print how an image's layers came to be."""
    flags = call.flags
    steps = call.client.get(path("images", call.arguments[0], "history"))
    readable = flags.on("human")
    rows = [_row(step, whole=flags.on("no-trunc"), readable=readable) for step in steps]
    if flags.on("quiet"):
        for row in rows:
            print(row["ID"])
        return 0
    when = "CreatedSince" if readable else "CreatedAt"
    Listing(HEADERS, ("ID", when, "CreatedBy", "Size", "Comment")).show(rows, flags.text("format"))
    return 0


def _row(step: dict[str, Any], *, whole: bool, readable: bool) -> dict[str, Any]:
    by = step["CreatedBy"].replace("\t", " ")
    return {
        "ID": step["Id"] if whole else _short(step["Id"]),
        "CreatedSince": human.ago(step["Created"]) if step["Created"] > 0 else "N/A",
        "CreatedAt": human.moment_text(step["Created"]),
        "CreatedBy": by if whole else human.shortened(by, CREATED_BY_WIDTH),
        "Size": human.size(step["Size"]) if readable else str(step["Size"]),
        "Comment": step["Comment"],
    }


def _short(identity: str) -> str:
    return identity if identity.startswith("<") else human.short_id(identity)


HISTORY = Command(
    run,
    takes="IMAGE",
    flags=(
        word("format", FORMAT_HELP),
        switch("human", "Print sizes and dates in human readable format", "H", default=True),
        switch("no-trunc", "Don't truncate output"),
        switch("quiet", "Only show image IDs", "q"),
    ),
    least=1,
    most=1,
)
