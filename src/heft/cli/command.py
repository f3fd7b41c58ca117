"""What a command is: its flags, what it takes, and the function that does it."""

from __future__ import annotations

import os

from heft.cli.failures import Refusal, complain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from heft.cli.client import Client
    from heft.cli.flags import Flag, Given


class Invocation:
    """One use of a command: its flags, its arguments, and the daemon to talk to.

    `words` is how it was called, the program's name first.
    """

    def __init__(
        self, words: tuple[str, ...], flags: Given, arguments: list[str], daemon: Given
    ) -> None:
        self.words = words
        self.flags = flags
        self.arguments = arguments
        self._daemon = daemon
        self._client: Client | None = None

    @property
    def client(self) -> Client:
        """Give the client of the daemon that the global flags name."""
        if self._client is None:
            from heft.cli.address import find
            from heft.cli.client import Client

            self._client = Client(find(self._daemon, os.environ))
        return self._client


class Command:
    """One command.

    `takes` is what help shows behind its name; it takes from `least` to `most` arguments, any
    number where `most` is None. Where flags are not `interspersed`, those behind the first argument
    are not the command's own. With `own_flags` it reads its flags itself. `refused` is the exit
    status of errors.
    """

    __slots__ = ("flags", "interspersed", "least", "most", "own_flags", "refused", "run", "takes")

    def __init__(
        self,
        run: Callable[[Invocation], int],
        *,
        takes: str = "",
        flags: tuple[Flag, ...] = (),
        least: int = 0,
        most: int | None = 0,
        interspersed: bool = True,
        own_flags: bool = False,
        refused: int = 1,
    ) -> None:
        self.run = run
        self.takes = takes
        self.flags = flags
        self.least = least
        self.most = most
        self.interspersed = interspersed
        self.own_flags = own_flags
        self.refused = refused

    def check(self, count: int) -> str:
        """Say what is wrong with a number of arguments, in Docker's words; empty if nothing is."""
        if count < self.least:
            exact = "" if self.most == self.least else "at least "
            return f"requires {exact}{self.least} argument{'s' * (self.least != 1)}"
        if self.most is None or count <= self.most:
            return ""
        if self.most == 0:
            return "accepts no arguments"
        bound = "" if self.most == self.least else "at most "
        return f"requires {bound}{self.most} argument{'s' * (self.most != 1)}"


def usage(words: tuple[str, ...], command: Command) -> str:
    """Give the line that shows how it is used."""
    options = ["[OPTIONS]"] if command.flags else []
    return " ".join(["Usage: ", *words, *options, *([command.takes] if command.takes else [])])


def each(names: list[str], act: Callable[[str], Any], tell: Callable[[str], None] = print) -> int:
    """Do something to each of several things; tell the names of those where it went well.

    The errors of the others go to standard error; the exit status is 1 if there was one.
    """
    code = 0
    for name in names:
        try:
            act(name)
        except Refusal as refusal:
            complain(refusal.message)
            code = 1
        else:
            tell(name)
    return code
