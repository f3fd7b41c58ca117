"""Programs of other architectures, which the host's kernel executes by an emulator.

What is registered with binfmt_misc is a file each (the kernel's admin-guide/binfmt-misc.rst): the
first bytes of the programs, and flags. `F` is for an emulator that was opened when it was
registered; without, a machine's own root would have to hold it. Since Linux 6.7 a user namespace
whose binfmt_misc has been mounted has entries of its own, and sees no others; they are gone with
the last of these mounts.
"""

from __future__ import annotations

import contextlib
import functools
import os
import platform
import shutil
import struct
from pathlib import Path

from heft.failures import translated
from heft.host import elf, paths

PLACE = "proc/sys/fs/binfmt_misc"
REGISTRY = Path("/", PLACE)
KIND = "binfmt_misc"
OURS = "heft-"
"""What the names of Heft's entries begin with; they are a machine's each, and nobody else's."""
_NO_ENTRIES = ("register", "status")
_NAMESPACED = (6, 7)
_FLAGS = "OPF"
"""As Debian registers them: no `C`, with which a program that is set-user-ID would lend its rights
to an emulator that takes orders from the environment."""

_HERE = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i686": "386"}
_QEMU = {
    "386": ("i386", 1, "<", 3),
    "amd64": ("x86_64", 2, "<", 62),
    "arm": ("arm", 1, "<", 40),
    "arm64": ("aarch64", 2, "<", 183),
    "ppc64le": ("ppc64le", 2, "<", 21),
    "riscv64": ("riscv64", 2, "<", 243),
    "s390x": ("s390x", 2, ">", 22),
}
"""By the words of OCI: QEMU's name, and of elf(5) the class, the order of bytes, `e_machine`."""
_EXIT_386 = bytes.fromhex("b801000000 31db cd80")  # mov eax, 1; xor ebx, ebx; int 0x80


def executes(architecture: str, registry: Path = REGISTRY) -> bool:
    """Say whether others have registered an emulator of an architecture that works in any root."""
    try:
        if (registry / "status").read_text().strip() != "enabled":
            return False
        entries = [path for path in registry.iterdir() if path.name not in _NO_ENTRIES]
        return any(
            _is_for(architecture, path.read_text())
            for path in entries
            if not path.name.startswith(OURS)
        )
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


def architecture(platform: str) -> str:
    """Give the architecture of `os/architecture[/variant]`; empty, if there is none."""
    return (*platform.split("/"), "")[1]


def is_native(architecture: str) -> bool:
    """Say whether the host's processor and kernel execute programs of an architecture."""
    here = _HERE.get(platform.machine(), platform.machine())
    return architecture == here or (here == "amd64" and architecture == "386" and _has_386())


@functools.cache
def _has_386() -> bool:
    """Execute one: a kernel can be without (CONFIG_IA32_EMULATION), or be told to be."""
    address, size = 0x8048000, 52 + 32 + len(_EXIT_386)
    header = struct.pack(
        *("<16sHHIIIIIHHHHHH", b"\x7fELF\x01\x01\x01", 2, 3, 1),
        *(address + 52 + 32, 52, 0, 0, 52, 32, 1, 0, 0, 0),
    )
    segment = struct.pack("<8I", 1, 0, address, address, size, size, 5, 4096)
    descriptor = os.memfd_create("386")
    try:
        os.write(descriptor, header + segment + _EXIT_386)
        child = os.posix_spawn(f"/proc/self/fd/{descriptor}", ["386"], {})
        return os.waitpid(child, 0)[1] == 0
    except OSError:
        return False
    finally:
        os.close(descriptor)


def find(architecture: str) -> Path | None:
    """Give the emulator that is installed for an architecture; it needs nothing of any root."""
    name, *_ = _QEMU.get(architecture, ("",))
    found = shutil.which(f"qemu-{name}-static") if name else None
    return Path(found) if found else None


def needed(architecture: str) -> Path | None:
    """Give the emulator to register for an architecture.

    None where there is no need, as the host executes its programs already, or none is installed.
    """
    if is_native(architecture) or executes(architecture):
        return None
    return find(architecture)


def can_execute(architecture: str) -> bool:
    """Say whether machines can have programs of an architecture executed on the host's kernel."""
    there = is_native(architecture) or executes(architecture)
    return there or find(architecture) is not None


def are_namespaced() -> bool:
    """Say whether a user namespace can have entries of its own."""
    major, minor, *_ = (*platform.release().split("."), "0")
    return major.isdecimal() and minor.isdecimal() and (int(major), int(minor)) >= _NAMESPACED


def entry(name: str, architecture: str, emulator: Path) -> bytes:
    """Give what to write to register an emulator (QEMU, scripts/qemu-binfmt-conf.sh)."""
    _, wide, order, machine = _QEMU[architecture]
    ident = b"\x7fELF" + bytes((wide, 1 if order == "<" else 2, 1))
    magic = ident + bytes(9) + struct.pack(f"{order}HH", 2, machine)
    # Whatever the ABI, and a program that can be loaded anywhere (type 3) too.
    mask = b"\xff" * 7 + b"\0" + b"\xff" * 8 + struct.pack(f"{order}HH", 0xFFFE, 0xFFFF)
    fields = (name, "M", "", _escaped(magic), _escaped(mask), str(emulator), _FLAGS)
    return os.fsencode(":" + ":".join(fields))


def _escaped(content: bytes) -> str:
    return "".join(f"\\x{byte:02x}" for byte in content)


def register(name: str, architecture: str, emulator: Path, root: Path, place: str = "") -> None:
    """Register an emulator with the binfmt_misc that is mounted at `place` in the tree `root`.

    Nothing of the tree leads elsewhere. Raises `HostError`.
    """
    with translated(f"register {emulator} with binfmt_misc"), contextlib.suppress(FileExistsError):
        _write(root, os.path.join(place, "register"), entry(name, architecture, emulator))


def forget(name: str, registry: Path) -> None:
    """Take an entry back; harmless where there is none. Raises `HostError`."""
    with (
        translated(f"take {name} back from binfmt_misc"),
        contextlib.suppress(FileNotFoundError),
    ):
        _write(registry, name, b"-1")


def _write(root: Path, path: str, content: bytes) -> None:
    descriptor = paths.open_in_root(root, path, os.O_WRONLY)
    try:
        os.write(descriptor, content)
    finally:
        os.close(descriptor)
