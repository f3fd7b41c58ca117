"""Seccomp profiles: from the form that Docker and containers-common write to the runtime's own.

A profile is written for all architectures and any set of capabilities; each rule says by
`includes` and `excludes` where it holds (moby, profiles/seccomp; seccomp.json(5)). What is left of
it for one machine is `linux.seccomp` of the OCI runtime specification (config-linux.md, Seccomp).
"""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING

import msgspec

from heft.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Iterable

_MACHINES = {
    "x86_64": ("amd64", "SCMP_ARCH_X86_64"),
    "i686": ("386", "SCMP_ARCH_X86"),
    "aarch64": ("arm64", "SCMP_ARCH_AARCH64"),
    "armv7l": ("arm", "SCMP_ARCH_ARM"),
    "ppc64le": ("ppc64le", "SCMP_ARCH_PPC64LE"),
    "s390x": ("s390x", "SCMP_ARCH_S390X"),
    "riscv64": ("riscv64", "SCMP_ARCH_RISCV64"),
    "mips64": ("mips64", "SCMP_ARCH_MIPS64"),
}
"""What uname(2) calls a machine, in the words of profiles and of libseccomp."""


class _Condition(msgspec.Struct, rename="camel"):
    caps: list[str] | None = None
    arches: list[str] | None = None
    min_kernel: str | None = None


class _Argument(msgspec.Struct, rename="camel", omit_defaults=True):
    index: int
    value: int
    op: str
    value_two: int = 0


class _Rule(msgspec.Struct, rename="camel"):
    action: str
    names: list[str] | None = None
    name: str = ""
    args: list[_Argument] | None = None
    errno_ret: int | None = None
    includes: _Condition | None = None
    excludes: _Condition | None = None


class _ArchitectureGroup(msgspec.Struct, rename="camel"):
    architecture: str
    sub_architectures: list[str] | None = None


class _Profile(msgspec.Struct, rename="camel"):
    default_action: str
    default_errno_ret: int | None = None
    arch_map: list[_ArchitectureGroup] | None = None
    architectures: list[str] | None = None
    flags: list[str] | None = None
    syscalls: list[_Rule] | None = None


class _Filter(msgspec.Struct, rename="camel", omit_defaults=True):
    """A rule as the runtime reads it."""

    names: list[str]
    action: str
    args: list[_Argument] | None = None
    errno_ret: int | None = None


class _Seccomp(msgspec.Struct, rename="camel", omit_defaults=True):
    """`linux.seccomp`."""

    default_action: str
    architectures: list[str]
    syscalls: list[_Filter]
    default_errno_ret: int | None = None
    flags: list[str] | None = None


@functools.lru_cache(maxsize=64)
def converted(
    profile: bytes, capabilities: frozenset[str], machine: str, release: str
) -> msgspec.Raw:
    """Give `linux.seccomp`, serialised, for a process with these capabilities on this kernel.

    `machine` and `release` are those of uname(2). Raises `InvalidArgument` if the profile is not
    one. Converting takes milliseconds; there are few different sets, so results are kept.
    """
    try:
        parsed = msgspec.json.decode(profile, type=_Profile)
    except msgspec.MsgspecError as error:
        raise InvalidArgument(f"Decoding seccomp profile failed: {error}") from error
    if parsed.architectures and parsed.arch_map:
        raise InvalidArgument(
            "both 'architectures' and 'archMap' are specified in the seccomp profile, use either"
        )
    arch, native = _MACHINES.get(machine, (machine, ""))
    kernel = _version(release)
    rules = [
        _Filter(_names(rule), rule.action, rule.args or None, rule.errno_ret)
        for rule in parsed.syscalls or ()
        if _included(rule.includes, capabilities, arch, kernel)
        and not _excluded(rule.excludes, capabilities, arch, kernel)
    ]
    seccomp = _Seccomp(
        default_action=parsed.default_action,
        default_errno_ret=parsed.default_errno_ret,
        architectures=_architectures(parsed, native),
        flags=parsed.flags,
        syscalls=rules,
    )
    return msgspec.Raw(msgspec.json.encode(seccomp))


def _names(rule: _Rule) -> list[str]:
    if rule.name and rule.names:
        raise InvalidArgument(
            "both 'name' and 'names' are specified in a rule of the seccomp profile, use either"
        )
    return [rule.name] if rule.name else rule.names or []


def _architectures(profile: _Profile, native: str) -> list[str]:
    for group in profile.arch_map or ():
        if group.architecture == native:
            return [native, *(group.sub_architectures or ())]
    return profile.architectures or []


def _version(release: str) -> tuple[int, int]:
    found = re.match(r"(\d+)\.(\d+)", release)
    if found is None:
        raise InvalidArgument(f"invalid kernel version {release!r} in the seccomp profile")
    return int(found[1]), int(found[2])


def _included(
    condition: _Condition | None,
    capabilities: Iterable[str],
    arch: str,
    kernel: tuple[int, int],
) -> bool:
    """Say whether all that a rule asks for is there."""
    if condition is None:
        return True
    if condition.arches and arch not in condition.arches:
        return False
    if condition.min_kernel and kernel < _version(condition.min_kernel):
        return False
    return set(condition.caps or ()).issubset(capabilities)


def _excluded(
    condition: _Condition | None,
    capabilities: Iterable[str],
    arch: str,
    kernel: tuple[int, int],
) -> bool:
    """Say whether any of what makes a rule void is there."""
    if condition is None:
        return False
    if condition.arches and arch in condition.arches:
        return True
    if condition.min_kernel and kernel >= _version(condition.min_kernel):
        return True
    return not set(condition.caps or ()).isdisjoint(capabilities)
