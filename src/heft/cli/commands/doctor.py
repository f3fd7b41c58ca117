"""`heft doctor`: needs no daemon, and reads its own flags."""

from __future__ import annotations

from heft.cli.command import Command

TYPE_CHECKING = False
if TYPE_CHECKING:
    from heft.cli.command import Invocation


def run(call: Invocation) -> int:
    """Examine the host; the exit status is the doctor's."""
    from heft.doctor import main

    return main(call.arguments)


DOCTOR = Command(run, takes="[OPTIONS]", most=None, own_flags=True)
