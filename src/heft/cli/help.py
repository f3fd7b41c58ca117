"""Pages of help in the layout of Docker's."""

from __future__ import annotations

import shutil
import sys
import textwrap

from heft.cli import index
from heft.cli.command import usage
from heft.cli.failures import GENERAL, BadUsage
from heft.cli.program import GLOBAL_FLAGS, PROGRAM, load

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from heft.cli.flags import Flag

LEAST_COLUMNS = 24
"""Fewer are not worth wrapping a text into (pflag, `wrap`)."""


def show(words: tuple[str, ...]) -> int:
    """Print the page of a command, a group, or of everything; the exit status is 0.

    Raises `BadUsage` for what does not exist.
    """
    sys.stdout.write(page(words, shutil.get_terminal_size().columns) + "\n")
    return 0


def page(words: tuple[str, ...], columns: int) -> str:
    """Give a page, for a terminal of so many columns."""
    if not words:
        return _everything(columns)
    path = index.path_of(words)
    group = index.GROUP_ALIASES.get(path, path)
    if group in index.GROUPS:
        return _group(words[0], group)
    found = index.resolve(path)
    if not found:
        raise BadUsage(f"unknown help topic: {' '.join(words)}", GENERAL, bare=True)
    return _command(words, found, columns)


def _everything(columns: int) -> str:
    top = {path: entry[1] for path, entry in index.COMMANDS.items() if " " not in path}
    common = {name: top.pop(name) for name in index.COMMON}
    parts = [
        f"Usage:  {PROGRAM} [OPTIONS] COMMAND",
        "One engine for every weight of virtualization",
        "Common Commands:\n" + _listing(common),
        "Management Commands:\n" + _listing(index.GROUPS),
        "Commands:\n" + _listing(top),
        "Global Options:\n" + options(GLOBAL_FLAGS, columns),
        f"Run '{PROGRAM} COMMAND --help' for more information on a command.",
    ]
    return "\n\n".join(parts)


def _group(called: str, group: str) -> str:
    parts = [
        f"Usage:  {PROGRAM} {called} COMMAND",
        index.GROUPS[group],
        "Commands:\n" + _listing(index.members(group)),
        f"Run '{PROGRAM} {called} COMMAND --help' for more information on a command.",
    ]
    return "\n\n".join(parts)


def _command(words: tuple[str, ...], path: str, columns: int) -> str:
    command = load(path)
    parts = [usage((PROGRAM, *words), command), index.COMMANDS[path][1]]
    names = index.names_of(path)
    if len(names) > 1:
        parts.append("Aliases:\n  " + ", ".join(f"{PROGRAM} {name}" for name in names))
    if command.flags:
        parts.append("Options:\n" + options(command.flags, columns))
    return "\n\n".join(parts)


def _listing(entries: Mapping[str, str]) -> str:
    width = max(11, *(len(name) for name in entries))
    return "\n".join(f"  {name:{width}} {about}" for name, about in entries.items())


def options(flags: Iterable[Flag], columns: int) -> str:
    """Give the list of flags, wrapped."""
    rows = []
    for flag in sorted(flags, key=lambda each: each.name):
        short = f"  -{flag.short}, " if flag.short else "      "
        rows.append((f"{short}--{flag.name} {flag.kind}".rstrip(), _about(flag)))
    indent = max(len(head) for head, _ in rows) + 3
    return "\n".join(_row(head, about, indent, columns) for head, about in rows)


def _about(flag: Flag) -> str:
    return f"{flag.about} (default {flag.shown})" if flag.shown else flag.about


def _row(head: str, about: str, indent: int, columns: int) -> str:
    lines = [
        wrapped
        for line in about.split("\n")
        for wrapped in textwrap.wrap(line, max(columns - indent, LEAST_COLUMNS)) or [""]
    ]
    return f"{head:{indent}}" + f"\n{' ' * indent}".join(lines)
