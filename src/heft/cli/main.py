"""The `heft` command: finds what is asked for, and imports nothing else.

Exit statuses are Docker's: 125 for a command line that cannot be read and for a `run` that the
daemon refused, 126 and 127 for a command that cannot be executed or found, 1 for other errors, else
the machine's own.
"""

from __future__ import annotations

import gc
import os
import sys

from heft.cli import index
from heft.cli.command import Invocation, usage
from heft.cli.failures import BROKEN_PIPE, GENERAL, INTERRUPTED, REFUSED, BadUsage, Failure
from heft.cli.flags import FlagError, Given, HelpWanted, parse
from heft.cli.program import GLOBAL_FLAGS, PROGRAM, load

FEW_COLLECTIONS = 100_000
"""Objects that come to be before the garbage collector looks at them: a long list is none."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from heft.cli.command import Command


def main() -> NoReturn:
    """Run the command that this process was called as, and end with its exit status.

    The interpreter's own clean-up is left out: it takes longer than many a command.
    """
    gc.set_threshold(FEW_COLLECTIONS)
    _open_standard_streams()
    code = outcome(sys.argv[1:])
    sys.stderr.flush()
    os._exit(code)


def _open_standard_streams() -> None:
    """Put /dev/null where a standard stream is closed, lest the daemon's socket take its place."""
    for descriptor, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(descriptor)
        except OSError:
            # The lowest that is free: this one.
            os.open(os.devnull, os.O_RDWR)
            mode = "w" if descriptor else "r"
            setattr(sys, name, os.fdopen(descriptor, mode, closefd=False))


def outcome(arguments: list[str]) -> int:
    """Run a command; give the exit status, with all said that is to be said."""
    try:
        code = run(arguments)
        sys.stdout.flush()
    except Failure as failure:
        return report(failure)
    except BrokenPipeError:
        # Whoever read the output has enough; nothing more can be said on it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return BROKEN_PIPE
    except KeyboardInterrupt:
        return INTERRUPTED
    except OSError as error:
        return report(Failure(error.strerror or str(error)))
    except SystemExit as ending:
        return ending.code if isinstance(ending.code, int) else GENERAL
    return code


def report(failure: Failure) -> int:
    """Tell the user what went wrong; give the exit status."""
    sys.stdout.flush()
    bare = isinstance(failure, BadUsage) and failure.bare
    message = failure.message if bare else f"{PROGRAM}: {failure.message}"
    advice = f"\n\n{failure.advice}" if failure.advice else ""
    sys.stderr.write(f"{message}{advice}\n")
    return failure.code


def run(arguments: list[str]) -> int:
    """Do what the arguments say. Raises `Failure`."""
    try:
        daemon, words = parse(GLOBAL_FLAGS, arguments, interspersed=False)
    except HelpWanted:
        return _help(())
    except FlagError as error:
        advice = (
            f"Usage:  {PROGRAM} [OPTIONS] COMMAND\n\nRun '{PROGRAM} --help' for more information"
        )
        raise BadUsage(str(error), REFUSED, bare=True, advice=advice) from None
    if daemon.on("version"):
        from heft import __version__

        sys.stdout.write(f"Heft version {__version__}\n")
        return 0
    if not words:
        return _help(())
    if words[0] == "help":
        return _help(tuple(words[1:]))
    return _dispatch(daemon, words)


def _dispatch(daemon: Given, words: list[str]) -> int:
    first = index.GROUP_ALIASES.get(words[0], words[0])
    if first in index.GROUPS:
        if len(words) == 1 or words[1] in ("--help", "-h"):
            return _help((words[0],))
        called, rest = tuple(words[:2]), words[2:]
    else:
        called, rest = (words[0],), words[1:]
    path = index.resolve(index.path_of(called))
    if not path:
        raise _unknown(called)
    return execute((PROGRAM, *called), load(path), rest, daemon)


def _unknown(called: tuple[str, ...]) -> BadUsage:
    group = " ".join((PROGRAM, *called[:-1]))
    shown = f"Usage:  {group}\n\n" if len(called) > 1 else ""
    return BadUsage(
        f"unknown command: {PROGRAM} {' '.join(called)}",
        GENERAL,
        bare=False,
        advice=f"{shown}Run '{group} --help' for more information",
    )


def execute(words: tuple[str, ...], command: Command, rest: list[str], daemon: Given) -> int:
    """Run a command with the arguments behind its name."""
    name = " ".join(words)
    more = f"'{name} --help' for more information"
    if command.own_flags:
        return command.run(Invocation(words, Given(()), rest, daemon))
    try:
        flags, arguments = parse(command.flags, rest, interspersed=command.interspersed)
    except HelpWanted:
        return _help(words[1:])
    except FlagError as error:
        advice = f"{usage(words, command)}\n\nRun {more}"
        raise BadUsage(str(error), REFUSED, bare=True, advice=advice) from None
    if wrong := command.check(len(arguments)):
        advice = f"{usage(words, command)}\n\nSee {more}"
        raise BadUsage(f"'{name}' {wrong}", GENERAL, bare=False, advice=advice)
    try:
        return command.run(Invocation(words, flags, arguments, daemon))
    except Failure as failure:
        if command.refused != GENERAL and failure.code == GENERAL:
            failure.code = command.refused
        if command.refused != GENERAL and not failure.advice:
            failure.advice = f"Run {more}"
        raise


def _help(words: tuple[str, ...]) -> int:
    from heft.cli import help as pages

    return pages.show(words)


if __name__ == "__main__":
    main()
