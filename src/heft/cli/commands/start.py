"""`heft start`."""

from __future__ import annotations

from heft.cli.client import path
from heft.cli.command import Command, each
from heft.cli.failures import Failure, Refusal
from heft.cli.flags import switch, word

TYPE_CHECKING = False
if TYPE_CHECKING:
    from heft.cli.command import Invocation


def run(call: Invocation) -> int:
    """Start machines; attached to one, the exit status is its own."""
    flags = call.flags
    if flags.on("attach") or flags.on("interactive"):
        if len(call.arguments) > 1:
            raise Failure("you cannot start and attach multiple containers at once")
        return _attached(call, call.arguments[0])
    return each(call.arguments, lambda name: call.client.post(path("containers", name, "start")))


def _attached(call: Invocation, name: str) -> int:
    from heft.cli.foreground import Waiting, attach, start_code, take_over
    from heft.cli.session import Ending
    from heft.cli.signals import tell_size

    client, flags = call.client, call.flags
    known = client.get(path("containers", name, "json"))
    machine, tty = known["Id"], known["Config"]["Tty"]
    stdin = flags.on("interactive") and known["Config"]["OpenStdin"]
    streams = {"stdin": stdin, "stdout": True, "stderr": True}
    session = attach(
        client, machine, streams=streams, tty=tty, detach_keys=flags.text("detach-keys")
    )
    removed = known["HostConfig"].get("AutoRemove")
    waiting = Waiting(client, machine, "removed" if removed else "next-exit")
    take_over(client, machine, tty=tty, sig_proxy=True)
    try:
        client.post(f"/containers/{machine}/start")
    except Refusal as refusal:
        code = start_code(refusal.message)
        raise Failure(refusal.message, code if code in (126, 127) else 1) from None
    if tty:
        tell_size(client.address, f"/containers/{machine}")
    if session.run() is Ending.DETACHED:
        return 0
    return waiting.code()


START = Command(
    run,
    takes="MACHINE [MACHINE...]",
    flags=(
        switch("attach", "Attach STDOUT/STDERR and forward signals", "a"),
        switch("interactive", "Attach machine's STDIN", "i"),
        word("detach-keys", "Override the key sequence for detaching a machine"),
    ),
    least=1,
    most=None,
)
