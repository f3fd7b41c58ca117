"""`heft exec`."""

from __future__ import annotations

from heft.cli.client import path
from heft.cli.command import Command
from heft.cli.failures import Failure
from heft.cli.flags import switch, word, words
from heft.cli.machine_flags import lazily
from heft.cli.terminal import STDIN, is_terminal, size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from heft.cli.command import Invocation


def run(call: Invocation) -> int:
    """Run a process in a machine; the exit status is the process's."""
    flags, client = call.flags, call.client
    body = _body(call)
    tty, stdin = body["Tty"], body["AttachStdin"]
    if tty and stdin and not is_terminal(STDIN):
        raise Failure(
            "cannot attach stdin to a TTY-enabled container because stdin is not a terminal"
        )
    made = client.post(path("containers", call.arguments[0], "exec"), body)["Id"]
    start = {"Detach": flags.on("detach"), "Tty": tty}
    if flags.on("detach"):
        client.post(f"/exec/{made}/start", start)
        return 0
    if tty and all(size()):
        start["ConsoleSize"] = list(size())
    return _attached(call, made, start, stdin=stdin)


def _attached(call: Invocation, made: str, start: dict[str, Any], *, stdin: bool) -> int:
    from heft.cli.keys import parse
    from heft.cli.session import Ending, Session
    from heft.cli.signals import follow_size

    client, tty = call.client, start["Tty"]
    keys = parse(call.flags.text("detach-keys"))
    connection, answer = client.hijack(f"/exec/{made}/start", start)
    if tty:
        follow_size(client.address, f"/exec/{made}")
    session = Session(connection, answer, tty=tty, stdin=stdin, keys=keys)
    if session.run() is Ending.DETACHED:
        raise Failure("read escape sequence")
    return int(client.get(f"/exec/{made}/json")["ExitCode"] or 0)


def _body(call: Invocation) -> dict[str, Any]:
    flags = call.flags
    attached = not flags.on("detach")
    body: dict[str, Any] = {
        "Cmd": call.arguments[1:],
        "Tty": flags.on("tty"),
        "AttachStdin": flags.on("interactive") and attached,
        "AttachStdout": attached,
        "AttachStderr": attached,
        "Privileged": flags.on("privileged"),
        "User": flags.text("user"),
        "WorkingDir": flags.text("workdir"),
        "DetachKeys": flags.text("detach-keys"),
    }
    if flags.list("env") or flags.list("env-file"):
        from heft.cli.values.environment import variables

        body["Env"] = variables(flags.list("env-file"), flags.list("env"))
    return body


EXEC = Command(
    run,
    takes="MACHINE COMMAND [ARG...]",
    flags=(
        switch("detach", "Detached mode: run command in the background", "d"),
        word("detach-keys", "Override the key sequence for detaching a machine"),
        words("env", "Set environment variables", "e", read=lazily("environment", "variable")),
        words("env-file", "Read in a file of environment variables"),
        switch("interactive", "Keep STDIN open even if not attached", "i"),
        switch("privileged", "Give extended privileges to the command"),
        switch("tty", "Allocate a pseudo-TTY", "t"),
        word("user", 'Username or UID (format: "<name|uid>[:<group|gid>]")', "u"),
        word("workdir", "Working directory inside the machine", "w"),
    ),
    least=2,
    most=None,
    interspersed=False,
)
