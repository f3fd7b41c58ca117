"""`heft stop`, `kill`, `restart`, `pause`, `unpause`, `wait`, `rm`, `rename`."""

from __future__ import annotations

from heft.cli.client import path
from heft.cli.command import Command, each
from heft.cli.flags import number, switch, word

TYPE_CHECKING = False
if TYPE_CHECKING:
    from heft.cli.command import Invocation

SEVERAL = "MACHINE [MACHINE...]"
SIGNAL = word("signal", "Signal to send to the machine", "s")
TIMEOUT = number("timeout", "Seconds to wait before killing the machine", "t", aliases=("time",))
"""`--time` is what Docker's clients before 28 knew it by."""


def stop(call: Invocation) -> int:
    """Stop machines."""
    return _act(call, "stop", t=call.flags.number("timeout"), signal=call.flags.text("signal"))


def restart(call: Invocation) -> int:
    """Stop and start machines, at another weight where one is given."""
    seconds, signal = call.flags.number("timeout"), call.flags.text("signal")
    if "weight" not in call.flags:
        return _act(call, "restart", t=seconds, signal=signal)
    asked = {"weight": call.flags.text("weight"), "restart": True, "signal": signal}
    body = asked if seconds is None else {**asked, "seconds": seconds}
    return each(
        call.arguments,
        lambda name: call.client.post(path("heft", "v1", "machines", name, "weight"), body),
    )


def kill(call: Invocation) -> int:
    """Send machines a signal."""
    return _act(call, "kill", signal=call.flags.text("signal"))


def pause(call: Invocation) -> int:
    """Freeze machines."""
    return _act(call, "pause")


def unpause(call: Invocation) -> int:
    """Let frozen machines go on."""
    return _act(call, "unpause")


def _act(call: Invocation, action: str, **parameters: object) -> int:
    return each(
        call.arguments,
        lambda name: call.client.post(path("containers", name, action), **parameters),
    )


def wait(call: Invocation) -> int:
    """Wait for the end of machines; print their exit codes."""
    from heft.cli.foreground import Waiting

    return each(
        call.arguments,
        lambda name: print(Waiting(call.client, name, "").code()),
        tell=lambda _: None,
    )


def remove(call: Invocation) -> int:
    """Remove machines."""
    force, volumes = call.flags.on("force"), call.flags.on("volumes")
    return each(
        [name.strip("/") for name in call.arguments],
        lambda name: call.client.delete(path("containers", name), force=force, v=volumes),
    )


def rename(call: Invocation) -> int:
    """Give a machine another name."""
    old, new = call.arguments
    call.client.post(path("containers", old, "rename"), name=new)
    return 0


STOP = Command(stop, takes=SEVERAL, flags=(SIGNAL, TIMEOUT), least=1, most=None)
WEIGHT = word("weight", "Weight to start machines at, with all they wrote (`heft weights`)")
RESTART = Command(restart, takes=SEVERAL, flags=(SIGNAL, TIMEOUT, WEIGHT), least=1, most=None)
KILL = Command(kill, takes=SEVERAL, flags=(SIGNAL,), least=1, most=None)
PAUSE = Command(pause, takes=SEVERAL, least=1, most=None)
UNPAUSE = Command(unpause, takes=SEVERAL, least=1, most=None)
WAIT = Command(wait, takes=SEVERAL, least=1, most=None)
RM = Command(
    remove,
    takes=SEVERAL,
    flags=(
        switch("force", "Force the removal of a running machine (uses SIGKILL)", "f"),
        switch("volumes", "Remove anonymous volumes associated with the machine", "v"),
    ),
    least=1,
    most=None,
)
RENAME = Command(rename, takes="MACHINE NEW_NAME", least=2, most=2)
