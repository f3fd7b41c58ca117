"""Whether guests run on KVM: only where one has booted on it, with this kernel and this QEMU.

/dev/kvm can be there, open, and run a few instructions, and still boot no kernel. So the first
machine of all makes a template of a guest on KVM, within a bound; how that went is kept for as
long as the host's kernel and processor, QEMU and the kit stay what they are.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import stat
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from heft.errors import HostError, NoSpace
from heft.failures import translated
from heft.guest.architectures import NATIVE
from heft.guest.shaping import Shape
from heft.host import kept_files, whole_files

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from heft.guest.kits import Kit
    from heft.weights.heavy.templates import Templates

_log = logging.getLogger(__name__)

KVM, TCG = "kvm", "tcg"
FOREIGN = "the machine is of another architecture than this host"
DEVICE = Path("/dev/kvm")
PROOF_SECONDS = 15.0
"""How long a guest on KVM may take to be ready; translated ones take some 3 s."""
_PROOF = Shape(128 << 20, 1, KVM)
_CPUS = Path("/proc/cpuinfo")


class Choice(msgspec.Struct, frozen=True):
    """What guests run on, and why."""

    accelerator: str
    why: str
    key: str = ""
    """Of what it was tried with; empty: it was not tried."""
    release: str = ""
    """The host's kernel that it was tried on."""


class Accelerators:
    """Chooses, and keeps what was tried in a file: a `Choice` by the fingerprint of each kit."""

    def __init__(self, record: Path, version: str) -> None:
        self._record = record
        self._version = version
        self._tried: dict[str, Choice] | None = None
        self._choosing = asyncio.Lock()

    def known(self, kit: str = "") -> Choice | None:
        """Say what guests (of a kit: its fingerprint) run on, as far as it was tried; it blocks."""
        if reason := unusable(DEVICE):
            return Choice(TCG, reason)
        tried = self._tried if self._tried is not None else self._read()
        found = [each for name, each in tried.items() if kit in ("", name)]
        return min(found, key=lambda each: each.accelerator != KVM, default=None)

    async def choose(
        self, kit: Kit, templates: Templates, report: Callable[[str], object] = _log.info
    ) -> Choice:
        """Say what guests of a kit run on; a guest is booted to find out, once."""
        if kit.architecture.name != NATIVE:
            return Choice(TCG, FOREIGN)
        if reason := unusable(DEVICE):
            return Choice(TCG, reason)
        async with self._choosing:
            if self._tried is None:
                self._tried = await asyncio.to_thread(self._read)
            key, kept = self._key(kit), self._tried.get(kit.fingerprint)
            if kept is None or kept.key != key:
                kept = await self._try(kit, templates, key, report)
                if not kept.key:
                    return kept
                self._tried[kit.fingerprint] = kept
                await asyncio.to_thread(self._write, dict(self._tried))
            return kept

    async def collect(self, kits: Collection[str]) -> None:
        """Forget what was tried with kits that are not among these (fingerprints)."""
        async with self._choosing:
            tried = self._tried if self._tried is not None else await asyncio.to_thread(self._read)
            kept = {name: each for name, each in tried.items() if name in kits}
            if kept != tried:
                self._tried = kept
                await asyncio.to_thread(self._write, dict(kept))

    async def _try(
        self, kit: Kit, templates: Templates, key: str, report: Callable[[str], object]
    ) -> Choice:
        release = os.uname().release
        try:
            report("Trying whether a guest boots on KVM")
            await templates.ensure(kit, _PROOF, report, seconds=PROOF_SECONDS)
        except NoSpace as error:  # says nothing of KVM
            return Choice(TCG, f"there was no room to try a guest on KVM: {error}")
        except HostError as error:
            _log.warning("machines are translated (tcg): a guest did not boot on KVM: %s", error)
            return Choice(TCG, f"a guest did not boot on KVM: {error}", key, release)
        return Choice(KVM, "a guest has booted on KVM", key, release)

    def _key(self, kit: Kit) -> str:
        parts = (kit.fingerprint, self._version, os.uname().release, _processor())
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()

    def _read(self) -> dict[str, Choice]:
        try:
            return msgspec.json.decode(kept_files.content(self._record), type=dict[str, Choice])
        except (OSError, msgspec.MsgspecError):
            return {}

    def _write(self, tried: dict[str, Choice]) -> None:
        try:
            whole_files.put(self._record, msgspec.json.encode(tried))
        except OSError as error:
            _log.warning("%s cannot be kept, and is tried again: %s", self._record, error)


def group_of(device: Path) -> int:
    """Give the group that may open the device; 0: there is none but root's."""
    found = device.stat()
    return found.st_gid if found.st_mode & 0o060 == 0o060 else 0


def unusable(device: Path) -> str:
    """Say why a QEMU, which is nobody's process, cannot use the device; nothing if it can."""
    try:
        mode = device.stat().st_mode
    except OSError as error:
        return f"{device}: {(error.strerror or str(error)).lower()}"
    if not stat.S_ISCHR(mode):
        return f"{device} is no device"
    if mode & 0o006 != 0o006 and not group_of(device):
        return f"{device} is root's alone: chgrp kvm and chmod 660 let QEMU open it"
    return ""


def groups(accelerator: str) -> tuple[int, ...]:
    """Give the groups that a QEMU has to be in to open what it needs. Raises `HostError`."""
    if accelerator != KVM:
        return ()
    with translated(f"look at {DEVICE}"):
        group = group_of(DEVICE)
    return (group,) if group else ()


@cache
def _processor() -> str:
    lines = _CPUS.read_text(encoding="ascii", errors="replace").splitlines()
    return next((line for line in lines if line.startswith("model name")), "")
