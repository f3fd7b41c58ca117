"""Which programs of other architectures the host's kernel executes by an emulator.

What is registered with binfmt_misc is a file each (the kernel's admin-guide/binfmt-misc.rst): the
first bytes of the programs, and flags. `F` is for an emulator that was opened when it was
registered; without, a machine's own root would have to hold it.
"""

from __future__ import annotations

from pathlib import Path

from heft.host import elf

REGISTRY = Path("/proc/sys/fs/binfmt_misc")
_NO_ENTRIES = ("register", "status")


def executes(architecture: str, registry: Path = REGISTRY) -> bool:
    """Say whether programs of an architecture, in the words of OCI, have one in any root."""
    try:
        if (registry / "status").read_text().strip() != "enabled":
            return False
        entries = [path for path in registry.iterdir() if path.name not in _NO_ENTRIES]
        return any(_is_for(architecture, path.read_text()) for path in entries)
    except OSError:  # it is not mounted, or an entry went away
        return False


def _is_for(architecture: str, entry: str) -> bool:
    lines = entry.splitlines()
    fields = dict(line.partition(" ")[::2] for line in lines[1:])
    if lines[:1] != ["enabled"] or "F" not in fields.get("flags:", ""):
        return False
    try:
        return elf.architecture(bytes.fromhex(fields.get("magic", ""))) == architecture
    except ValueError:
        return False
