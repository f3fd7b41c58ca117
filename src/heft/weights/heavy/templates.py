"""Templates: guests that were started once, and are kept for machines to be restored from.

A template is a guest whose agent waits for its first daemon: its kernel is up and its drivers are
bound to devices with nothing behind them. What is kept is its memory (a sparse file) and the state
of its devices, in the directory TEMPLATES/KEY, sealed. Everything that a restored guest must not
share with another (entropy, clock, names, addresses) it is told before its workload starts.

Machines map the memory privately. They get it as a memory file that is sealed against writing
(memfd_create(2), F_SEAL_FUTURE_WRITE), made of the template once a daemon: QEMU insists on opening
its memory for writing, and a QEMU that a guest got hold of must not change what others start from.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import logging
import os
import shutil
import weakref
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from heft.errors import HostError, NoSpace
from heft.failures import translated
from heft.faults import reach
from heft.guest import architectures, jail
from heft.guest.jail import Jail
from heft.host import memory_files, processes, seals, taps
from heft.host.seals import Seal
from heft.weights.heavy import accelerators, qemu
from heft.weights.heavy.control import control
from heft.weights.heavy.qemu import Card

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from pathlib import Path

    from heft.guest.kits import Kit
    from heft.guest.shaping import Shape
    from heft.weights.heavy.control import Control

log = logging.getLogger(__name__)

BOOT_SECONDS = 120.0
"""How long a guest may take to be ready; 2.5 s are usual under software translation."""
READY = "HEFT-TEMPLATE-READY"
RECORD = "template.json"
MOST_OPEN = 4
"""Memories of templates that the daemon holds ready, some 100 MB each: those used last."""
MOST_KEPT = 16
"""Templates on the disk, of as many bytes each: those used last."""
_SPEED_PARTS = 10_000
"""Two speeds are one if they differ by less than a part of so many: it is measured anew by each
daemon, to some parts of a million. A guest's clock goes wrong by 6 ms a minute by it at most."""
_DEVICES = "2"
"""Counts the changes of its devices."""
_FUTURE_WRITE = 0x10
"""F_SEAL_FUTURE_WRITE (fcntl(2)); Python 3.11 has no name for it."""
_COPY = 1 << 20
_NOBODY = 65534
_PASSABLE = 0o711
"""Others may pass through it to what is theirs."""
_PAUSE = 0.01
_MOST_CONSOLE = 1 << 16


class TemplateRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What `template.json` says."""

    memory: Seal
    state: Seal
    kit: str = ""
    """The fingerprint of the kit that it was made of."""
    surroundings: str = ""
    """What of the host and of this Heft it depends on."""
    tsc_khz: int = 0
    """How fast its guests take the host's time stamp counter to be; 0: they have found out."""


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Template:
    """A template in use: its memory as an open, sealed memory file, and where its state is.

    The memory is let go with the last who has it: who just starts from one that was collected, or
    that was found damaged, still needs it.
    """

    shape: Shape
    memory: int
    state: Path
    seal: Seal
    """Of its state, which is read at each start."""


class Templates:
    """All templates under a directory that is Heft's own."""

    def __init__(self, root: Path, version: str, tsc_khz: int) -> None:
        self._root = root
        self._version = version
        self._tsc_khz = tsc_khz
        self._open: dict[str, Template] = {}
        self._making = asyncio.Lock()

    def start(self) -> None:
        """Throw away what was half made."""
        self._root.mkdir(mode=0o711, parents=True, exist_ok=True)
        for entry in self._root.iterdir():
            if entry.name.startswith("."):
                shutil.rmtree(entry, ignore_errors=True)

    def close(self) -> None:
        """Let go of the memory of templates; machines keep theirs."""
        self._open.clear()

    def key(self, kit: Kit, shape: Shape) -> str:
        """Name a template after all that it depends on."""
        return _digest(kit.fingerprint, str(shape), self._surroundings(shape.architecture))

    def _surroundings(self, architecture: str) -> str:
        parameters = qemu.kernel_parameters(0, architecture)
        return _digest(parameters, self._version, _DEVICES, _foreign_qemu(architecture))

    def _speed(self, architecture: str) -> int:
        return self._tsc_khz if architecture == architectures.NATIVE else 0

    async def ensure(
        self,
        kit: Kit,
        shape: Shape,
        report: Callable[[str], object],
        seconds: float = 0,
    ) -> Template:
        """Give a template, made in `seconds` if need be. Raises `HostError`, `NoSpace`."""
        key = self.key(kit, shape)
        if (template := await self._whole(key)) is not None:
            return self._use(key, template)
        async with self._making:
            if (template := await self._whole(key)) is not None:
                return self._use(key, template)
            directory = self._root / key
            speed = self._speed(shape.architecture)
            template = await asyncio.to_thread(_load, directory, shape, speed)
            if template is None:
                report(f"Starting a guest to be the template of machines like it ({shape})")
                await self._make(kit, shape, directory, seconds or BOOT_SECONDS)
                template = await asyncio.to_thread(_load, directory, shape, speed)
            if template is None:
                raise HostError(f"template {key} was damaged as soon as it was made")
            self._use(key, template)
            with translated(f"look at {self._root}"):
                surplus = await asyncio.to_thread(self._surplus, frozenset(self._open))
            await self._remove(surplus)
        return template

    def _use(self, key: str, template: Template) -> Template:
        """Hold one ready, as the one used last; those used longest ago are held no more."""
        self._open.pop(key, None)
        self._open[key] = template
        for longest_ago in tuple(self._open)[:-MOST_OPEN]:
            del self._open[longest_ago]
        return template

    def _surplus(self, in_use: frozenset[str]) -> list[Path]:
        """Give those that were loaded longest ago, of more than are kept."""
        others = [path for path in self._kept() if path.name not in in_use]
        others.sort(key=lambda path: path.stat().st_mtime_ns, reverse=True)
        return others[MOST_KEPT - len(in_use) :]

    def _kept(self) -> list[Path]:
        return [
            path for path in self._root.iterdir() if not path.name.startswith(".") and path.is_dir()
        ]

    async def _remove(self, directories: Collection[Path]) -> None:
        for directory in directories:
            self._open.pop(directory.name, None)
            with translated(f"remove {directory}"):
                await asyncio.to_thread(_throw, directory)

    async def collect(self, kits: Collection[str]) -> None:
        """Remove the templates that no machine will start from: of no such kit (fingerprints).

        So are those that were made with another QEMU, or by another Heft. Who starts from one holds
        its kit, which is there then. Raises `HostError`.
        """
        async with self._making:
            with translated(f"look at {self._root}"):
                gone = await asyncio.to_thread(self._unused, frozenset(kits))
            await self._remove(gone)

    def _unused(self, kits: frozenset[str]) -> list[Path]:
        speeds = {self._surroundings(name): self._speed(name) for name in architectures.ALL}
        found = []
        for directory in self._kept():
            record = _record(directory)
            if (
                record is None
                or record.kit not in kits
                or record.surroundings not in speeds
                or not _is_speed(record, speeds[record.surroundings])
            ):
                found.append(directory)
        return found

    async def _whole(self, key: str) -> Template | None:
        """Give a template in use. Its memory is a copy that nobody writes; its state is a file."""
        template = self._open.get(key)
        if template is None or not await asyncio.to_thread(
            _is_damaged, template.state, template.seal
        ):
            return template
        if self._open.get(key) is template:
            del self._open[key]
        return self._open.get(key)

    async def _make(self, kit: Kit, shape: Shape, directory: Path, seconds: float) -> None:
        new = self._root / f".{directory.name}"
        try:
            with translated(f"make {new}"):
                await asyncio.to_thread(_begin, new, shape)
            await self._boot(kit, shape, new, seconds)
            reach("template.saved")
            with translated(f"keep {directory}"):
                await asyncio.to_thread(
                    _finish,
                    new,
                    directory,
                    kit=kit.fingerprint,
                    surroundings=self._surroundings(shape.architecture),
                    tsc_khz=self._speed(shape.architecture),
                )
        finally:
            await asyncio.to_thread(shutil.rmtree, new, ignore_errors=True)

    async def _boot(self, kit: Kit, shape: Shape, new: Path, seconds: float) -> None:
        """Start a guest, wait until it is ready, and save it."""
        tap = taps.unplugged()
        command = qemu.template(
            shape, "/kernel", "/initramfs", "/run/memory", Card(tap), self._tsc_khz
        )
        place = Jail(
            uid=_NOBODY,
            gid=_NOBODY,
            directory=new / "vm",
            readable=((kit.kernel, "/kernel"), (kit.initramfs, "/initramfs")),
            devices=("/dev/kvm",) if shape.accelerator == "kvm" else (),
            groups=accelerators.groups(shape.accelerator),
            tied=True,
        )
        state = os.open(new / "state", os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        errors = memory_files.bounded()
        try:
            process = processes.spawn(
                jail.command(place, tuple(command)), stderr=errors, pass_fds=(tap,)
            )
            try:
                async with control(new / "vm", qemu.CONTROL) as told:
                    await _ready(told, seconds)
                    await told.save(state)
                    await told.quit()
            finally:
                process.kill()
                await processes.reap(process)
        except HostError as error:
            said = memory_files.content(errors)
            what = "no template of a guest could be made"
            if await asyncio.to_thread(_is_full, new):  # QEMU was ended by SIGBUS
                raise NoSpace(f"{what}: the disk of {self._root} is full") from error
            raise HostError(f"{what}: {error}: {said}") from error
        finally:
            for descriptor in (state, errors, tap):
                os.close(descriptor)


async def _ready(told: Control, seconds: float) -> None:
    """Wait until the guest says on its console that it is ready."""
    seen = ""
    try:
        async with asyncio.timeout(seconds):
            while READY not in seen:
                await asyncio.sleep(_PAUSE)
                seen = (seen + (await told.console()).decode(errors="replace"))[-_MOST_CONSOLE:]
    except TimeoutError:
        last = " / ".join(seen.strip().splitlines()[-3:])
        raise HostError(f"the guest was not ready in {seconds:g} s: {last}") from None


def _begin(new: Path, shape: Shape) -> None:
    shutil.rmtree(new, ignore_errors=True)
    (new / "vm").mkdir(parents=True)
    os.chmod(new, _PASSABLE)
    with (new / "vm" / "memory").open("wb") as file:
        file.truncate(shape.memory)
    for path in (new / "vm", new / "vm" / "memory"):
        os.chown(path, _NOBODY, _NOBODY)


def _is_full(directory: Path) -> bool:
    found = os.statvfs(directory)
    return found.f_bavail * found.f_frsize < _COPY


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:24]


def _foreign_qemu(architecture: str) -> str:
    """Tell a foreign architecture's QEMU from others, of any version."""
    found = architectures.ALL[architecture]
    place = None if architecture == architectures.NATIVE else shutil.which(found.qemu)
    if place is None:
        return ""
    seen = os.stat(place)
    return f"{seen.st_size} {seen.st_mtime_ns}"


def _throw(directory: Path) -> None:
    gone = directory.with_name(f".gone-{directory.name}")
    directory.rename(gone)
    shutil.rmtree(gone)


def _finish(new: Path, directory: Path, *, kit: str, surroundings: str, tsc_khz: int) -> None:
    memory = new / "memory"
    (new / "vm" / "memory").rename(memory)
    os.chown(memory, 0, 0)
    os.chmod(memory, 0o600)
    shutil.rmtree(new / "vm")
    record = TemplateRecord(
        memory=seals.seal(memory),
        state=seals.seal(new / "state"),
        kit=kit,
        surroundings=surroundings,
        tsc_khz=tsc_khz,
    )
    (new / RECORD).write_bytes(msgspec.json.encode(record))
    shutil.rmtree(directory, ignore_errors=True)
    os.chmod(new, 0o700)
    new.rename(directory)


def _record(directory: Path) -> TemplateRecord | None:
    """Read what is said of a template; None if nothing whole is."""
    try:
        content = (directory / RECORD).read_bytes()
        return msgspec.json.decode(content, type=TemplateRecord)
    except (OSError, msgspec.MsgspecError) as error:
        if directory.is_dir():
            log.warning("template %s is damaged and made again: %s", directory / RECORD, error)
        return None


def _is_speed(record: TemplateRecord, tsc_khz: int) -> bool:
    """Say whether the host's counter is as fast as the guests of a template take it to be."""
    return abs(record.tsc_khz - tsc_khz) * _SPEED_PARTS <= tsc_khz


def _load(directory: Path, shape: Shape, tsc_khz: int) -> Template | None:
    """Give a template, its memory as a sealed memory file; None if it is missing or damaged."""
    record = _record(directory)
    if record is None:
        return None
    if not _is_speed(record, tsc_khz):
        log.warning("template %s is of %d kHz, and made again", directory, record.tsc_khz)
        return None
    for name, seal in (("memory", record.memory), ("state", record.state)):
        if _is_damaged(directory / name, seal, everything=True):
            return None
    with translated(f"load {directory}"):
        os.utime(directory)  # those loaded last are kept
        memory = _copied(directory / "memory")
    template = Template(shape, memory, directory / "state", record.state)
    weakref.finalize(template, os.close, memory)
    return template


def _is_damaged(path: Path, seal: Seal, *, everything: bool = False) -> bool:
    """Say in the log what is wrong with a file; all of it is read if it was touched."""
    damage = seals.read(path, seal) if everything else seals.check(path, seal)
    if damage:
        log.warning("template %s is damaged and made again: %s", path, damage)
    return bool(damage)


def _copied(path: Path) -> int:
    memory = os.memfd_create("heft-template", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        with path.open("rb", buffering=0) as file:
            size, position = os.fstat(file.fileno()).st_size, 0
            os.ftruncate(memory, size)
            while position < size:
                try:
                    position = os.lseek(file.fileno(), position, os.SEEK_DATA)
                except OSError:
                    break  # nothing but a hole is left
                hole = os.lseek(file.fileno(), position, os.SEEK_HOLE)
                while position < hole:
                    block = os.pread(file.fileno(), min(hole - position, _COPY), position)
                    position += os.pwrite(memory, block, position)
        seals_wanted = fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL | _FUTURE_WRITE
        fcntl.fcntl(memory, fcntl.F_ADD_SEALS, seals_wanted)
    except BaseException:
        os.close(memory)
        raise
    return memory
