"""Guest kits: what a weight with a kernel of its own starts with.

A kit is a kernel, an initial file system with the agent and the modules that it loads, and a disk
of the others. It is made of a package of the distribution on first need, or of a kernel of
somebody's own when asked to, in the directory KITS/NAME, and kept there with a seal for each file:
one that is damaged is made again. When the agent is another one, so is the initial file system.

Who starts a guest holds its kit from when it has it until the guest has read it (`Kits.ensure` to
`Kits.release`): it is not removed then, and not exchanged for another.
"""

from __future__ import annotations

import asyncio
import enum
import hashlib
import logging
import os
import re
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from heft.errors import (
    Conflict,
    HeftError,
    HostError,
    InvalidArgument,
    NoSpace,
    NotFound,
    NotSupported,
)
from heft.failures import translated
from heft.faults import reach
from heft.guest import (
    architectures,
    initramfs,
    kernel_packages,
    kernels,
    kit_files,
    module_tree,
)
from heft.guest.kit_files import KitRecord, Origin
from heft.host import kept_files, seals

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from heft.guest.architectures import Architecture

log = logging.getLogger(__name__)

DEFAULT = "debian"
PROCESS = "uml"
"""The kit whose kernel is a program (User Mode Linux)."""
XEN = "debian-xen"
"""The kit whose guests have the devices of a paravirtual domain of Xen, and no others."""
PACKAGES = {
    "debian": "linux-image-amd64",
    "debian-cloud": "linux-image-cloud-amd64",
    "debian-arm64": "linux-image-arm64",
    "debian-ppc64el": "linux-image-powerpc64le",
    "debian-riscv64": "linux-image-riscv64",
    "debian-s390x": "linux-image-s390x",
    PROCESS: kernel_packages.USER_MODE,
    XEN: "linux-image-amd64",
}
"""The kits that are made of packages, by name."""
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_BEFORE = ".before-"
"""Of a kit that is being exchanged: comes back if the daemon ends before the new one is there."""
_GONE = ".gone-"


class _Lacks(enum.Enum):
    """What a kit has to have made anew."""

    NOTHING = enum.auto()
    INITRAMFS = enum.auto()
    ALL = enum.auto()


@dataclass(frozen=True, slots=True)
class Kit:
    """A kit that is there, and looks as it did when it was made."""

    name: str
    directory: Path
    record: KitRecord

    @property
    def architecture(self) -> Architecture:
        """What its guests are."""
        return architectures.of_kit(self.name)

    @property
    def kernel(self) -> Path:
        """The kernel as QEMU starts it: nothing has to be unpacked (`heft.guest.kernels`)."""
        return self.directory / kit_files.KERNEL

    @property
    def initramfs(self) -> Path:
        """The initial file system."""
        return self.directory / kit_files.INITRAMFS

    @property
    def modules(self) -> Path:
        """The modules that a guest may load later, as an ext4 (`heft.guest.module_disk`)."""
        return self.directory / kit_files.MODULES

    @property
    def is_program(self) -> bool:
        """Whether its kernel is started as a process."""
        return self.record.package == kernel_packages.USER_MODE

    @property
    def shares_files(self) -> bool:
        """Whether its guests can have 9p, as far as is known."""
        return kit_files.has_module(self.directory, "9p")

    @property
    def fingerprint(self) -> str:
        """Name it shortly; another kernel or agent has another one."""
        content = f"{self.record.kernel.digest} {self.record.initramfs.digest}"
        return hashlib.sha256(content.encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Damaged:
    """A kit that is there, and is not what it was when it was made."""

    name: str
    directory: Path
    problem: str
    record: KitRecord | None
    """None: it cannot be read."""


class Kits:
    """All kits under a directory that is Heft's own."""

    def __init__(self, root: Path, agent: Path) -> None:
        self._root = root
        self.agent = agent
        self._making = asyncio.Lock()
        self._held: dict[str, str] = {}
        """Names of kits, by who holds them."""
        self._released = asyncio.Condition()

    def start(self) -> None:
        """Throw away what was half made; what was to be exchanged, and was not, comes back."""
        self._root.mkdir(mode=0o711, parents=True, exist_ok=True)
        for entry in self._root.iterdir():
            final = self._root / entry.name.removeprefix(_BEFORE)
            if entry.name.startswith(_BEFORE) and not os.path.lexists(final):
                entry.rename(final)
            elif entry.name.startswith("."):
                kept_files.clear(entry)

    def get(self, name: str) -> Kit | None:
        """Give a kit that is there and looks whole; blocks, for longer where a file was touched."""
        kit = self._find(name)
        if kit is None or _is_damaged(kit) or _lacking(kit) or _has_lost_initramfs(kit):
            return None
        return kit

    def look(self, name: str) -> Kit | Damaged | None:
        """Give a kit as it is, if it is there; it blocks as `get` does."""
        kit = self.get(name)
        if kit is not None or not (problem := self.problem(name)):
            return kit
        found = self._find(name)
        return Damaged(name, self._root / name, problem, found.record if found else None)

    def list(self) -> tuple[Kit | Damaged, ...]:
        """Give all kits that are there, by name; it blocks as `get` does."""
        names = sorted(entry.name for entry in self._root.iterdir())
        return tuple(kit for kit in map(self.look, names) if kit is not None)

    def problem(self, name: str) -> str:
        """Say what is wrong with a kit that is there; nothing if nothing is, or there is none."""
        if not self._is_there(name):
            return ""
        kit = self._find(name)
        if kit is None:
            return f"its {kit_files.RECORD} cannot be read"
        files = (
            (kit.kernel, kit.record.kernel),
            (kit.modules, kit.record.modules),
            (kit.initramfs, kit.record.initramfs),
        )
        found = ((path.name, seals.check(path, seal)) for path, seal in files)
        damages = [f"{file}: {damage}" for file, damage in found if damage]
        if kept := kit_files.kept_damage(kit.directory, kit.record):
            damages.append(kept)
        if damages:
            return ", ".join(damages)
        missing = ", ".join(_lacking(kit))
        return f"it was made by an earlier Heft, without {missing}" if missing else ""

    def _is_there(self, name: str) -> bool:
        return _NAME.fullmatch(name) is not None and (self._root / name).is_dir()

    def fingerprints(self) -> frozenset[str]:
        """Name all kits that are there, whole or not; it blocks for a moment."""
        found = (self._find(entry.name) for entry in self._root.iterdir())
        return frozenset(kit.fingerprint for kit in found if kit is not None)

    def knows(self, name: str) -> bool:
        """Say whether a machine can be told to start with it: it is there, or can be made."""
        return name in PACKAGES or self._is_there(name)

    def is_own(self, name: str) -> bool:
        """Say whether it is of somebody's own kernel, and cannot be made again by itself."""
        return name not in PACKAGES

    async def ensure(self, name: str, report: Callable[[str], object], holder: str = "") -> Kit:
        """Give a kit, made if it is missing, damaged, or has another agent than this Heft.

        A `holder` holds it from now on. Raises `NotFound`, `NotSupported`, `NoSpace`, `HostError`;
        then nothing new is left.
        """
        async with self._making:
            kit, lacks = await asyncio.to_thread(self._look, name)
            if kit is None or lacks is _Lacks.ALL:
                await self._make_of_package(name, report, damaged=kit)
            elif lacks is _Lacks.INITRAMFS:
                await self._wait_released(name)
                agent = await asyncio.to_thread(self._read_agent, name)
                await asyncio.to_thread(kit_files.renew, kit.directory, kit.record, agent)
            else:
                return self._hold(kit, holder)
            made = await asyncio.to_thread(self.get, name)
            if made is None:
                raise HostError(f"kit {name} was damaged as soon as it was made")
            return self._hold(made, holder)

    def _hold(self, kit: Kit, holder: str) -> Kit:
        if holder:
            self._held[holder] = kit.name
        return kit

    async def release(self, holder: str) -> None:
        """Hear that who held a kit does not need its files any more; harmless when repeated."""
        if self._held.pop(holder, None) is not None:
            async with self._released:
                self._released.notify_all()

    async def _wait_released(self, name: str) -> None:
        """Wait until nobody holds it. Who holds one waits for nothing of this module's."""
        async with self._released:
            await self._released.wait_for(lambda: name not in self._held.values())

    async def make_own(
        self, name: str, kernel: Path, given: Path | None, report: Callable[[str], object]
    ) -> Kit:
        """Make a kit of a kernel and modules of somebody's own, in the place of one before.

        Without modules, everything that a guest needs must be part of the kernel. Raises
        `InvalidArgument`, `NotSupported`, `NoSpace`, `HostError`; then nothing new is left.
        """
        if not _NAME.fullmatch(name):
            raise InvalidArgument(f"invalid name of a kit: {name}", hint=f"{_NAME.pattern}")
        if name in PACKAGES:
            raise InvalidArgument(
                f"kit {name} is made of the package {PACKAGES[name]}",
                hint="give a kernel of your own another name",
            )

        async def origin(work: Path) -> Origin:
            report(f"Reading {kernel}")
            found = await kernels.read(kernel)
            tree = work / "lib/modules" / found.release
            with translated("copy modules"):
                if given is None:
                    await asyncio.to_thread(tree.mkdir, parents=True)
                else:
                    report(f"Copying the modules of {found.release}")
                    await asyncio.to_thread(module_tree.copy, given, found.release, tree)
            return Origin(found, tree, source=str(kernel))

        async with self._making:
            await self._make(name, origin, report)
            made = await asyncio.to_thread(self.get, name)
        if made is None:
            raise HostError(f"kit {name} was damaged as soon as it was made")
        return made

    async def remove(self, name: str, users: Callable[[], tuple[str, ...]]) -> None:
        """Remove a kit. Raises `NotFound`, and `Conflict` where somebody holds it, or `users`.

        These are asked for when nobody can begin to hold it any more.
        """
        async with self._making:
            if not self._is_there(name):
                raise NotFound(f"no such kit: {name}", hint="heft kit ls")
            holders = (holder for holder, held in self._held.items() if held == name)
            if using := tuple(dict.fromkeys((*users(), *holders))):
                raise Conflict(
                    f"kit {name} is in use by machines - [{', '.join(using)}]",
                    hint="stop them first; those that are to start with it, remove",
                )
            await asyncio.to_thread(self._throw, self._root / name)

    async def _make_of_package(
        self, name: str, report: Callable[[str], object], damaged: Kit | None
    ) -> None:
        package = PACKAGES.get(name)
        problem = await asyncio.to_thread(self.problem, name)
        if package is None and problem:
            source = damaged.record.source if damaged is not None else "PATH"
            raise HostError(
                f"kit {name} is damaged: {problem}",
                hint=f"heft kit pull --kernel {source} {name} makes it again"
                " (with --modules, where it had some)",
            )
        if package is None:
            raise NotFound(f"no such kit: {name}", hint=f"there are: {', '.join(PACKAGES)}")

        async def origin(work: Path) -> Origin:
            architecture = architectures.of_kit(name)
            fetched = await kernel_packages.fetch(work, package, architecture.debian, report)
            is_program = package == kernel_packages.USER_MODE
            kernel = await kernels.read(fetched.kernel, architecture.name, is_program=is_program)
            tree = fetched.modules
            if any(tree.rglob("*.ko.*")):  # as later releases have them
                tree = work / "plain/lib/modules" / kernel.release
                with translated("copy modules"):
                    await asyncio.to_thread(module_tree.copy, fetched.modules, kernel.release, tree)
            return Origin(kernel, tree, fetched.package, fetched.version, is_domain=name == XEN)

        try:
            await self._make(name, origin, report)
        except NoSpace:
            raise
        except HeftError as error:
            if not problem:
                raise
            raise HostError(
                f"kit {name} is damaged ({problem}), and cannot be made again: {error.message}",
                hint=error.hint,
            ) from error

    async def _make(
        self,
        name: str,
        origin: Callable[[Path], Awaitable[Origin]],
        report: Callable[[str], object],
    ) -> None:
        place = self._root / f".{name}"
        try:
            await asyncio.to_thread(shutil.rmtree, place, ignore_errors=True)
            with translated(f"make {place}"):
                place.mkdir(mode=0o711)
            agent = await asyncio.to_thread(self._read_agent, name)
            found = await origin(place / "work")
            report("Making the initial file system")
            await kit_files.make(place / "kit", found, agent)
            reach("kit.made")
            await self._wait_released(name)
            await asyncio.to_thread(self._put, place / "kit", self._root / name)
        finally:
            await asyncio.to_thread(shutil.rmtree, place, ignore_errors=True)

    def _put(self, new: Path, final: Path) -> None:
        """Let a kit appear, whole, in the place of the one before."""
        before = self._root / f"{_BEFORE}{final.name}"
        with translated(f"keep {final}"):
            if os.path.lexists(final):
                kept_files.clear(before)
                final.rename(before)
                reach("kit.put-away")
            new.rename(final)
            kit_files.sync(self._root)
            kept_files.clear(before)

    def _throw(self, directory: Path) -> None:
        gone = self._root / f"{_GONE}{directory.name}"
        with translated(f"remove {directory}"):
            kept_files.clear(gone)
            directory.rename(gone)
            kit_files.sync(self._root)
            kept_files.clear(gone)

    def _look(self, name: str) -> tuple[Kit | None, _Lacks]:
        """Give a kit that is there, and what of it has to be made anew."""
        kit = self._find(name)
        if kit is None or _is_damaged(kit) or _lacking(kit):
            return kit, _Lacks.ALL
        if _has_lost_initramfs(kit) or self._agent_digest(name) != kit.record.agent:
            damage = kit_files.kept_damage(kit.directory, kit.record)
            return kit, _Lacks.ALL if damage else _Lacks.INITRAMFS
        return kit, _Lacks.NOTHING

    def _find(self, name: str) -> Kit | None:
        """Give a kit that is there, whole or not."""
        if not _NAME.fullmatch(name):
            return None
        directory = self._root / name
        try:
            content = kept_files.content(directory / kit_files.RECORD)
            return Kit(name, directory, msgspec.json.decode(content, type=KitRecord))
        except (OSError, msgspec.MsgspecError):
            return None

    def _read_agent(self, name: str) -> bytes:
        """Give the agent of a kit; those of foreign ones lie beside the host's own."""
        architecture = architectures.of_kit(name)
        is_native = architecture.name == architectures.NATIVE
        path = self.agent if is_native else self.agent.with_name(architecture.agent)
        try:
            return path.read_bytes()
        except FileNotFoundError as error:
            how = "make up" if is_native else architecture.needs
            raise NotSupported(
                f"there is no guest agent at {path}", hint=f"install Heft anew: {how}"
            ) from error

    def _agent_digest(self, name: str) -> str:
        return hashlib.sha256(self._read_agent(name)).hexdigest()


def _is_damaged(kit: Kit) -> bool:
    """Say whether it lacks what cannot be made of the rest; the log says what."""
    return _differs(kit, kit.kernel, kit.record.kernel) or _differs(
        kit, kit.modules, kit.record.modules
    )


def _lacking(kit: Kit) -> list[str]:
    """Give the modules that an earlier Heft made it without, as its machines needed less."""
    needed = initramfs.OF_PROCESS if kit.is_program else ()
    return [name for name in needed if not kit_files.has_module(kit.directory, name)]


def _has_lost_initramfs(kit: Kit) -> bool:
    return _differs(kit, kit.initramfs, kit.record.initramfs)


def _differs(kit: Kit, path: Path, seal: seals.Seal) -> bool:
    if damage := seals.check(path, seal):
        log.warning("kit %s is damaged and made again: %s: %s", kit.name, path, damage)
    return bool(damage)
