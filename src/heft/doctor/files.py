"""Files that are read when a machine is made: profiles, kernels, firmware, tables."""

from __future__ import annotations

import contextlib
import json
import shutil
from functools import partial

from heft.doctor.check import (
    ALL,
    FOREIGN,
    HEAVY,
    LIGHT,
    MEDIUM,
    Check,
    Finding,
    Host,
    Kind,
    lacking,
    there,
    weights,
)

PROFILES = ("/etc/containers/seccomp.json", "/usr/share/containers/seccomp.json")
FIRMWARE = (
    "/usr/share/qemu/bios-microvm.bin",
    "/usr/share/seabios/bios-microvm.bin",
    "/usr/share/qemu/qboot.rom",
)
UEFI = ("/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_CODE.fd")
FETCHERS = ("apt-get", "dpkg-deb")
"""What fetches and unpacks the package of a guest's kernel."""
KITS = {
    **dict.fromkeys(("uml", "debian-xen"), MEDIUM),
    **dict.fromkeys(("debian-arm64", "debian-ppc64el", "debian-riscv64", "debian-s390x"), FOREIGN),
}
"""Whose machines have a kit; all others, of whatever name, are heavy ones'."""
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


def kernels(host: Host, weight: str) -> Finding:
    """Look for guest kits of a weight, or for what fetches one on first need.

    (`heft.guest.kits`, `heft.guest.kernel_packages`)
    """
    with contextlib.suppress(OSError):  # they are root's alone
        kits = host.path(f"{host.data}/kits").glob("*/kit.json")
        names = sorted(path.parent.name for path in kits)
        found = [name for name in names if KITS.get(name, HEAVY) == weight]
        if found:
            return there(f"kits: {', '.join(found)}")
    if absent := [name for name in FETCHERS if shutil.which(name) is None]:
        return lacking(f"no guest kit, and no {', '.join(absent)} to fetch one")
    return there("fetched on first need")


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
        name="kernel of medium machines",
        kind=Kind.FILE,
        probe=partial(kernels, weight=MEDIUM),
        required=weights(MEDIUM),
        lack="there is no kernel for medium machines to run",
        remedy="install apt and dpkg, which fetch it (user-mode-linux)",
    ),
    Check(
        name="kernel of heavy machines",
        kind=Kind.FILE,
        probe=partial(kernels, weight=HEAVY),
        required=weights(HEAVY),
        lack="there is no kernel for heavy machines to boot",
        remedy="heft kit pull --kernel FILE, with a kernel of your own",
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
