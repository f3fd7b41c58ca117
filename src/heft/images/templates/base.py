"""Templates: what can make a root file system out of nothing but this host and its archives.

A template is an object of the entry-point group `heft.templates` (packaging.python.org,
"Entry points"); the name of the entry point is what `heft bootstrap NAME` takes. To add one, a
package declares::

    [project.entry-points."heft.templates"]
    alpine = "my_package:Alpine"
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from heft.errors import InvalidArgument

if TYPE_CHECKING:
    from pathlib import Path

Report = Callable[[str], None]
"""Told what is being done now, in a few words."""


@dataclass(frozen=True, slots=True)
class Option:
    """Something a user can choose: by name, or in place (`heft bootstrap debian bookworm`)."""

    name: str
    help: str
    positional: bool = False
    many: bool = False


@dataclass(frozen=True, slots=True)
class Choices:
    """What a user chose, checked against the template's options."""

    values: Mapping[str, tuple[str, ...]]

    def text(self, name: str, default: str = "") -> str:
        """Give the value of an option that takes one."""
        given = self.values.get(name, ())
        return given[-1] if given else default

    def texts(self, name: str) -> tuple[str, ...]:
        """Give all values; commas separate values too."""
        return tuple(
            part.strip()
            for value in self.values.get(name, ())
            for part in value.split(",")
            if part.strip()
        )


@dataclass(frozen=True, slots=True)
class Built:
    """A root file system: a tar, and how machines of it start.

    `changes` are instructions of a Dockerfile (as of `import --change`); `names` the references the
    image gets unless the user gives one; `created` is RFC 3339, empty for now.
    """

    tar: AsyncGenerator[bytes, None]
    changes: tuple[str, ...]
    names: tuple[str, ...]
    comment: str
    created: str = ""
    platform: str = ""
    """As `os/architecture[/variant]`; empty: the host's."""


class Template(Protocol):
    """A way to make images."""

    @property
    def summary(self) -> str:
        """Say in a few words what it makes."""
        ...

    @property
    def options(self) -> tuple[Option, ...]:
        """Say what a user can choose."""
        ...

    async def build(self, choices: Choices, workplace: Path, report: Report) -> Built:
        """Begin to make a root file system.

        `workplace` is an empty directory that is removed afterwards. The tar is read to its end, or
        closed (`aclose`), which must end every process that makes it. Raises `InvalidArgument` for
        a bad choice, `NotSupported` where the host lacks something, `ToolFailed`.
        """
        ...


def choose(template: Template, name: str, given: Mapping[str, str | Sequence[str]]) -> Choices:
    """Check a user's choices. Raises `InvalidArgument`."""
    known = {option.name: option for option in template.options}
    values = {}
    for key, value in given.items():
        if key not in known:
            there = ", ".join(known) or "none"
            raise InvalidArgument(f"template {name} has no option {key}", hint=f"it has: {there}")
        values[key] = (value,) if isinstance(value, str) else tuple(value)
        if len(values[key]) > 1 and not known[key].many:
            raise InvalidArgument(f"option {key} of template {name} takes one value")
    return Choices(values)
