"""Archives of the kernel's initial file system: cpio in the "newc" format, written reproducibly.

The format is that of the kernel's Documentation/driver-api/early-userspace/buffer-format.rst: a
header of 6 and 13 times 8 characters (hexadecimal numbers), the name with a zero byte, the content,
each padded to four bytes; the entry `TRAILER!!!` ends it. Everything in it is root's, from the
beginning of 1970, in the order of its path, so that the same entries are the same bytes.
"""

from __future__ import annotations

import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_MAGIC = b"070701"
_TRAILER = "TRAILER!!!"
_BLOCK = 512
"""The whole is padded to this, so that another archive may follow (cpio(1) reads blocks)."""
LARGEST = 0xFFFFFFFF
"""Bytes of one file; the header has eight digits for it."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One file, directory, link or device; `path` is relative, without `.` and `..` in it.

    `mode` is that of stat(2) with the type of the file; `content` is a file's bytes, or where a
    symbolic link leads; `device` is major and minor number of a device.
    """

    path: str
    mode: int
    content: bytes = b""
    device: tuple[int, int] = (0, 0)


def directory(path: str, mode: int = 0o755) -> Entry:
    """Give the entry of a directory."""
    return Entry(path, stat.S_IFDIR | mode)


def file(path: str, content: bytes, mode: int = 0o644) -> Entry:
    """Give the entry of a regular file."""
    return Entry(path, stat.S_IFREG | mode, content)


def character_device(path: str, major: int, minor: int, mode: int = 0o600) -> Entry:
    """Give the entry of a character device."""
    return Entry(path, stat.S_IFCHR | mode, device=(major, minor))


def archive(entries: Iterable[Entry]) -> bytes:
    """Give the archive of these entries, directories before what is in them.

    Raises `ValueError` for two entries with one path, a path that leads out, and a file larger than
    the format can say.
    """
    ordered = sorted(entries, key=lambda entry: entry.path.split("/"))
    parts: list[bytes] = []
    seen: set[str] = set()
    for number, entry in enumerate(ordered, start=1):
        _check(entry, seen)
        parts.extend(_encoded(entry, number))
    parts.extend(_encoded(Entry(_TRAILER, 0), 0))
    size = sum(map(len, parts))
    parts.append(b"\0" * (-size % _BLOCK))
    return b"".join(parts)


def _check(entry: Entry, seen: set[str]) -> None:
    words = entry.path.split("/")
    if "\0" in entry.path or any(word in ("", ".", "..") for word in words):
        raise ValueError(f"not a path inside an archive: {entry.path!r}")
    if entry.path == _TRAILER:
        raise ValueError(f"{entry.path} is what ends an archive")
    if entry.path in seen:
        raise ValueError(f"two entries for {entry.path}")
    if len(entry.content) > LARGEST:
        raise ValueError(f"{entry.path} is larger than {LARGEST} bytes")
    seen.add(entry.path)


def _encoded(entry: Entry, number: int) -> Iterator[bytes]:
    name = entry.path.encode(errors="surrogateescape") + b"\0"
    links = 2 if stat.S_ISDIR(entry.mode) else 1
    fields = (
        number,  # inode
        entry.mode,
        0,  # user
        0,  # group
        links,
        0,  # time of modification
        len(entry.content),
        0,  # device that the file was on: major
        0,  # and minor
        *entry.device,
        len(name),
        0,  # checksum: none in this format
    )
    head = _MAGIC + b"".join(b"%08X" % field for field in fields) + name
    yield head + b"\0" * (-len(head) % 4)
    yield entry.content
    yield b"\0" * (-len(entry.content) % 4)
