"""`heft attach`."""

from __future__ import annotations

from heft.cli.client import path
from heft.cli.command import Command
from heft.cli.failures import Failure
from heft.cli.flags import switch, word
from heft.cli.foreground import Waiting, attach, take_over
from heft.cli.session import Ending
from heft.cli.signals import tell_size
from heft.cli.terminal import STDIN, is_terminal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from heft.cli.command import Invocation


def run(call: Invocation) -> int:
    """Be a running machine's terminal until it ends; the exit status is its own."""
    name, client, flags = call.arguments[0], call.client, call.flags
    known = client.get(path("containers", name, "json"))
    _check(known)
    machine, tty = known["Id"], known["Config"]["Tty"]
    stdin = not flags.on("no-stdin") and known["Config"]["OpenStdin"]
    if tty and stdin and not is_terminal(STDIN):
        raise Failure("the input device is not a TTY")
    waiting = Waiting(client, machine, "")
    streams = {"stdin": stdin, "stdout": True, "stderr": True}
    session = attach(
        client, machine, streams=streams, tty=tty, detach_keys=flags.text("detach-keys")
    )
    take_over(client, machine, tty=tty, sig_proxy=flags.on("sig-proxy"))
    if tty:
        tell_size(client.address, f"/containers/{machine}")
    if session.run() is Ending.DETACHED:
        raise Failure("read escape sequence")
    return waiting.code()


def _check(known: dict[str, Any]) -> None:
    state = known["State"]
    if not state["Running"]:
        raise Failure("cannot attach to a stopped container, start it first")
    if state["Paused"]:
        raise Failure("cannot attach to a paused container, unpause it first")
    if state["Restarting"]:
        raise Failure("cannot attach to a restarting container, wait until it is running")


ATTACH = Command(
    run,
    takes="MACHINE",
    flags=(
        word("detach-keys", "Override the key sequence for detaching a machine"),
        switch("no-stdin", "Do not attach STDIN"),
        switch("sig-proxy", "Proxy all received signals to the process", default=True),
    ),
    least=1,
    most=1,
)
