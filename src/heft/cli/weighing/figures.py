"""What is measured, and how it reads. Pure."""

from __future__ import annotations

import math

from heft.cli.human import binary_size, size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

NATIVE = "native"


class Measure:
    """One thing that is measured: its name in results, its title, its unit."""

    def __init__(self, name: str, title: str, unit: str, *, more_is_better: bool = False) -> None:
        self.name = name
        self.title = title
        self.unit = unit
        self.more_is_better = more_is_better

    def shown(self, value: float) -> str:
        """Give a value as people read it."""
        if self.unit == "s":
            digits = 1 if value < 0.01 else 0
            return f"{value * 1000:.{digits}f} ms" if value < 10 else f"{value:.1f} s"
        if self.unit == "B":
            return binary_size(value, 3)
        if self.unit == "B/s":
            return f"{size(value)}/s"
        if self.unit == "ns":
            return f"{value:.0f} ns" if value < 10_000 else f"{value / 1000:.1f} µs"
        return f"{value:.0f} {self.unit}" if self.unit else f"{value / 1e6:.0f} M/s"

    def worse(self, value: float, native: float) -> float:
        """Say how many times worse than native a value is; below 1 it is better."""
        return native / value if self.more_is_better else value / native


MEASURES = (
    Measure("cold", "first instruction, cold", "s"),
    Measure("warm", "first instruction, warm", "s"),
    Measure("memory", "memory on the host (PSS)", "B"),
    Measure("cpu", "computing", "", more_is_better=True),
    Measure("syscall", "a system call", "ns"),
    Measure("fork", "fork and exit", "µs"),
    Measure("write", "writing, with fsync", "B/s", more_is_better=True),
    Measure("read", "reading it again", "B/s", more_is_better=True),
    Measure("network", "to the host by TCP", "B/s", more_is_better=True),
)
COMMAND = Measure("command", "your command, whole", "s")
WORK = ("cpu", "syscall", "fork", "write", "read", "network")
"""What tells how a workload that runs already fares."""


class Column:
    """Where it was measured: `native`, or a weight (and a platform that is not the host's).

    `values` are by the measures' names; `why` says why there are none.
    """

    def __init__(self, weight: str, platform: str = "", detail: str = "") -> None:
        self.weight = weight
        self.platform = platform
        self.detail = detail
        self.values: dict[str, float] = {}
        self.why = ""

    @property
    def name(self) -> str:
        """Give what stands above it."""
        return f"{self.weight} {self.platform.removeprefix('linux/')}".strip()

    def record(self) -> dict[str, Any]:
        """Give it for a program to read: seconds, bytes, nanoseconds (syscall), µs (fork)."""
        known = {"weight": self.weight, "platform": self.platform, "detail": self.detail}
        return {**known, "why": self.why, "values": self.values}


def measured(columns: list[Column]) -> tuple[Measure, ...]:
    """Give what there is a value of anywhere."""
    return tuple(
        each for each in (*MEASURES, COMMAND) if any(each.name in col.values for col in columns)
    )


def slower(column: Column, native: Column, names: tuple[str, ...] = WORK) -> float:
    """Give how many times worse than native a column is at some things: the geometric mean."""
    found = [
        math.log(each.worse(column.values[each.name], native.values[each.name]))
        for each in MEASURES
        if each.name in names and column.values.get(each.name) and native.values.get(each.name)
    ]
    return math.exp(sum(found) / len(found)) if found else math.inf


def table(columns: list[Column]) -> list[list[str]]:
    """Give the rows of the table, titles first."""
    native = columns[0]
    rows = [["", *(column.name for column in columns)]]
    for each in measured(columns):
        row = [each.title]
        for column in columns:
            value = column.values.get(each.name)
            row.append("-" if value is None else _cell(each, value, native, column))
        rows.append(row)
    return rows


def _cell(measure: Measure, value: float, native: Column, column: Column) -> str:
    base = native.values.get(measure.name)
    if column is native or not base or not value or measure.name not in WORK:
        return measure.shown(value)
    return f"{measure.shown(value)} ({times(measure.worse(value, base))})"


def times(factor: float) -> str:
    """Give a factor as people read it."""
    if factor >= 9.95:
        return f"{factor:.0f} x"
    return f"{factor:.1f} x" if factor >= 1.95 else f"{factor:.2f} x"
