"""The files of a guest kit, and how they are made in a directory of their own.

A kernel, an initial file system, a disk of modules, and `kit.json`, which has a seal for each and
is written last. The modules that guests load first are kept, for initial file systems to come;
these have one seal together, which is looked at before one is made of them.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from heft.errors import NotSupported
from heft.failures import translated
from heft.guest import initramfs, module_disk, modules
from heft.guest.module_tree import BUILTIN
from heft.host import kept_files, seals
from heft.host.seals import Seal

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from heft.guest.kernels import Kernel

RECORD = "kit.json"
KERNEL, INITRAMFS, MODULES = "vmlinux", "initramfs", "modules.ext4"
_KEPT = "modules"


class KitRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What `kit.json` says."""

    package: str
    """Of its kernel; empty: it is somebody's own."""
    version: str
    release: str
    """`uname -r` of its kernel."""
    agent: str
    """sha256 of the agent in the initial file system."""
    kernel: Seal
    initramfs: Seal
    modules: Seal
    source: str = ""
    """The path that a kernel of somebody's own came from."""
    is_domain: bool = False
    """Whether its guests are paravirtual domains of Xen."""
    kept: str = ""
    """Of the modules that are kept; empty in kits of an earlier Heft, which did not say."""


@dataclass(frozen=True, slots=True)
class Origin:
    """What a kit is made of."""

    kernel: Kernel
    tree: Path
    """`…/lib/modules/RELEASE` with its modules, which is used up. One without a list of what is
    part of the kernel is for a kernel that needs no modules."""
    package: str = ""
    version: str = ""
    source: str = ""
    is_domain: bool = False


async def make(directory: Path, origin: Origin, agent: bytes) -> None:
    """Make a kit in a directory that is not there yet, and bring it to the disk.

    Raises `NotSupported` for modules that do not do, `NoSpace`, `HostError`.
    """
    await asyncio.to_thread(_begin, directory, origin)
    await module_disk.make(origin.tree, directory / MODULES)
    await asyncio.to_thread(_finish, directory, origin, agent)


def renew(directory: Path, record: KitRecord, agent: bytes) -> None:
    """Make the initial file system anew, with the agent that there is now.

    Killed in between, it is another one than `kit.json` says, and is made once more.
    """
    new = directory / f"{INITRAMFS}.new"
    with translated(f"renew {directory}"):
        new.write_bytes(_initramfs(agent, directory / _KEPT, is_domain=record.is_domain))
        changed = msgspec.structs.replace(
            record, agent=hashlib.sha256(agent).hexdigest(), initramfs=seals.seal(new)
        )
        if (directory / INITRAMFS).is_dir():
            kept_files.clear(directory / INITRAMFS)
        new.rename(directory / INITRAMFS)
        _write_record(directory, changed)


def has_module(directory: Path, name: str) -> bool:
    """Say whether guests of a kit load a module first, or need not; True where nothing is known."""
    kept = directory / _KEPT
    if (kept / f"{name}.ko").exists():
        return True
    try:
        builtin = kept_files.content(kept / BUILTIN).decode(errors="replace")
    except OSError:
        return True
    return name in modules.builtin_names(builtin)


def kept_damage(directory: Path, record: KitRecord) -> str:
    """Say what is wrong with the modules that an initial file system is made of; all are read."""
    try:
        found = _digest(directory / _KEPT)
    except OSError as error:
        return f"{_KEPT}: {(error.strerror or str(error)).lower()}"
    return "" if record.kept in ("", found) else f"{_KEPT}: its files have changed"


def sync(directory: Path) -> None:
    """Bring the names in a directory to the disk (fsync(2)). Raises `OSError`."""
    opened = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def _begin(directory: Path, origin: Origin) -> None:
    with translated("make a guest kit"):
        directory.mkdir(mode=0o700)
        (directory / KERNEL).write_bytes(origin.kernel.content)
        (directory / KERNEL).chmod(0o755)  # where it is a program
        _keep_modules(origin, directory / _KEPT)


def _finish(directory: Path, origin: Origin, agent: bytes) -> None:
    with translated("make a guest kit"):
        first = _initramfs(agent, directory / _KEPT, is_domain=origin.is_domain)
        (directory / INITRAMFS).write_bytes(first)
        record = KitRecord(
            package=origin.package,
            version=origin.version or origin.kernel.release,
            release=origin.kernel.release,
            agent=hashlib.sha256(agent).hexdigest(),
            kernel=seals.seal(directory / KERNEL),
            initramfs=seals.seal(directory / INITRAMFS),
            modules=seals.seal(directory / MODULES),
            source=origin.source,
            is_domain=origin.is_domain,
            kept=_digest(directory / _KEPT),
        )
        _write_record(directory, record)


def _digest(kept: Path) -> str:
    """Hash the names and the contents of the files in a directory. Raises `OSError`."""
    hashed = hashlib.sha256()
    for path in sorted(kept.iterdir()):
        digest = hashlib.sha256(kept_files.content(path)).hexdigest()
        hashed.update(f"{path.name} {digest}\n".encode())
    return hashed.hexdigest()


def _write_record(directory: Path, record: KitRecord) -> None:
    temporary = directory / f"{RECORD}.new"
    _write(temporary, msgspec.json.encode(record))
    temporary.rename(directory / RECORD)
    sync(directory)


def _write(path: Path, content: bytes) -> None:
    """Write a file, and bring it to the disk."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _keep_modules(origin: Origin, kept: Path) -> None:
    """Keep the modules that guests load, for initial file systems to come."""
    kept.mkdir()
    tree = origin.tree
    for stage in _wanted(tree, is_domain=origin.is_domain):
        for module in stage:
            _write(kept / f"{module.name}.ko", module.content)
    if (tree / BUILTIN).exists():
        _write(kept / BUILTIN, (tree / BUILTIN).read_bytes())
    sync(kept)


def _initramfs(agent: bytes, tree: Path, *, is_domain: bool) -> bytes:
    return initramfs.build(agent, *_wanted(tree, is_domain=is_domain))


def _wanted(
    tree: Path, *, is_domain: bool
) -> tuple[tuple[modules.Module, ...], tuple[modules.Module, ...]]:
    """Give the modules that a guest loads, of a tree; none where the kernel needs none."""
    if not (tree / BUILTIN).exists():
        return (), ()
    find, builtin = _finder(tree)
    try:
        return initramfs.wanted(find, builtin, is_domain=is_domain)
    except ValueError as error:
        raise NotSupported(f"the modules of this kernel do not do: {error}") from error


def _finder(tree: Path) -> tuple[Callable[[str], modules.Module | None], frozenset[str]]:
    """Give what finds a module in a tree, and the names of those that are part of the kernel."""
    paths = {modules.canonical(path.name): path for path in tree.rglob("*.ko")}

    def find(name: str) -> modules.Module | None:
        path = paths.get(name)
        return modules.read(name, path.read_bytes()) if path is not None else None

    return find, modules.builtin_names((tree / BUILTIN).read_text())
