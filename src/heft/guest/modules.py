"""Kernel modules: what one says of itself, and in which order some have to be loaded.

A module is a relocatable ELF file whose section `.modinfo` holds `key=value` texts, each ended by a
zero byte (the kernel's include/linux/moduleparam.h and module.h); `depends=` names the modules
whose symbols it uses, separated by commas. Hyphens and underscores in names mean the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING

from heft.host import elf

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator

SUFFIXES = (".ko", ".ko.xz", ".ko.zst", ".ko.gz")
"""Names of files that hold a module; the kernel's build may compress them."""


@dataclass(frozen=True, slots=True)
class Module:
    """A module: its name as the kernel has it, and the names of those that it needs."""

    name: str
    depends: tuple[str, ...]
    content: bytes


class MissingModule(ValueError):
    """A module is needed and not there."""

    def __init__(self, name: str, needed_by: str) -> None:
        super().__init__(f"there is no module {name}" + (f" for {needed_by}" if needed_by else ""))
        self.name = name
        self.needed_by = needed_by


def canonical(name: str) -> str:
    """Give a module's name as the kernel writes it, of a name or the path of its file."""
    return PurePath(name).name.partition(".ko")[0].replace("-", "_")


def information(content: bytes) -> Iterator[tuple[str, str]]:
    """Give what a module says of itself. Raises `ValueError` for what is no module."""
    found = elf.section(content, b".modinfo")
    if found is None:
        raise ValueError("not a kernel module")
    for text in found.split(b"\0"):
        key, equals, value = text.decode(errors="replace").partition("=")
        if equals:
            yield key, value


def read(name: str, content: bytes) -> Module:
    """Read a module. Raises `ValueError` for what is none."""
    depends: tuple[str, ...] = ()
    for key, value in information(content):
        if key == "depends":
            depends = tuple(canonical(each) for each in value.split(",") if each)
    return Module(canonical(name), depends, content)


def in_order(
    wanted: Iterable[str], find: Callable[[str], Module | None], builtin: Collection[str]
) -> tuple[Module, ...]:
    """Give modules so that each stands behind all that it needs, else in the order wanted.

    `find` gives a module by its canonical name; what is `builtin` needs no loading. Raises
    `MissingModule`, and `ValueError` for modules that need each other.
    """
    ordered: dict[str, Module] = {}

    def add(name: str, trail: tuple[str, ...]) -> None:
        if name in ordered or name in builtin:
            return
        if name in trail:
            raise ValueError(f"modules need each other: {' → '.join((*trail, name))}")
        module = find(name)
        if module is None:
            raise MissingModule(name, trail[-1] if trail else "")
        for other in module.depends:
            add(other, (*trail, name))
        ordered[name] = module

    for each in wanted:
        add(canonical(each), ())
    return tuple(ordered.values())


def builtin_names(listing: str) -> frozenset[str]:
    """Read `modules.builtin`: a path a line, of what is part of the kernel itself."""
    return frozenset(canonical(line) for line in listing.splitlines() if line.strip())
