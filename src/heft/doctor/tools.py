"""Programs that Heft starts, and their versions."""

from __future__ import annotations

import re
import shutil
import struct
import subprocess
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from heft.doctor.check import (
    ALL,
    FOREIGN,
    HEAVY,
    LIGHT,
    MEDIUM,
    OWN_KERNEL,
    Check,
    Finding,
    Host,
    Kind,
    lacking,
    there,
    weights,
)

if TYPE_CHECKING:
    from pathlib import Path

_SECONDS = 10.0
_PROGRAM_INTERPRETER = 3
"""PT_INTERP of elf(5): a program that has one is not static."""
_NOBODY: frozenset[str] = frozenset()

QEMU_NAMES = {"x86_64": "x86_64", "aarch64": "aarch64", "ppc64le": "ppc64", "riscv64": "riscv64"}
"""What QEMU calls a machine of uname(2)."""


@dataclass(frozen=True, slots=True)
class Tool:
    """A program, in any of these names; `ask` makes it say its version; `wants` must be in it."""

    names: tuple[str, ...]
    ask: str = "--version"
    wants: str = ""


def find(tool: Tool, host: Host) -> Finding:
    """Look for it in PATH and where Debian keeps programs of root."""
    del host
    for name in tool.names:
        program = shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin:/usr/libexec")
        if program is None:
            continue
        said = _said(program, tool.ask)
        if tool.wants and tool.wants not in said:
            return lacking(f"{program} was built without {tool.wants}")
        return there(version(said) or program)
    return lacking(f"no {' or '.join(tool.names)}")


def _said(program: str, ask: str) -> str:
    try:
        done = subprocess.run(
            [program, ask],
            capture_output=True,
            timeout=_SECONDS,
            check=False,
            text=True,
            errors="replace",
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout + done.stderr


def version(said: str) -> str:
    """Give the first version number in what a program said of itself."""
    found = re.search(r"\b[vV]?(\d+(?:\.\d+)+[-+~.0-9A-Za-z]*)", said)
    return found[1].rstrip(".") if found else ""


def qemu(host: Host) -> Finding:
    """Look for the QEMU of this architecture."""
    return find(Tool((f"qemu-system-{QEMU_NAMES.get(host.machine, host.machine)}",)), host)


def others_qemu(host: Host) -> Finding:
    """Look for whole machines of other architectures."""
    own = QEMU_NAMES.get(host.machine, host.machine)
    return _some(
        "qemu-system-",
        [name for name in ("aarch64", "arm", "riscv64", "ppc64", "s390x", "x86_64") if name != own],
    )


def emulators(host: Host) -> Finding:
    """Look for static user-mode emulators, which work inside any machine's root."""
    own = QEMU_NAMES.get(host.machine, host.machine)
    names = [
        name for name in ("aarch64", "arm", "riscv64", "ppc64le", "s390x", "x86_64") if name != own
    ]
    return _some("qemu-", [f"{name}-static" for name in names])


def _some(prefix: str, names: list[str]) -> Finding:
    found = [name for name in names if shutil.which(prefix + name)]
    if not found:
        return lacking(f"no {prefix}{names[0]} or the like")
    return there(" ".join(name.removesuffix("-static") for name in found))


def static_busybox(host: Host) -> Finding:
    """Look for a busybox that needs no libraries, by its ELF header."""
    for name in ("/bin/busybox", "/usr/bin/busybox", "/bin/busybox-static"):
        path = host.path(name)
        if path.is_file():
            return there(name) if is_static(path) else lacking(f"{name} needs shared libraries")
    return lacking("no busybox")


def is_static(path: Path) -> bool:
    """Say whether a 64-bit ELF program needs no interpreter (elf(5))."""
    with path.open("rb") as file:
        header = file.read(64)
        if header[:5] != b"\x7fELF\x02":
            return False
        order = "<" if header[5] == 1 else ">"
        (offset,) = struct.unpack_from(f"{order}Q", header, 32)
        size, count = struct.unpack_from(f"{order}HH", header, 54)
        file.seek(offset)
        table = file.read(size * count)
    kinds = (struct.unpack_from(f"{order}I", table, size * i)[0] for i in range(count))
    return _PROGRAM_INTERPRETER not in kinds


def _tool(
    names: str,
    package: str,
    lack: str,
    *,
    required: frozenset[str] = _NOBODY,
    helps: frozenset[str] = _NOBODY,
    ask: str = "--version",
    wants: str = "",
) -> Check:
    tool = Tool(tuple(names.split()), ask, wants)
    return Check(
        name=tool.names[0],
        kind=Kind.TOOL,
        probe=partial(find, tool),
        required=required,
        helps=helps,
        lack=lack,
        remedy=f"apt-get install {package}",
    )


_NETWORKED = weights(LIGHT) | OWN_KERNEL
_light = weights(LIGHT)
_heavy = weights(HEAVY)
_medium = weights(MEDIUM)

CHECKS = (
    _tool("crun", "crun", "nothing makes a machine's processes", required=_light, wants="SECCOMP"),
    _tool("conmon", "conmon", "nothing watches a machine while heftd is away", required=_light),
    _tool("catatonit tini-static", "catatonit", "--init is refused", helps=_light),
    _tool("ip", "iproute2", "no network but host and none", required=_NETWORKED, ask="-V"),
    _tool("nft", "nftables", "no way outside, no published ports", required=_NETWORKED),
    _tool("dnsmasq", "dnsmasq-base", "machines do not know each other's names", helps=_NETWORKED),
    _tool("ps", "procps", "no `heft top`", helps=ALL),
    _tool("mmdebstrap", "mmdebstrap", "no `heft bootstrap debian`", helps=ALL),
    Check(
        name="busybox (static)",
        kind=Kind.TOOL,
        probe=static_busybox,
        helps=ALL,
        lack="no `heft bootstrap busybox`",
        remedy="apt-get install busybox-static",
    ),
    _tool("mkfs.ext4", "e2fsprogs", "no writable layer for guests", required=OWN_KERNEL, ask="-V"),
    _tool("bwrap", "bubblewrap", "nothing keeps a guest from all else here", required=OWN_KERNEL),
    Check(
        name="QEMU",
        kind=Kind.TOOL,
        probe=qemu,
        required=_heavy,
        lack="there is no hardware for heavy machines",
        remedy="apt-get install qemu-system-x86 (or that of this architecture)",
    ),
    _tool(
        "qemu-img", "qemu-utils", "disk images of others (qcow2, vmdk) are not read", helps=_heavy
    ),
    _tool(
        "virtfs-proxy-helper /usr/lib/qemu/virtfs-proxy-helper",
        "qemu-system-common",
        "no volumes and binds at the heavy weight",
        helps=_heavy,
    ),
    _tool("diod", "diod", "no volumes and binds at the medium weight", helps=_medium),
    _tool("swtpm", "swtpm", "no TPM for guests that want one", helps=_heavy),
    Check(
        name="emulators (static)",
        kind=Kind.TOOL,
        probe=emulators,
        required=weights(FOREIGN),
        lack="programs of another architecture cannot be executed at the light weight",
        remedy="make foreign, or apt-get install qemu-user-static",
    ),
    Check(
        name="QEMU of other architectures",
        kind=Kind.TOOL,
        probe=others_qemu,
        helps=weights(FOREIGN),
        lack="no heavy machines of another architecture",
        remedy="make foreign, or apt-get install qemu-system-arm",
    ),
)
