"""As much of the ELF format (elf(5)) as it takes to see what a program needs to run."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_PT_INTERP = 3
_PT_NOTE = 4
_MACHINES = {
    3: "386",
    40: "arm",
    62: "amd64",
    183: "arm64",
    22: "s390x",
    21: "ppc64le",
    243: "riscv64",
}
"""`e_machine`, in the words of OCI."""


@dataclass(frozen=True, slots=True)
class Program:
    """An executable: what it runs on, and whether it needs an interpreter, `ld.so`."""

    architecture: str
    static: bool


def architecture(header: bytes) -> str:
    """Say what the first 20 bytes of a program are for; empty: it is not known."""
    if header[:4] != b"\x7fELF" or len(header) < 20:
        return ""
    return _MACHINES.get(int.from_bytes(header[18:20], "little" if header[5] == 1 else "big"), "")


def read(content: bytes) -> Program | None:
    """Look at an executable; None if it is none, or for a machine that Heft does not know."""
    if content[:4] != b"\x7fELF" or len(content) < 64:
        return None
    order = "<" if content[5] == 1 else ">"
    wide = content[4] == 2
    try:
        (machine,) = struct.unpack_from(f"{order}H", content, 18)
        offset, size, count = _program_headers(content, order, wide=wide)
        kinds = [
            struct.unpack_from(f"{order}I", content, offset + i * size)[0] for i in range(count)
        ]
    except struct.error:
        return None
    architecture = _MACHINES.get(machine)
    return Program(architecture, _PT_INTERP not in kinds) if architecture else None


def _program_headers(content: bytes, order: str, *, wide: bool) -> tuple[int, int, int]:
    """Give where the program headers are, the bytes of each, and how many."""
    (offset,) = struct.unpack_from(f"{order}{'Q' if wide else 'I'}", content, 32 if wide else 28)
    size, count = struct.unpack_from(f"{order}HH", content, 54 if wide else 42)
    return offset, size, count


def notes(content: bytes) -> Iterator[tuple[bytes, int]]:
    """Give the names and types of all notes that a 64-bit program has in memory (`PT_NOTE`).

    Raises `ValueError` for a damaged one.
    """
    try:
        order = "<" if content[5] == 1 else ">"
        offset, size, count = _program_headers(content, order, wide=True)
        for i in range(count):
            kind, _, start, _, _, length = struct.unpack_from(
                f"{order}IIQQQQ", content, offset + i * size
            )
            if kind == _PT_NOTE:
                yield from _notes_in(content[start : start + length], order)
    except (struct.error, IndexError) as error:
        raise ValueError(f"a damaged ELF file: {error}") from error


def _notes_in(segment: bytes, order: str) -> Iterator[tuple[bytes, int]]:
    at = 0
    while at + 12 <= len(segment):
        name_size, size, kind = struct.unpack_from(f"{order}III", segment, at)
        yield segment[at + 12 : at + 12 + name_size].rstrip(b"\0"), kind
        at += 12 + _padded(name_size) + _padded(size)


def _padded(size: int) -> int:
    return -(-size // 4) * 4


def section(content: bytes, wanted: bytes) -> bytes | None:
    """Give the bytes of the first section of this name; None if there is none.

    Raises `ValueError` for what is not an ELF file, or a damaged one.
    """
    if content[:4] != b"\x7fELF":
        raise ValueError("not an ELF file")
    try:
        order = "<" if content[5] == 1 else ">"
        wide = content[4] == 2
        (table,) = struct.unpack_from(f"{order}{'Q' if wide else 'I'}", content, 40 if wide else 32)
        size, count, names = struct.unpack_from(f"{order}HHH", content, 58 if wide else 46)
        form = f"{order}II{'QQQQ' if wide else 'IIII'}"
        headers = [struct.unpack_from(form, content, table + i * size) for i in range(count)]
        name_table = _bytes_of(content, headers[names])
    except (struct.error, IndexError) as error:
        raise ValueError(f"a damaged ELF file: {error}") from error
    for header in headers:
        if name_table[header[0] :].partition(b"\0")[0] == wanted:
            return _bytes_of(content, header)
    return None


def _bytes_of(content: bytes, header: tuple[int, ...]) -> bytes:
    """Give what a section header (name, type, flags, address, offset, size) stands for."""
    found = content[header[4] : header[4] + header[5]]
    if len(found) != header[5]:
        raise ValueError("a damaged ELF file: a section lies outside of it")
    return found
