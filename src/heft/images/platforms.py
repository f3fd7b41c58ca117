"""Platforms: `os/architecture[/variant]`, read and compared as containerd's package platforms does.

Others write the same in other words (`x86_64`, `aarch64`, `armhf`; `arm64/v8`, which is `arm64`),
on a command line as in an index or a configuration: both sides are compared as they are normalized.
What one architecture can do for another (a processor that knows the instructions of 386) is not
looked at here: who wants such an image says so.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, NamedTuple

from heft.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Mapping

SYSTEMS = frozenset(
    "aix android darwin dragonfly freebsd hurd illumos ios js linux nacl netbsd openbsd plan9"
    " solaris wasip1 windows zos".split()
)
"""What a word alone is taken for, before it is for an architecture (Go's GOOS)."""
KNOWN = frozenset(
    "386 amd64 amd64p32 arm armbe arm64 arm64be loong64 mips mips64 mips64le mips64p32 mips64p32le"
    " mipsle ppc ppc64 ppc64le riscv riscv64 s390 s390x sparc sparc64 wasm".split()
)
"""Architectures that can stand alone (Go's GOARCH)."""
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i686": "386"}
"""What uname(2) says, in the words of OCI (Go's GOARCH)."""
_NAMES = {
    "i386": ("386", ""),
    "x86_64": ("amd64", ""),
    "x86-64": ("amd64", ""),
    "armhf": ("arm", "v7"),
    "armel": ("arm", "v6"),
    "armv7l": ("arm", "v7"),
    "i686": ("386", ""),
}
"""Architecture and variant of what is another word for both."""
_USUAL = {"arm": "v7", "arm64": "v8", "amd64": "v1"}
"""The variant that is meant where there is none."""
_PART = re.compile(r"[a-z0-9_.-]+")
_DIGIT = re.compile(r"[0-9]")
_NUMBERED = re.compile(r"v([0-9]{1,2})")


class Platform(NamedTuple):
    """One platform, normalized; the variant is empty where it is the usual one (arm: `v7`)."""

    system: str
    architecture: str
    variant: str = ""

    def __str__(self) -> str:
        """Write it as containerd does."""
        return "/".join(part for part in self if part) or "unknown"

    def runs(self, other: Platform) -> int:
        """Say how well a program for another platform fits here: 0 exactly, -1 not at all.

        A variant of `arm` or `amd64` is one that runs all smaller ones too.
        """
        if self[:2] != other[:2]:
            return -1
        if self.variant == other.variant:
            return 0
        wanted, there = (_NUMBERED.fullmatch(each.variant) for each in (self, other))
        if self.architecture == "amd64":  # without a variant it is v1
            wanted = wanted or _NUMBERED.fullmatch("v1")
            there = there or _NUMBERED.fullmatch("v1")
        if self.architecture not in ("arm", "amd64") or not wanted or not there:
            return -1
        return max(-1, int(wanted[1]) - int(there[1]))


def normalize(system: str, architecture: str, variant: str = "") -> Platform:
    """Give a platform in the words that are compared."""
    system, variant = system.lower(), variant.lower()
    architecture = architecture.lower()
    architecture = "arm64" if architecture == "aarch64" else architecture
    architecture, variant = _NAMES.get(architecture, (architecture, variant))
    if architecture in ("arm", "arm64") and _DIGIT.fullmatch(variant):
        variant = f"v{variant}"
    if architecture == "arm":
        variant = variant or _USUAL["arm"]
    elif variant == _USUAL.get(architecture):
        variant = ""
    return Platform("darwin" if system == "macos" else system, architecture, variant)


def parse(text: str) -> Platform:
    """Read `os[/architecture[/variant]]` or an architecture alone; empty is this host's.

    Raises `InvalidArgument`, for a system that is not Linux too.
    """
    parts = text.lower().split("/") if text else ["linux"]
    if len(parts) > 3 or not all(_PART.fullmatch(part) for part in parts):
        raise InvalidArgument(
            f"{text!r} is an invalid OS/architecture", hint="os/architecture[/variant]"
        )
    if len(parts) == 1 and parts[0] not in (*SYSTEMS, "macos"):
        if normalize("linux", parts[0]).architecture not in KNOWN:
            raise InvalidArgument(f"{text!r} is an unknown operating system or architecture")
        parts = ["linux", *parts]
    if len(parts) == 1:
        parts.append(host_architecture())
    found = normalize(*parts)
    if found.system != "linux":
        raise InvalidArgument(f"operating system {found.system!r} is not supported: only linux is")
    return found


def is_for(wanted: Platform, system: str, architecture: str, variant: str) -> bool:
    """Say whether an image is for a platform; one that names no variant is for all of them."""
    there = normalize(system, architecture, variant)
    return wanted.runs(there) >= 0 or (not variant and wanted[:2] == there[:2])


def of(fields: Mapping[str, object]) -> Platform:
    """Give the platform that an entry of an index says; what is no text there is nothing."""
    words = (fields.get(name) for name in ("os", "architecture", "variant"))
    return normalize(*(word if isinstance(word, str) else "" for word in words))


def host_architecture() -> str:
    """Give this host's architecture in the words of OCI."""
    return oci_architecture(os.uname().machine)


def oci_architecture(machine: str) -> str:
    """Give what uname(2) calls a machine in the words of OCI, which are Go's."""
    return ARCHITECTURES.get(machine, machine)
