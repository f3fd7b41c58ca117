"""Every error that Heft raises on purpose.

HeftError
├── InvalidArgument      the request itself is wrong
├── NotFound             no such machine, image, network, volume, exec
├── Conflict             the name is taken, the state forbids it, it is in use
│   └── AlreadyInState   nothing to do: it is so already
├── Unauthorized         who asks is not known, or not trusted with it
├── Forbidden            understood, and refused for good
├── NotSupported         Heft does not do this, or not on this host
├── Unavailable          Heft is starting or stopping
├── StartFailed          the workload could not be started
└── HostError            the kernel or a tool refused
    ├── ToolFailed       a program ended with an error
    ├── NoSpace          a file system is full, or read-only
    └── OutcomeUnknown   the answer was lost; it may have happened

Libraries raise these; `heft.api` maps them to HTTP statuses and `heft.cli` to exit codes, each in
one place. A message names the thing, what is wrong with it, and (`hint`) what to do.
"""

from __future__ import annotations


class HeftError(Exception):
    """The root of all errors that are meant to be read by a user.

    `message` says what is wrong and with which thing; `hint`, where there is something to do about
    it, says what. Both are whole sentences without a final full stop, as Docker's are. As text it
    is fit to be shown: the names of files in it may be others' choice.
    """

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return shown(f"{self.message} ({self.hint})" if self.hint else self.message)


class InvalidArgument(HeftError):
    """A value that is never acceptable, whatever the state of the host."""


class NotFound(HeftError):
    """Nothing has this name or id."""


class Conflict(HeftError):
    """The state of things forbids it now."""


class AlreadyInState(Conflict):
    """What was asked for is already so; nothing was done."""


class Unauthorized(HeftError):
    """Who asks is not known, or not trusted with this."""


class Forbidden(HeftError):
    """The request is understood and refused for good."""


class NotSupported(HeftError):
    """Heft does not do this, or cannot on this host."""


class Unavailable(HeftError):
    """The daemon cannot serve this now."""


class StartFailed(HeftError):
    """The workload could not be started.

    `exit_code` is what a shell would report: 126 for a file that cannot be executed, 127 for one
    that is not there, 128 where the runtime itself refused.
    """

    def __init__(self, message: str, *, exit_code: int, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.exit_code = exit_code


class HostError(HeftError):
    """The kernel or a tool refused what should have worked."""


class ToolFailed(HostError):
    """A program that Heft started ended with an error.

    `command` is its argument vector, `status` its exit code (negative: the signal that ended it),
    `stderr` what it printed there.
    """

    def __init__(self, command: tuple[str, ...], status: int, stderr: str) -> None:
        says = stderr.strip() or f"exit status {status}"
        super().__init__(f"{command[0]}: {says}")
        self.command = command
        self.status = status
        self.stderr = stderr


class NoSpace(HostError):
    """A file system has no room left, or takes no writes."""


class OutcomeUnknown(HostError):
    """The answer was lost: what was asked may or may not have happened."""


def shown(text: str) -> str:
    """Give a text in which what controls a terminal is written out, but for the ends of lines."""
    if text.isprintable():
        return text
    return "".join(
        each if each.isprintable() or each == "\n" else each.encode("unicode_escape").decode()
        for each in text
    )


def plain(text: str, most: int = 1000) -> str:
    """Give others' words as they can be shown: in one line, bounded, without a terminal's codes."""
    return "".join(each if each.isprintable() else " " for each in text[:most]).strip()
