"""The program's name and its own flags, and how a command's module is found."""

from __future__ import annotations

import sys

from heft.cli.flags import Flag, switch, word
from heft.cli.index import COMMANDS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from heft.cli.command import Command

PROGRAM = "heft"

GLOBAL_FLAGS: tuple[Flag, ...] = (
    word("host", "Daemon to connect to (unix://PATH or tcp://HOST:PORT)", "H"),
    word("tlscacert", "Trust certs signed only by this CA"),
    word("tlscert", "Path to TLS certificate file"),
    word("tlskey", "Path to TLS key file"),
    switch("tlsverify", "Use TLS and verify the remote; always so on tcp://"),
    switch("version", "Print version information and quit", "v"),
)


def load(path: str) -> Command:
    """Import a command's module, and give the command."""
    module, _, name = COMMANDS[path][0].partition(":")
    place = f"heft.cli.commands.{module}"
    # What importlib.import_module does, without importing importlib.
    __import__(place)
    command: Command = getattr(sys.modules[place], name)
    return command
