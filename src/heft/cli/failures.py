"""What ends a command before its time: one kind of error, one exit status each."""

from __future__ import annotations

import sys

GENERAL = 1
REFUSED = 125
"""The daemon, or the command line, refused to run anything (docker run, "Exit status")."""
NOT_EXECUTABLE = 126
NOT_FOUND = 127
INTERRUPTED = 130
BROKEN_PIPE = 141
"""128 and SIGPIPE: what a shell reports of a program whose reader has gone."""


class Failure(Exception):
    """A message for the user, and the exit status that goes with it.

    `advice` follows the message, a blank line between them.
    """

    def __init__(self, message: str, code: int = GENERAL, *, advice: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.advice = advice


class Unreachable(Failure):
    """The daemon cannot be reached, or went away in the middle of an answer."""


class BrokenOff(Failure):
    """The daemon could not end the answer that it had begun, and says why."""


class Refusal(Failure):
    """The daemon answered with an error; `status` is HTTP's."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class BadUsage(Failure):
    """The command line is wrong; `bare` messages stand without the program's name, as Docker's."""

    def __init__(self, message: str, code: int, *, bare: bool, advice: str = "") -> None:
        super().__init__(message, code, advice=advice)
        self.bare = bare


def complain(message: str) -> None:
    """Tell the user what went wrong; for commands that go on with the rest."""
    sys.stdout.flush()
    sys.stderr.write(f"heft: {message}\n")
