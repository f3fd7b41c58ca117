"""Large files that must not change: what one was like when finished, and whether it still is.

To read a file of gigabytes before each use would take longer than the use. So there are two
checks: a quick one, which sees a file that is gone, cut, exchanged, touched, or damaged at its
beginning, where file systems and programs keep what they are; and one that reads everything. Both
block: the daemon calls them in threads.
"""

from __future__ import annotations

import errno
import hashlib
import os
from typing import TYPE_CHECKING

import msgspec

from heft.host import kept_files

if TYPE_CHECKING:
    from pathlib import Path

HEAD = 4096
"""Bytes at the beginning that the quick check reads."""
_BLOCK = 1 << 20
_ZEROS = bytes(_BLOCK)

TOUCHED = "its time has changed"
"""What `look` says of a file that differs in nothing else: it may be whole."""


class Seal(msgspec.Struct, frozen=True, kw_only=True):
    """What a file was like: bytes, time of change (nanoseconds since 1970), sha256 in hex."""

    size: int
    modified: int
    head: str
    """Of the first `HEAD` bytes."""
    digest: str
    """Of all blocks of 1 MiB that are not zeros, each behind its number: holes cost nothing."""


def seal(path: Path) -> Seal:
    """Bring a file to the disk, and describe it. Raises `OSError`."""
    with kept_files.opened(path) as file:
        os.fsync(file)
        status = os.fstat(file)
        head, digest = _head(file), _digest(file)
    return Seal(size=status.st_size, modified=status.st_mtime_ns, head=head, digest=digest)


def look(path: Path, seal: Seal) -> str:
    """Say what is wrong with a file, as far as can be seen quickly; nothing if nothing is."""
    try:
        with kept_files.opened(path) as file:
            status = os.fstat(file)
            if status.st_size != seal.size:
                return f"it has {status.st_size} bytes, not {seal.size}"
            if _head(file) != seal.head:
                return "its beginning has changed"
            return "" if status.st_mtime_ns == seal.modified else TOUCHED
    except OSError as error:
        return (error.strerror or str(error)).lower()


def check(path: Path, seal: Seal) -> str:
    """Say what is wrong with a file, and read all of it where only its time has changed."""
    damage = look(path, seal)
    return read(path, seal) if damage == TOUCHED else damage


def read(path: Path, seal: Seal) -> str:
    """Read all of a file and say what is wrong with it, whatever its time; nothing if nothing."""
    damage = look(path, seal)
    if damage not in ("", TOUCHED):
        return damage
    try:
        with kept_files.opened(path) as file:
            return "" if _digest(file) == seal.digest else "its content has changed"
    except OSError as error:
        return (error.strerror or str(error)).lower()


def _head(file: int) -> str:
    return hashlib.sha256(os.pread(file, HEAD, 0)).hexdigest()


def _digest(file: int) -> str:
    """Hash a file in blocks; Python's lock is let go of meanwhile."""
    hashed, block, position = hashlib.sha256(), bytearray(_BLOCK), 0
    while (data := _data_from(file, position)) is not None:
        position = data - data % _BLOCK
        if not (count := os.preadv(file, [block], position)):
            break  # it was cut just now
        piece = block[:count] if count < _BLOCK else block
        if piece[0] or piece[-1] or piece != _ZEROS[:count]:
            hashed.update((position // _BLOCK).to_bytes(8, "little"))
            hashed.update(piece)
        position += _BLOCK
    return hashed.hexdigest()


def _data_from(file: int, position: int) -> int | None:
    """Give where the next data is (lseek(2), `SEEK_DATA`)."""
    try:
        return os.lseek(file, position, os.SEEK_DATA)
    except OSError as error:
        if error.errno != errno.ENXIO:
            raise
        return None
