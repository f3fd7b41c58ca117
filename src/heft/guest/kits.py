"""Guest kits: what a weight with a kernel of its own starts with.

A kit is a kernel, an initial file system with the agent and the modules that it loads, and a disk
of the others. It is made of a package of the distribution on first need, in the directory
KITS/NAME, and kept there with a seal for each file: one that is damaged is made again. When the
agent is another one, so is the initial file system, made of the modules that were kept.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import lzma
import re
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from heft.errors import HostError, NotFound, NotSupported
from heft.failures import translated
from heft.faults import reach
from heft.guest import initramfs, kernel_packages, module_disk, modules
from heft.host import seals
from heft.host.seals import Seal

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from heft.guest.kernel_packages import Unpacked

log = logging.getLogger(__name__)

DEFAULT = "debian"
PACKAGES = {"debian": "linux-image-amd64", "debian-cloud": "linux-image-cloud-amd64"}
"""The kits that are made of packages, by name."""
ARCHITECTURE = "amd64"
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_XZ = b"\xfd7zXZ\0"
_ELF = b"\x7fELF"
_BUILTIN = "modules.builtin"
"""The list of what is part of the kernel itself (modules.builtin, kbuild)."""


class KitRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What `kit.json` says."""

    package: str
    version: str
    release: str
    """`uname -r` of its kernel."""
    agent: str
    """sha256 of the agent in the initial file system."""
    kernel: Seal
    initramfs: Seal
    modules: Seal


@dataclass(frozen=True, slots=True)
class Kit:
    """A kit that is there, and looks as it did when it was made."""

    name: str
    directory: Path
    record: KitRecord

    @property
    def kernel(self) -> Path:
        """The kernel as an ELF file (PVH, Documentation/x86/boot: nothing has to be unpacked)."""
        return self.directory / "vmlinux"

    @property
    def initramfs(self) -> Path:
        """The initial file system."""
        return self.directory / "initramfs"

    @property
    def modules(self) -> Path:
        """The modules that a guest may load later, as an ext4 (`heft.guest.module_disk`)."""
        return self.directory / "modules.ext4"

    @property
    def fingerprint(self) -> str:
        """Name it shortly; another kernel or agent has another one."""
        content = f"{self.record.kernel.digest} {self.record.initramfs.digest}"
        return hashlib.sha256(content.encode()).hexdigest()[:16]


class Kits:
    """All kits under a directory that is Heft's own."""

    def __init__(self, root: Path, agent: Path) -> None:
        self._root = root
        self.agent = agent
        self._making = asyncio.Lock()

    def start(self) -> None:
        """Throw away what was half made."""
        self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
        for entry in self._root.iterdir():
            if entry.name.startswith("."):
                shutil.rmtree(entry)

    def get(self, name: str) -> Kit | None:
        """Give a kit that is there and looks whole; blocks, for longer where a file was touched."""
        if not _NAME.fullmatch(name):
            return None
        directory = self._root / name
        try:
            record = msgspec.json.decode((directory / "kit.json").read_bytes(), type=KitRecord)
        except (OSError, msgspec.MsgspecError):
            return None
        kit = Kit(name, directory, record)
        for path, seal in (
            (kit.kernel, record.kernel),
            (kit.initramfs, record.initramfs),
            (kit.modules, record.modules),
        ):
            if damage := seals.check(path, seal):
                log.warning("kit %s is damaged and made again: %s: %s", name, path, damage)
                return None
        return kit

    def list(self) -> tuple[Kit, ...]:
        """Give all kits that are there."""
        names = sorted(entry.name for entry in self._root.iterdir())
        return tuple(kit for kit in map(self.get, names) if kit is not None)

    async def ensure(self, name: str, report: Callable[[str], object]) -> Kit:
        """Give a kit, made if it is missing, damaged, or has another agent than this Heft.

        Raises `NotFound`, `NotSupported`, `NoSpace`, `HostError`; then nothing new is left.
        """
        async with self._making:
            kit = await asyncio.to_thread(self.get, name)
            if kit is not None and kit.record.agent == await asyncio.to_thread(self._agent_digest):
                return kit
            if kit is None:
                await self._make(name, report)
            else:
                await asyncio.to_thread(self._renew, kit)
            made = await asyncio.to_thread(self.get, name)
        if made is None:
            raise HostError(f"kit {name} was damaged as soon as it was made")
        return made

    async def remove(self, name: str) -> None:
        """Remove a kit. Raises `NotFound`."""
        async with self._making:
            if not _NAME.fullmatch(name) or not (self._root / name).is_dir():
                raise NotFound(f"no such kit: {name}", hint="heft kit ls")
            await asyncio.to_thread(self._throw, self._root / name)

    async def _make(self, name: str, report: Callable[[str], object]) -> None:
        package = PACKAGES.get(name)
        if package is None:
            raise NotFound(f"no such kit: {name}", hint=f"there are: {', '.join(PACKAGES)}")
        place = self._root / f".{name}"
        try:
            await asyncio.to_thread(shutil.rmtree, place, ignore_errors=True)
            unpacked = await kernel_packages.fetch(place / "work", package, ARCHITECTURE, report)
            report("Making the initial file system")
            tree = await asyncio.to_thread(self._begin, place / "kit", unpacked)
            await module_disk.make(tree, place / "kit" / "modules.ext4")
            await asyncio.to_thread(self._finish, place / "kit", unpacked, tree.name)
            reach("kit.made")
            await asyncio.to_thread(self._put, place / "kit", self._root / name)
        finally:
            await asyncio.to_thread(shutil.rmtree, place, ignore_errors=True)

    def _renew(self, kit: Kit) -> None:
        """Make the initial file system anew, with the agent that there is now."""
        agent, new = self._read_agent(), kit.directory / "initramfs.new"
        with translated(f"renew {kit.directory}"):
            new.write_bytes(_initramfs(agent, kit.directory / "modules"))
            record = msgspec.structs.replace(
                kit.record, agent=hashlib.sha256(agent).hexdigest(), initramfs=seals.seal(new)
            )
            new.rename(kit.initramfs)  # killed here, the kit looks damaged and is made again
            _write_record(kit.directory, record)

    def _begin(self, directory: Path, unpacked: Unpacked) -> Path:
        """Keep the kernel and what its guests load first; give the tree of all its modules."""
        directory.mkdir()
        images = list((unpacked.tree / "boot").glob("vmlinuz-*"))
        if len(images) != 1:
            raise HostError(f"{unpacked.package} holds {len(images)} kernels, not one")
        release = images[0].name.removeprefix("vmlinuz-")
        tree = _module_tree(unpacked.tree, release)
        with translated("make a guest kit"):
            (directory / "vmlinux").write_bytes(uncompressed(images[0].read_bytes()))
            _keep_modules(tree, directory / "modules")
        return tree

    def _finish(self, directory: Path, unpacked: Unpacked, release: str) -> None:
        """Make the initial file system, and write down what the kit is."""
        agent = self._read_agent()
        with translated("make a guest kit"):
            (directory / "initramfs").write_bytes(_initramfs(agent, directory / "modules"))
            record = KitRecord(
                package=unpacked.package,
                version=unpacked.version,
                release=release,
                agent=hashlib.sha256(agent).hexdigest(),
                kernel=seals.seal(directory / "vmlinux"),
                initramfs=seals.seal(directory / "initramfs"),
                modules=seals.seal(directory / "modules.ext4"),
            )
            _write_record(directory, record)

    def _put(self, new: Path, final: Path) -> None:
        """Let a kit appear, whole, in the place of the one before."""
        with translated(f"keep {final}"):
            if final.exists():
                self._throw(final)
            new.rename(final)

    def _throw(self, directory: Path) -> None:
        gone = directory.with_name(f".gone-{directory.name}")
        shutil.rmtree(gone, ignore_errors=True)
        directory.rename(gone)
        shutil.rmtree(gone)

    def _read_agent(self) -> bytes:
        try:
            return self.agent.read_bytes()
        except FileNotFoundError as error:
            raise NotSupported(
                f"there is no guest agent at {self.agent}", hint="install Heft anew: make up"
            ) from error

    def _agent_digest(self) -> str:
        return hashlib.sha256(self._read_agent()).hexdigest()


def uncompressed(image: bytes) -> bytes:
    """Give the ELF kernel of a bzImage that was compressed with xz (Debian's are).

    Under software translation a kernel takes three seconds to unpack itself, and more memory.
    Raises `NotSupported` for any other.
    """
    if image.startswith(_ELF):
        return image
    start = image.find(_XZ)
    try:
        kernel = lzma.LZMADecompressor(lzma.FORMAT_XZ).decompress(image[max(start, 0) :])
    except lzma.LZMAError as error:
        raise NotSupported(f"a kernel that is not compressed with xz: {error}") from error
    if not kernel.startswith(_ELF):
        raise NotSupported("a kernel that is no ELF file")
    return kernel


def _module_tree(tree: Path, release: str) -> Path:
    for place in (tree / "lib/modules" / release, tree / "usr/lib/modules" / release):
        if place.is_dir():
            return place
    raise NotSupported(f"the package has no modules for {release}")


def _write_record(directory: Path, record: KitRecord) -> None:
    temporary = directory / "kit.json.new"
    temporary.write_bytes(msgspec.json.encode(record))
    temporary.rename(directory / "kit.json")


def _keep_modules(tree: Path, kept: Path) -> None:
    """Keep the modules that guests load, for initial file systems to come."""
    kept.mkdir()
    find, builtin = _finder(tree)
    shutil.copyfile(tree / _BUILTIN, kept / _BUILTIN)
    try:
        wanted = modules.in_order((*initramfs.EARLY, *initramfs.TRANSPORT), find, builtin)
    except ValueError as error:
        raise NotSupported(f"the modules of this kernel do not do: {error}") from error
    for module in wanted:
        (kept / f"{module.name}.ko").write_bytes(module.content)


def _initramfs(agent: bytes, tree: Path) -> bytes:
    find, builtin = _finder(tree)
    try:
        return initramfs.build(agent, find, builtin)
    except ValueError as error:
        raise NotSupported(f"the modules of this kernel do not do: {error}") from error


def _finder(tree: Path) -> tuple[Callable[[str], modules.Module | None], frozenset[str]]:
    """Give what finds a module in a tree, and the names of those that are part of the kernel."""
    paths = {modules.canonical(path.name): path for path in tree.rglob("*.ko")}

    def find(name: str) -> modules.Module | None:
        path = paths.get(name)
        return modules.read(name, path.read_bytes()) if path is not None else None

    return find, modules.builtin_names((tree / _BUILTIN).read_text())
