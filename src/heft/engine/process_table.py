"""Processes as ps(1) shows them, of machines whose kernel is not the host's: it has no ps for them.

Of ps's options those are known that choose columns or all processes; columns have the names and the
titles that procps gives them (ps(1), "Standard format specifiers").
"""

from __future__ import annotations

import shlex
import time
from typing import TYPE_CHECKING

from heft.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from heft.model.process import GuestProcess

Column = tuple[str, "Callable[[GuestProcess], str]"]

_SECOND = 10**9
_DAY = 24 * 3600


def _clock(seconds: int) -> str:
    hours, rest = divmod(seconds, 3600)
    days, hours = divmod(hours, 24)
    shown = f"{hours:02}:{rest // 60:02}:{rest % 60:02}"
    return f"{days}-{shown}" if days else shown


def _elapsed(process: GuestProcess) -> int:
    return max(time.time_ns() - process.started, 0) // _SECOND


def _etime(process: GuestProcess) -> str:
    return _clock(_elapsed(process)).removeprefix("00:")


def _share(process: GuestProcess) -> str:
    elapsed = max(_elapsed(process), 1)
    return f"{100 * process.cpu / _SECOND / elapsed:.1f}"


def _begun(process: GuestProcess) -> str:
    form = "%H:%M" if _elapsed(process) < _DAY else "%b%d"
    return time.strftime(form, time.localtime(process.started / _SECOND))


def _minutes(process: GuestProcess) -> str:
    seconds = process.cpu // _SECOND
    return f"{seconds // 60}:{seconds % 60:02}"


COLUMNS: dict[str, Column] = {
    "pid": ("PID", lambda it: str(it.pid)),
    "ppid": ("PPID", lambda it: str(it.ppid)),
    "user": ("USER", lambda it: it.user or str(it.uid)),
    "uid": ("UID", lambda it: str(it.uid)),
    "uname": ("UID", lambda it: it.user or str(it.uid)),
    "c": ("C", lambda it: _share(it).partition(".")[0]),
    "pcpu": ("%CPU", _share),
    "stime": ("STIME", _begun),
    "start": ("START", _begun),
    "tty": ("TTY", lambda it: it.tty or "?"),
    "tt": ("TT", lambda it: it.tty or "?"),
    "time": ("TIME", lambda it: _clock(it.cpu // _SECOND)),
    "bsdtime": ("TIME", _minutes),
    "etime": ("ELAPSED", _etime),
    "etimes": ("ELAPSED", lambda it: str(_elapsed(it))),
    "stat": ("STAT", lambda it: it.state),
    "s": ("S", lambda it: it.state[:1]),
    "vsz": ("VSZ", lambda it: str(it.vsize >> 10)),
    "rss": ("RSS", lambda it: str(it.rss >> 10)),
    "comm": ("COMMAND", lambda it: it.name),
    "args": ("COMMAND", lambda it: it.command or f"[{it.name}]"),
    "cmd": ("CMD", lambda it: it.command or f"[{it.name}]"),
}
"""By specifier: the title, and what is under it."""
_SAME = {
    "%cpu": "pcpu",
    "command": "args",
    "cputime": "time",
    "euser": "user",
    "state": "s",
    "tname": "tty",
    "ucmd": "comm",
    "ucomm": "comm",
    "vsize": "vsz",
    "rssize": "rss",
    "start_time": "stime",
}
_PLAIN = ("pid", "tty", "time", "cmd")
_FULL = ("uname", "pid", "ppid", "c", "stime", "tty", "time", "cmd")
_BSD = ("user", "pid", "pcpu", "vsz", "rss", "tt", "stat", "start", "bsdtime", "args")
_ALL = frozenset("eAaxw")
"""Options that change nothing here: all processes of a machine are shown."""


def table(
    processes: Iterable[GuestProcess], arguments: str
) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
    """Give titles and rows; `arguments` are ps's, `-ef` if empty. Raises `InvalidArgument`."""
    columns = [_column(word) for word in _wanted(arguments or "-ef")]
    titles = tuple(title for title, _ in columns)
    rows = tuple(tuple(show(each) for _, show in columns) for each in processes)
    return titles, rows


def _column(word: str) -> Column:
    name, equals, title = word.partition("=")
    name = name.lower()
    found = COLUMNS.get(_SAME.get(name, name))
    if found is None:
        raise InvalidArgument(
            f"error running ps: unknown user-defined format specifier '{name}'",
            hint=f"of machines with a kernel of their own there are {', '.join(COLUMNS)}",
        )
    return (title, found[1]) if equals else found


def _wanted(arguments: str) -> Iterator[str]:
    """Give the columns that options ask for."""
    try:
        words = iter(shlex.split(arguments))
    except ValueError as error:
        raise InvalidArgument(f"invalid ps arguments '{arguments}': {error}") from error
    own: list[str] = []
    shown: tuple[str, ...] = _PLAIN
    for word in words:
        letters = word.removeprefix("-")
        while letters:
            letter, letters = letters[0], letters[1:]
            if letter == "o":
                own += (letters or next(words, "")).replace(",", " ").split()
                break
            if letter == "f":
                shown = _FULL
            elif letter == "u" and not word.startswith("-"):
                shown = _BSD
            elif letter not in _ALL or word.startswith("--"):
                raise InvalidArgument(
                    f"error running ps: unsupported option '{letter}' in '{arguments}'",
                    hint="of machines with a kernel of their own: -ef, aux, -eo COLUMN,…",
                )
    columns = own or shown
    if not any(_SAME.get(each, each).partition("=")[0] == "pid" for each in columns):
        raise InvalidArgument("Couldn't find PID field in ps output")
    yield from columns
