"""Which capabilities (capabilities(7)) a workload has."""

from __future__ import annotations

from typing import TYPE_CHECKING

from heft.errors import InvalidArgument
from heft.model.capabilities import ALL

if TYPE_CHECKING:
    from collections.abc import Iterable

DEFAULT = frozenset(
    "CAP_" + name
    for name in (
        "CHOWN DAC_OVERRIDE FSETID FOWNER MKNOD NET_RAW SETGID SETUID SETFCAP SETPCAP "
        "NET_BIND_SERVICE SYS_CHROOT KILL AUDIT_WRITE"
    ).split()
)
"""Docker's fourteen (moby, oci/caps/defaults.go)."""


def settle(
    add: Iterable[str], drop: Iterable[str], *, privileged: bool, available: frozenset[str]
) -> tuple[str, ...]:
    """Give the capabilities of a workload, by number.

    `available` are those the daemon has itself: none other can be given. Raises `InvalidArgument`
    for a name that Linux does not know.
    """
    added, dropped = (_normalise(add, "CapAdd"), _normalise(drop, "CapDrop"))
    if privileged:
        wanted = frozenset(ALL)
    else:
        base = frozenset(ALL) if "ALL" in added else DEFAULT
        base = frozenset() if "ALL" in dropped else base - dropped
        if "ALL" in added:
            base = frozenset(ALL) - dropped
        wanted = base | (added - {"ALL"})
    return tuple(name for name in ALL if name in wanted & available)


def _normalise(names: Iterable[str], field: str) -> frozenset[str]:
    result = set()
    for given in names:
        name = given.upper()
        if name != "ALL":
            name = "CAP_" + name.removeprefix("CAP_")
            if name not in ALL:
                raise InvalidArgument(f'invalid {field}: unknown capability: "{given}"')
        result.add(name)
    return frozenset(result)


def bounding_set() -> frozenset[str]:
    """Give the capabilities that this process could hand on (proc(5), `CapBnd`)."""
    with open("/proc/self/status") as status:
        line = next(line for line in status if line.startswith("CapBnd:"))
    mask = int(line.split()[1], 16)
    return frozenset(name for number, name in enumerate(ALL) if mask >> number & 1)
