"""A kernel's modules as a directory of plain files, of a tree that somebody else has made.

Such a tree is `…/lib/modules/RELEASE` of a host or of `make modules_install`; its files may be
compressed. Only regular files that have to do with modules are taken.
"""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

from heft.errors import InvalidArgument
from heft.guest import modules
from heft.images.compression import LONGEST_MAGIC, Compression, detect
from heft.images.decompression import Decompressor

if TYPE_CHECKING:
    from pathlib import Path

BUILTIN = "modules.builtin"
"""The list of what is part of the kernel itself (modules.builtin, kbuild)."""
MOST = 2 << 30
"""Bytes that all modules may have, decompressed."""
_LISTS = (BUILTIN, "modules.builtin.modinfo", "modules.order")
"""What depmod(8) reads besides the modules."""


def place(tree: Path, release: str) -> Path | None:
    """Find the modules of a kernel in the tree of a package."""
    for found in (tree / "lib/modules" / release, tree / "usr/lib/modules" / release):
        if found.is_dir():
            return found
    return None


def copy(given: Path, release: str, target: Path) -> None:
    """Copy the modules of a kernel, decompressed, to `target`, which must not be there.

    `given` is `…/lib/modules/RELEASE`, or the directory that `lib/modules` is in. Raises
    `InvalidArgument` where they are no modules of this kernel; `OSError`.
    """
    try:
        source = place(given, release) or given
        there = (source / BUILTIN).is_file()
    except OSError:  # what is no path at all
        there = False
    if not there:
        raise InvalidArgument(
            f"{given} has no modules of the kernel {release}: there is no {BUILTIN}",
            hint="make modules_install INSTALL_MOD_PATH=DIRECTORY, or /lib/modules/RELEASE",
        )
    target.mkdir(parents=True)
    for name in _LISTS:
        if (source / name).is_file():
            shutil.copyfile(source / name, target / name)
    left, checked = MOST, False
    for directory, _, names in os.walk(source / "kernel"):
        for name in sorted(names):
            path = source / directory / name
            if not name.endswith(modules.SUFFIXES) or path.is_symlink() or not path.is_file():
                continue
            content = _read(path, left)
            if not checked:
                _check_version(path, content, release)
                checked = True
            left -= len(content)
            new = target / path.relative_to(source).with_name(f"{name.partition('.ko')[0]}.ko")
            new.parent.mkdir(parents=True, exist_ok=True)
            new.write_bytes(content)


def _read(path: Path, most: int) -> bytes:
    """Read a module, decompressed."""
    with path.open("rb") as file:
        raw = file.read(most + 1)
    kind = detect(raw[:LONGEST_MAGIC])
    content = bytearray()
    try:
        if kind is Compression.NONE:
            content += raw
        else:
            decompressor = Decompressor(kind)
            for piece in decompressor.feed(raw):
                content += piece
                if len(content) > most:
                    break
            else:
                decompressor.end()
    except ValueError as error:
        raise InvalidArgument(f"{path}: {error}") from error
    if len(content) > most:
        raise InvalidArgument(f"modules of more than {MOST >> 20} MiB", hint="strip them")
    return bytes(content)


def _check_version(path: Path, content: bytes, release: str) -> None:
    """Raise `InvalidArgument` for a module of another kernel (`vermagic`, linux/vermagic.h)."""
    try:
        said = dict(modules.information(content)).get("vermagic", release)
    except ValueError as error:
        raise InvalidArgument(f"{path}: {error}") from error
    if said.split(" ")[0] != release:
        raise InvalidArgument(f"{path} is for the kernel {said.split(' ')[0]}, not {release}")
