"""Machines in the foreground: attached, waited for, and their end made this process's own."""

from __future__ import annotations

from heft.cli import json_text, signals
from heft.cli.client import path
from heft.cli.failures import REFUSED, Failure, Unreachable
from heft.cli.keys import parse
from heft.cli.program import PROGRAM
from heft.cli.session import Session

TYPE_CHECKING = False
if TYPE_CHECKING:
    from heft.cli.client import Client

NOT_FOUND_WORDS = (
    "executable file not found",
    "no such file or directory",
    "system cannot find the file specified",
)
NOT_EXECUTABLE_WORDS = ("permission denied", "is a directory")


class Waiting:
    """A watch on a machine's end, registered when this is made."""

    def __init__(self, client: Client, machine: str, condition: str) -> None:
        self._machine = machine[:12]
        parameters = {"condition": condition}
        self._answer = client.open("POST", path("containers", machine, "wait"), parameters)

    def code(self) -> int:
        """Give the exit code, once there is one.

        Raises `Failure` if the end was none of its own, or if the daemon goes away meanwhile.
        """
        try:
            end = json_text.loads(self._answer.read())
        except (Unreachable, ValueError):
            raise Failure(
                f"lost the Heft daemon while machine {self._machine} ran; it runs on, and"
                f" `{PROGRAM} wait {self._machine}` tells how it ends",
                REFUSED,
            ) from None
        finally:
            self._answer.connection.close()
        if error := (end.get("Error") or {}).get("Message"):
            raise Failure(error, REFUSED)
        return int(end["StatusCode"])

    def over_within(self, seconds: float) -> bool:
        """Say whether there is an exit code within a time."""
        return self._answer.connection.comes(seconds)

    def drop(self) -> None:
        """Wait no more."""
        self._answer.connection.close()


def attach(
    client: Client, machine: str, *, streams: dict[str, bool], tty: bool, detach_keys: str
) -> Session:
    """Join a machine's streams; one that does not run yet, from its first byte on."""
    keys = parse(detach_keys)
    connection, answer = client.hijack(
        f"/containers/{machine}/attach", stream=True, detachKeys=detach_keys, **streams
    )
    return Session(connection, answer, tty=tty, stdin=streams["stdin"], keys=keys)


def take_over(client: Client, machine: str, *, tty: bool, sig_proxy: bool) -> None:
    """Let signals be the machine's; with a terminal, its size too."""
    if tty:
        signals.follow_size(client.address, f"/containers/{machine}")
    elif sig_proxy:
        signals.forward(client.address, machine)


def start_code(message: str) -> int:
    """Give the exit status for a start that failed (docker/cli, run.go, `toStatusError`)."""
    if any(words in message for words in NOT_FOUND_WORDS):
        return 127
    if any(words in message for words in NOT_EXECUTABLE_WORDS):
        return 126
    return REFUSED
