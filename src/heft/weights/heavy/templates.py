"""Templates: guests that were started once, and are kept for machines to be restored from.

A template is a guest whose agent waits for its first daemon: its kernel is up and its drivers are
bound to devices with nothing behind them. What is kept is its memory (a sparse file) and the state
of its devices, in the directory TEMPLATES/KEY, sealed. Everything that a restored guest must not
share with another (entropy, clock, names, addresses) it is told before its workload starts.

Machines map the memory privately. They get it as a memory file that is sealed against writing
(memfd_create(2), F_SEAL_FUTURE_WRITE), made of the template once a daemon: QEMU insists on opening
its memory for writing, and a QEMU that a guest got hold of must not change what others start from.
What is on the disk is `heft.weights.heavy.kept_templates`'.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import time
from typing import TYPE_CHECKING

from heft.errors import HostError, NoSpace
from heft.failures import translated
from heft.faults import reach
from heft.guest import architectures, jail
from heft.guest.jail import Jail
from heft.host import memory_files, processes, taps
from heft.weights.heavy import accelerators, kept_templates, qemu
from heft.weights.heavy.control import control
from heft.weights.heavy.qemu import Card

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from pathlib import Path

    from heft.guest.kits import Kit
    from heft.guest.shaping import Shape
    from heft.weights.heavy.control import Control
    from heft.weights.heavy.kept_templates import Template

BOOT_SECONDS = 120.0
"""How long a guest may take to be ready; 2.5 s are usual under software translation."""
RETRY_SECONDS = 60.0
"""How long one is not tried again whose guest did not come up: each machine would wait for it."""
READY = "HEFT-TEMPLATE-READY"
MOST_OPEN = 4
"""Memories of templates that the daemon holds ready, some 100 MB each: those used last."""
MOST_KEPT = 16
"""Templates on the disk, of as many bytes each: those used last."""
_DEVICES = "2"
"""Counts the changes of its devices."""
_PAUSE = 0.01
_MOST_CONSOLE = 1 << 16


class Templates:
    """All templates under a directory that is Heft's own."""

    def __init__(self, root: Path, version: str, tsc_khz: int) -> None:
        self._root = root
        self._version = version
        self._tsc_khz = tsc_khz
        self._open: dict[str, Template] = {}
        self._failed: dict[str, tuple[float, HostError]] = {}
        """Which could not be made: when (time.monotonic()), and why."""
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
        *,
        retry: bool = True,
    ) -> Template:
        """Give a template, made in `seconds` if need be. Raises `HostError`, `NoSpace`.

        Without `retry`, one whose guest did not come up a moment ago is not tried again.
        """
        key = self.key(kit, shape)
        if (template := await self._whole(key)) is not None:
            return self._use(key, template)
        async with self._making:
            if (template := await self._whole(key)) is not None:
                return self._use(key, template)
            directory = self._root / key
            speed = self._speed(shape.architecture)
            template = await asyncio.to_thread(kept_templates.load, directory, shape, speed)
            if template is None:
                if not retry:
                    self._refuse_again(key)
                report(f"Starting a guest to be the template of machines like it ({shape})")
                await self._make(kit, shape, directory, seconds or BOOT_SECONDS)
                template = await asyncio.to_thread(kept_templates.load, directory, shape, speed)
            if template is None:
                raise HostError(f"template {key} was damaged as soon as it was made")
            self._use(key, template)
            with translated(f"look at {self._root}"):
                surplus = await asyncio.to_thread(self._surplus, frozenset(self._open))
            await self._remove(surplus)
        return template

    def _refuse_again(self, key: str) -> None:
        when, error = self._failed.get(key, (0.0, None))
        if error is not None and time.monotonic() - when < RETRY_SECONDS:
            raise error

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
                await asyncio.to_thread(kept_templates.throw, directory)

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
            record = kept_templates.record(directory)
            if (
                record is None
                or record.kit not in kits
                or record.surroundings not in speeds
                or not kept_templates.is_speed(record, speeds[record.surroundings])
            ):
                found.append(directory)
        return found

    async def _whole(self, key: str) -> Template | None:
        """Give a template in use. Its memory is a copy that nobody writes; its state is a file."""
        template = self._open.get(key)
        if template is None or not await asyncio.to_thread(
            kept_templates.is_damaged, template.state, template.seal
        ):
            return template
        if self._open.get(key) is template:
            del self._open[key]
        return self._open.get(key)

    async def _make(self, kit: Kit, shape: Shape, directory: Path, seconds: float) -> None:
        new = self._root / f".{directory.name}"
        self._failed.pop(directory.name, None)
        try:
            with translated(f"make {new}"):
                await asyncio.to_thread(kept_templates.begin, new, shape)
            await self._boot(kit, shape, new, seconds)
            reach("template.saved")
            with translated(f"keep {directory}"):
                await asyncio.to_thread(
                    kept_templates.finish,
                    new,
                    directory,
                    kit=kit.fingerprint,
                    surroundings=self._surroundings(shape.architecture),
                    tsc_khz=self._speed(shape.architecture),
                )
        except NoSpace:
            raise
        except HostError as error:
            self._failed[directory.name] = time.monotonic(), error
            raise
        finally:
            await asyncio.to_thread(shutil.rmtree, new, ignore_errors=True)

    async def _boot(self, kit: Kit, shape: Shape, new: Path, seconds: float) -> None:
        """Start a guest, wait until it is ready, and save it."""
        tap = taps.unplugged()
        command = qemu.template(
            shape, "/kernel", "/initramfs", "/run/memory", Card(tap), self._tsc_khz
        )
        place = Jail(
            uid=kept_templates.NOBODY,
            gid=kept_templates.NOBODY,
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
            if await asyncio.to_thread(kept_templates.is_full, new):  # QEMU was ended by SIGBUS
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
