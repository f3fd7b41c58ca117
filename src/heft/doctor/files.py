"""Files that are read when a machine is made: profiles, kernels, firmware, tables."""

from __future__ import annotations

import json
import struct
from functools import partial
from typing import TYPE_CHECKING

from heft.doctor.check import (
    ALL,
    FOREIGN,
    HEAVY,
    LIGHT,
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

PROFILES = ("/etc/containers/seccomp.json", "/usr/share/containers/seccomp.json")
FIRMWARE = (
    "/usr/share/qemu/bios-microvm.bin",
    "/usr/share/seabios/bios-microvm.bin",
    "/usr/share/qemu/qboot.rom",
)
UEFI = ("/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_CODE.fd")
GUEST_MODULES = ("erofs", "overlay", "virtio_blk", "virtio_net")
"""What a guest of stock kernel needs to join its root and to have a network."""
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
_HANDLERS = "/proc/sys/fs/binfmt_misc"


def any_file(names: tuple[str, ...], host: Host) -> Finding:
    """Look for the first of these files that is there."""
    for name in names:
        if host.path(name).is_file():
            return there(name)
    return lacking(f"no {names[0]}")


def seccomp_profile(host: Host) -> Finding:
    """Read the profile that machines get."""
    for name in PROFILES:
        if not (text := host.text(name)):
            continue
        try:
            count = len(json.loads(text)["syscalls"])
        except (ValueError, KeyError, TypeError):
            return lacking(f"{name} is no profile")
        return there(f"{name}, {count} rules")
    return lacking(f"no {PROFILES[1]}")


def kernels(host: Host) -> Finding:
    """Look for a stock kernel whose modules are there too, the newest first."""
    boot = host.path("/boot")
    found = sorted(boot.glob("vmlinuz-*"), reverse=True) if boot.is_dir() else []
    problems = []
    for kernel in found:
        release = kernel_release(kernel) or kernel.name.removeprefix("vmlinuz-")
        modules = host.path(f"/lib/modules/{release}")
        if absent := _absent(modules):
            problems.append(f"{release}: no {', '.join(absent)}")
        else:
            return there(release)
    return lacking("; ".join(problems) or "no /boot/vmlinuz-*")


def kernel_release(kernel: Path) -> str:
    """Read the release from a bzImage (Documentation/arch/x86/boot.rst, `kernel_version`)."""
    try:
        with kernel.open("rb") as file:
            head = file.read(0x8000)
    except OSError:
        return ""
    if len(head) < 0x210 or head[0x202:0x206] != b"HdrS":
        return ""
    (offset,) = struct.unpack_from("<H", head, 0x20E)
    return head[offset + 0x200 :].partition(b"\0")[0].partition(b" ")[0].decode("ascii", "replace")


def _absent(modules: Path) -> list[str]:
    """Give those of the guest's modules that are neither built in nor a file."""
    names = ""
    for listing in ("modules.dep", "modules.builtin"):
        try:
            names += (modules / listing).read_text(encoding="utf-8")
        except OSError:
            continue
    return [name for name in GUEST_MODULES if f"/{name}.ko" not in names]


def handlers(host: Host) -> Finding:
    """Read which emulators are registered, and whether they work inside a root (flag F)."""
    place = host.path(_HANDLERS)
    if not place.is_dir():
        return lacking("binfmt_misc is not mounted")
    found: list[str] = []
    outside: list[str] = []
    for entry in sorted(place.glob("qemu-*")):
        lines = entry.read_text(encoding="utf-8", errors="replace").splitlines()
        if "enabled" not in lines:
            continue
        flags = next((line for line in lines if line.startswith("flags:")), "")
        (found if "F" in flags.removeprefix("flags:") else outside).append(entry.name[5:])
    if found:
        return there(" ".join(found))
    return lacking(f"{outside[0]} lacks the flag F" if outside else "none is registered")


def subordinate_ids(host: Host) -> Finding:
    """Look for ranges of user and group ids that are root's or heft's to give away (subuid(5))."""
    ranges = []
    for name in ("/etc/subuid", "/etc/subgid"):
        count = sum(_ranges(host.text(name)))
        if count < 65536:
            return lacking(f"none of 65536 for heft or root in {name}")
        ranges.append(count)
    return there(f"{min(ranges)} ids")


def _ranges(text: str) -> list[int]:
    fields = [line.split(":") for line in text.splitlines()]
    return [
        int(parts[2])
        for parts in fields
        if len(parts) == 3 and parts[0] in ("heft", "root", "0") and parts[2].isdigit()
    ]


def resolver(host: Host) -> Finding:
    """Look for name servers that a machine without a network of Heft's can use too."""
    lines = [line.split() for line in host.text("/etc/resolv.conf").splitlines()]
    servers = [parts[1] for parts in lines if len(parts) > 1 and parts[0] == "nameserver"]
    return there(" ".join(servers)) if servers else lacking("no nameserver in /etc/resolv.conf")


CHECKS = (
    Check(
        name="seccomp profile",
        kind=Kind.FILE,
        probe=seccomp_profile,
        required=weights(LIGHT),
        lack="machines start with --security-opt seccomp=unconfined only",
        remedy="apt-get install golang-github-containers-common",
    ),
    Check(
        name="name servers",
        kind=Kind.FILE,
        probe=resolver,
        helps=ALL,
        lack="machines resolve the names of other machines only",
        remedy="name one in /etc/resolv.conf, or use --dns",
    ),
    Check(
        name="Debian's keys",
        kind=Kind.FILE,
        probe=partial(any_file, (KEYRING,)),
        helps=ALL,
        lack="`heft bootstrap debian` cannot check what it fetches",
        remedy="apt-get install debian-archive-keyring",
    ),
    Check(
        name="subordinate ids",
        kind=Kind.FILE,
        probe=subordinate_ids,
        helps=weights(LIGHT),
        lack="root in a machine cannot be mapped to another user of the host",
        remedy="echo heft:1000000:65536 >> /etc/subuid; the same in /etc/subgid",
    ),
    Check(
        name="kernel for guests",
        kind=Kind.FILE,
        probe=kernels,
        required=weights(HEAVY),
        lack="there is nothing for QEMU to boot",
        remedy="apt-get install linux-image-cloud-amd64 (or that of this architecture)",
    ),
    Check(
        name="firmware microvm",
        kind=Kind.FILE,
        probe=partial(any_file, FIRMWARE),
        helps=weights(HEAVY),
        lack="heavy machines start on QEMU's whole PC, which takes longer",
        remedy="apt-get install seabios qemu-system-data",
    ),
    Check(
        name="firmware UEFI",
        kind=Kind.FILE,
        probe=partial(any_file, UEFI),
        helps=weights(HEAVY),
        lack="disks of systems that start by UEFI only do not boot",
        remedy="apt-get install ovmf",
    ),
    Check(
        name="registered emulators",
        kind=Kind.FILE,
        probe=handlers,
        helps=weights(FOREIGN),
        lack="each machine of another platform has its emulator registered for itself",
        remedy="none is needed; apt-get install binfmt-support registers those there are",
    ),
)
