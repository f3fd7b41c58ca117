"""Templates as they lie on the disk: two files, and a record with the seal of each.

A directory that is half made has another name; it gets its own when all is in it.
"""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
import weakref
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from heft.failures import translated
from heft.host import kept_files, seals
from heft.host.seals import Seal

if TYPE_CHECKING:
    from pathlib import Path

    from heft.guest.shaping import Shape

_log = logging.getLogger(__name__)

RECORD = "template.json"
NOBODY = 65534
_SPEED_PARTS = 10_000
"""Two speeds are one if they differ by less than a part of so many: it is measured anew by each
daemon, to some parts of a million. A guest's clock goes wrong by 6 ms a minute by it at most."""
_FUTURE_WRITE = 0x10
"""F_SEAL_FUTURE_WRITE (fcntl(2)); Python 3.11 has no name for it."""
_COPY = 1 << 20
_PASSABLE = 0o711
"""Others may pass through it to what is theirs."""


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


def begin(new: Path, shape: Shape) -> None:
    """Make the directory of one that is half made, and its memory, for QEMU to write."""
    kept_files.clear(new)
    (new / "vm").mkdir(parents=True)
    os.chmod(new, _PASSABLE)
    with (new / "vm" / "memory").open("wb") as file:
        file.truncate(shape.memory)
    for path in (new / "vm", new / "vm" / "memory"):
        os.chown(path, NOBODY, NOBODY)


def is_full(directory: Path) -> bool:
    """Say whether its disk is."""
    found = os.statvfs(directory)
    return found.f_bavail * found.f_frsize < _COPY


def throw(directory: Path) -> None:
    """Remove one, at once to all who look."""
    gone = directory.with_name(f".gone-{directory.name}")
    kept_files.clear(gone)
    directory.rename(gone)
    kept_files.clear(gone)


def finish(new: Path, directory: Path, *, kit: str, surroundings: str, tsc_khz: int) -> None:
    """Take its files from QEMU, write its record, and give its directory its name."""
    memory = new / "memory"
    (new / "vm" / "memory").rename(memory)
    os.chown(memory, 0, 0)
    os.chmod(memory, 0o600)
    shutil.rmtree(new / "vm")
    content = TemplateRecord(
        memory=seals.seal(memory),
        state=seals.seal(new / "state"),
        kit=kit,
        surroundings=surroundings,
        tsc_khz=tsc_khz,
    )
    (new / RECORD).write_bytes(msgspec.json.encode(content))
    kept_files.clear(directory)
    os.chmod(new, 0o700)
    new.rename(directory)


def record(directory: Path) -> TemplateRecord | None:
    """Read what is said of a template; None if nothing whole is."""
    try:
        content = kept_files.content(directory / RECORD)
        return msgspec.json.decode(content, type=TemplateRecord)
    except (OSError, msgspec.MsgspecError) as error:
        if os.path.lexists(directory):
            _log.warning("template %s is damaged and made again: %s", directory / RECORD, error)
        return None


def is_speed(record: TemplateRecord, tsc_khz: int) -> bool:
    """Say whether the host's counter is as fast as the guests of a template take it to be."""
    return abs(record.tsc_khz - tsc_khz) * _SPEED_PARTS <= tsc_khz


def load(directory: Path, shape: Shape, tsc_khz: int) -> Template | None:
    """Give a template, its memory as a sealed memory file; None if it is missing or damaged."""
    found = record(directory)
    if found is None:
        return None
    if not is_speed(found, tsc_khz):
        _log.warning("template %s is of %d kHz, and made again", directory, found.tsc_khz)
        return None
    for name, seal in (("memory", found.memory), ("state", found.state)):
        if is_damaged(directory / name, seal, everything=True):
            return None
    with translated(f"load {directory}"):
        os.utime(directory)  # those loaded last are kept
        memory = _copied(directory / "memory")
    template = Template(shape, memory, directory / "state", found.state)
    weakref.finalize(template, os.close, memory)
    return template


def is_damaged(path: Path, seal: Seal, *, everything: bool = False) -> bool:
    """Say in the log what is wrong with a file; all of it is read if it was touched."""
    damage = seals.read(path, seal) if everything else seals.check(path, seal)
    if damage:
        _log.warning("template %s is damaged and made again: %s", path, damage)
    return bool(damage)


def _copied(path: Path) -> int:
    memory = os.memfd_create("heft-template", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        with kept_files.opened(path) as file:
            size, position = os.fstat(file).st_size, 0
            os.ftruncate(memory, size)
            while position < size:
                try:
                    position = os.lseek(file, position, os.SEEK_DATA)
                except OSError:
                    break  # nothing but a hole is left
                hole = os.lseek(file, position, os.SEEK_HOLE)
                while position < hole:
                    block = os.pread(file, min(hole - position, _COPY), position)
                    position += os.pwrite(memory, block, position)
        seals_wanted = fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL | _FUTURE_WRITE
        fcntl.fcntl(memory, fcntl.F_ADD_SEALS, seals_wanted)
    except BaseException:
        os.close(memory)
        raise
    return memory
