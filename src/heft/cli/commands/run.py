"""`heft run`: create, attach, start, and be the machine's terminal until it ends."""

from __future__ import annotations

from heft.cli.command import Command
from heft.cli.creating import create
from heft.cli.failures import GENERAL, REFUSED, Failure, Refusal
from heft.cli.flags import switch, word
from heft.cli.machine_flags import MACHINE_FLAGS
from heft.cli.machine_request import build
from heft.cli.terminal import STDIN, is_terminal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from heft.cli.client import Client
    from heft.cli.command import Invocation
    from heft.cli.machine_request import Request

FLAGS = (
    *MACHINE_FLAGS,
    switch("detach", "Run the machine in background and print its ID", "d"),
    word("detach-keys", "Override the key sequence for detaching a machine"),
    switch("sig-proxy", "Proxy received signals to the process", default=True),
)


def run(call: Invocation) -> int:
    """Run a machine; the exit status is its own."""
    flags = call.flags
    request = build(flags, call.arguments)
    if flags.on("detach"):
        if flags.list("attach"):
            raise Failure("conflicting options: cannot specify both --attach and --detach", GENERAL)
        return _in_background(call.client, request, flags.text("cidfile"))
    if request.tty and request.streams()["stdin"] and not is_terminal(STDIN):
        raise Failure(
            "cannot attach stdin to a TTY-enabled container because stdin is not a terminal"
        )
    machine = create(call.client, request, flags.text("cidfile"), _import_foreground)
    if not any(request.streams().values()):
        _start(call.client, machine)
        print(machine)
        return 0
    return _in_foreground(call, request, machine)


def _in_background(client: Client, request: Request, id_file: str) -> int:
    request.body.update(AttachStdin=False, AttachStdout=False, AttachStderr=False)
    request.body.pop("StdinOnce", None)
    machine = create(client, request, id_file)
    _start(client, machine)
    print(machine)
    return 0


def _import_foreground() -> None:
    from heft.cli import foreground  # noqa: F401 - while the daemon works


def _in_foreground(call: Invocation, request: Request, machine: str) -> int:
    from heft.cli.foreground import Waiting, attach, take_over
    from heft.cli.session import Ending

    client, removed = call.client, call.flags.on("rm")
    session = attach(
        client,
        machine,
        streams=request.streams(),
        tty=request.tty,
        detach_keys=call.flags.text("detach-keys"),
    )
    waiting = Waiting(client, machine, "removed" if removed else "next-exit")
    take_over(client, machine, tty=request.tty, sig_proxy=call.flags.on("sig-proxy"))
    _start(client, machine)
    if session.run() is Ending.DETACHED:
        waiting.drop()
        return 0
    return waiting.code()


def _start(client: Client, machine: str) -> None:
    """Start it. Raises `Failure` with the status that a shell would give."""
    try:
        client.post(f"/containers/{machine}/start")
    except Refusal as refusal:
        from heft.cli.foreground import start_code

        raise Failure(refusal.message, start_code(refusal.message)) from None


RUN = Command(
    run,
    takes="IMAGE [COMMAND] [ARG...]",
    flags=FLAGS,
    least=1,
    most=None,
    interspersed=False,
    refused=REFUSED,
)
