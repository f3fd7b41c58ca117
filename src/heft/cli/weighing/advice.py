"""Which weight suits a workload on this host, and why, in plain words. Pure."""

from __future__ import annotations

from heft.cli.weighing.figures import COMMAND, MEASURES, NATIVE, slower, times

TYPE_CHECKING = False
if TYPE_CHECKING:
    from heft.cli.weighing.figures import Column

_BY_NAME = {each.name: each for each in (*MEASURES, COMMAND)}
_HOSTS_KERNEL = "light"
NEARLY = 1.15
"""Times as long that nobody would notice."""


def advise(columns: list[Column]) -> str:
    """Say it, out of nothing but what was measured."""
    native = columns[0]
    found = [col for col in columns if col.values and col.weight != NATIVE]
    usual = [column for column in found if not column.platform] or found
    # Seconds of the user's command are no factors: where it ran nowhere else, nothing else counts.
    usual = [column for column in usual if COMMAND.name in column.values] or usual
    if not usual:
        return "No weight of this host runs it: the reasons are above."
    best = min(usual, key=lambda column: _cost(column, native))
    said = [_best(best, native, usual)]
    shielded = [col for col in usual if col.weight != _HOSTS_KERNEL and col is not best]
    if best.weight == _HOSTS_KERNEL and shielded:
        said.append(_shielded(min(shielded, key=lambda col: _cost(col, native)), best))
    return " ".join(said)


def _cost(column: Column, native: Column) -> float:
    """Give what to choose by: the user's command if there is one, else all kinds of work."""
    return column.values.get(COMMAND.name) or slower(column, native)


def _best(best: Column, native: Column, others: list[Column]) -> str:
    if COMMAND.name in best.values:
        taken = COMMAND.shown(best.values[COMMAND.name])
        rest = ", ".join(
            f"{COMMAND.shown(col.values[COMMAND.name])} at {col.weight}"
            for col in others
            if col is not best and COMMAND.name in col.values
        )
        return f"Take {best.weight}: your command takes {taken} there" + (
            f", and {rest}." if rest else "."
        )
    factor = slower(best, native)
    near = (
        "as fast as native" if factor <= NEARLY else f"{times(factor)[:-2]} times as slow as native"
    )
    return f"Take {best.weight}: over all kinds of work measured it is {near} here."


def _shielded(column: Column, best: Column) -> str:
    """Say what a kernel of its own costs, and where it costs most and least."""
    worse = {
        name: _BY_NAME[name].worse(column.values[name], best.values[name])
        for name in ("cpu", "syscall", "fork", "write", "read", "network", COMMAND.name)
        if column.values.get(name) and best.values.get(name)
    }
    told = f"If its code is not to reach the host's kernel, take {column.weight}"
    start = column.values.get("warm")
    if start is not None:
        told += f": it starts in {_BY_NAME['warm'].shown(start)}"
    if memory := column.values.get("memory"):
        told += f", takes {_BY_NAME['memory'].shown(memory)} of the host"
    if not worse:
        return f"{told}."
    most, least = max(worse, key=lambda name: worse[name]), min(worse, key=lambda name: worse[name])
    told += f", and of all work loses most at {_word(most)} ({times(worse[most])})"
    if least != most:
        told += f" and least at {_word(least)} ({times(worse[least])})"
    return f"{told}, beside {best.weight}."


def _word(name: str) -> str:
    return {
        "cpu": "computing",
        "syscall": "system calls",
        "fork": "forking",
        "write": "writing",
        "read": "reading",
        "network": "the network",
        COMMAND.name: "your command",
    }[name]
