"""`heft weights`."""

from __future__ import annotations

from heft.cli.command import Command
from heft.cli.flags import word
from heft.cli.tables import FORMAT_HELP, Listing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from heft.cli.command import Invocation

HEADERS = {
    "Weight": "WEIGHT",
    "Default": "DEFAULT",
    "Available": "AVAILABLE",
    "Detail": "DETAIL",
}


def run(call: Invocation) -> int:
    """List the weights."""
    known = call.client.get("/heft/v1/weights")
    rows = [
        _row(name, found, default=name == known["default"])
        for name, found in known["weights"].items()
    ]
    Listing(HEADERS, tuple(HEADERS)).show(rows, call.flags.text("format"))
    return 0


def _row(name: str, found: dict[str, Any], *, default: bool) -> dict[str, Any]:
    why, hint = found.get("why", ""), found.get("hint", "")
    reason = f"{why} ({hint})" if why and hint else why
    return {
        "Weight": name,
        "Default": "yes" if default else "no",
        "Available": "yes" if found["ok"] else "no",
        "Detail": found.get("detail", "") if found["ok"] else reason,
    }


WEIGHTS = Command(run, flags=(word("format", FORMAT_HELP),))
