"""All checks."""

from __future__ import annotations

from heft.doctor import files, filesystems, groups, hardware, limits, namespaces, network, tools
from heft.doctor.check import Check, Host, Kind, Result

_MODULES = (namespaces, filesystems, groups, network, hardware, tools, limits, files)
_ORDER = {kind: number for number, kind in enumerate(Kind)}

CHECKS: tuple[Check, ...] = tuple(
    sorted((check for module in _MODULES for check in module.CHECKS), key=lambda c: _ORDER[c.kind])
)


def examine(host: Host, weights: tuple[str, ...]) -> tuple[Result, ...]:
    """Make every check, once, that has to do with any of these weights."""
    wanted = frozenset(weights)
    return tuple(
        Result(check, check.probe(host))
        for check in CHECKS
        if wanted & (check.required | check.helps)
    )
