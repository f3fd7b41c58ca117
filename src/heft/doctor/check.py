"""What a check is, what it may find, and which kinds of machines there are to check for."""

from __future__ import annotations

import os
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

LIGHT = "light"
MEDIUM = "medium"
HEAVY = "heavy"
FOREIGN = "foreign"

WEIGHTS = {
    LIGHT: "machines on this host's kernel",
    MEDIUM: "machines on a kernel that is a process (User Mode Linux, Xen)",
    HEAVY: "machines on hardware of their own (QEMU)",
    FOREIGN: "machines of another architecture",
}
"""All that can be asked for, and what it is."""

BUILDS_ON = {FOREIGN: LIGHT}
"""What can run only where the other can."""

ALL = frozenset(WEIGHTS)
OWN_KERNEL = frozenset({MEDIUM, HEAVY})


class State(Enum):
    """What a probe found."""

    THERE = "there"
    LACKING = "lacking"
    UNKNOWN = "unknown"


class Kind(Enum):
    """What a check looks at; they are shown in this order."""

    KERNEL = "kernel"
    TOOL = "tool"
    LIMIT = "limit"
    FILE = "file"


@dataclass(frozen=True, slots=True)
class Finding:
    """The answer of a probe; `detail` is a few words: a version, a number, or what was refused."""

    state: State
    detail: str = ""


def there(detail: str = "") -> Finding:
    """Say that it is there."""
    return Finding(State.THERE, detail)


def lacking(detail: str = "") -> Finding:
    """Say that it is not there."""
    return Finding(State.LACKING, detail)


def unknown(detail: str) -> Finding:
    """Say that it cannot be told, and why."""
    return Finding(State.UNKNOWN, detail)


@dataclass(frozen=True, slots=True)
class Host:
    """Where probes look for files; another root than `/` is for tests of what reads files."""

    root: Path = Path("/")
    data: str = "/var/lib/heft"
    machine: str = os.uname().machine
    """The architecture, as uname(2) has it."""
    release: str = os.uname().release

    def path(self, name: str) -> Path:
        """Give the place of a file of the host."""
        return self.root / name.lstrip("/")

    def text(self, name: str) -> str:
        """Read a file of the host; empty if there is none or it cannot be read."""
        try:
            return self.path(name).read_text(encoding="utf-8", errors="replace")
        except OSError:
            return ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing that machines need, or are better with."""

    name: str
    kind: Kind
    probe: Callable[[Host], Finding]
    required: frozenset[str] = frozenset()
    """The weights that cannot run without it."""
    helps: frozenset[str] = frozenset()
    """The weights that can, but worse."""
    lack: str
    """What its lack costs."""
    remedy: str
    """What to do or install."""


@dataclass(frozen=True, slots=True)
class Result:
    """A check and what it found."""

    check: Check
    finding: Finding

    def stops(self, weight: str) -> bool:
        """Say whether the weight cannot be known to run because of this."""
        return weight in self.check.required and self.finding.state is not State.THERE

    def concerns(self, weight: str) -> bool:
        """Say whether the weight has anything to do with it."""
        return weight in self.check.required or weight in self.check.helps


def weights(*names: str) -> frozenset[str]:
    """Give a set of weights."""
    return frozenset(names)
