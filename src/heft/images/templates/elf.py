"""As much of the ELF format (elf(5)) as it takes to see what a program needs to run."""

from __future__ import annotations

import struct
from dataclasses import dataclass

_PT_INTERP = 3
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
