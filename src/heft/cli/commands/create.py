"""`heft create`."""

from __future__ import annotations

from heft.cli.command import Command
from heft.cli.creating import create
from heft.cli.failures import REFUSED
from heft.cli.machine_flags import MACHINE_FLAGS
from heft.cli.machine_request import build

TYPE_CHECKING = False
if TYPE_CHECKING:
    from heft.cli.command import Invocation


def run(call: Invocation) -> int:
    """Make a machine and print its id."""
    request = build(call.flags, call.arguments)
    print(create(call.client, request, call.flags.text("cidfile")))
    return 0


CREATE = Command(
    run,
    takes="IMAGE [COMMAND] [ARG...]",
    flags=MACHINE_FLAGS,
    least=1,
    most=None,
    interspersed=False,
    refused=REFUSED,
)
