"""`heft top`."""

from __future__ import annotations

from heft.cli.client import path
from heft.cli.command import Command
from heft.cli.tables import aligned

LEAST_WIDTH = 20

TYPE_CHECKING = False
if TYPE_CHECKING:
    from heft.cli.command import Invocation


def run(call: Invocation) -> int:
    """Print a machine's processes as ps(1) does."""
    name, *options = call.arguments
    seen = call.client.get(path("containers", name, "top"), ps_args=" ".join(options))
    print(aligned([seen["Titles"], *seen["Processes"]], LEAST_WIDTH), end="")
    return 0


TOP = Command(run, takes="MACHINE [ps OPTIONS]", least=1, most=None, interspersed=False)
