"""Limits and devices. Readers of flags raise `ValueError`, the others `Failure`."""

from __future__ import annotations

from heft.cli.failures import Failure
from heft.cli.values.sizes import size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

ULIMITS = frozenset(
    (
        "core cpu data fsize locks memlock msgqueue nice nofile nproc rss rtprio rttime"
        " sigpending stack"
    ).split()
)


def ulimit(given: str) -> dict[str, Any]:
    """Read `nofile=1024:2048` (go-units, ulimit.go)."""
    name, equals, limits = given.partition("=")
    if not equals:
        raise ValueError(f"invalid ulimit argument: {given}")
    if name not in ULIMITS:
        raise ValueError(f"invalid ulimit type: {name}")
    values = limits.split(":")
    if len(values) > 2:
        raise ValueError(
            f"too many limit value arguments - {limits}, can only have up to two, `soft[:hard]`"
        )
    numbers = []
    for value in values:
        try:
            numbers.append(int(value))
        except ValueError:
            raise ValueError(f'strconv.ParseInt: parsing "{value}": invalid syntax') from None
    soft, hard = numbers[0], numbers[-1]
    if hard != -1 and (soft == -1 or soft > hard):
        raise ValueError(
            f"ulimit soft limit must be less than or equal to hard limit: {soft} > {hard}"
        )
    return {"Name": name, "Soft": soft, "Hard": hard}


def device(given: str) -> dict[str, str]:
    """Read `/dev/x`, `/dev/x:/dev/y`, `/dev/x:rw`, `/dev/x:/dev/y:rwm`."""
    parts = given.split(":")
    mode, target = "rwm", parts[0]
    if len(parts) == 3:
        target, mode = parts[1] or parts[0], parts[2]
    elif len(parts) == 2 and _is_mode(parts[1]):
        mode = parts[1]
    elif len(parts) == 2:
        target = parts[1]
    if len(parts) > 3 or not parts[0] or not target:
        raise Failure(f"bad format for path: {given}")
    if not target.startswith("/"):
        raise Failure(f"{target} is not an absolute path")
    if not _is_mode(mode):
        raise Failure(f"bad mode specified: {mode}")
    return {"PathOnHost": parts[0], "PathInContainer": target, "CgroupPermissions": mode}


def _is_mode(given: str) -> bool:
    return bool(given) and set(given) <= set("rwm") and len(set(given)) == len(given)


def throttle_bytes(given: str) -> dict[str, Any]:
    """Read `/dev/sda:1mb`."""
    path, rate = _of_device(given)
    try:
        return {"Path": path, "Rate": size(rate)}
    except ValueError:
        raise ValueError(
            f"invalid rate for device: {given}. The correct format is {_BPS}"
        ) from None


def throttle_operations(given: str) -> dict[str, Any]:
    """Read `/dev/sda:100`."""
    path, rate = _of_device(given)
    if not rate.isdecimal():
        raise ValueError(f"invalid rate for device: {given}. The correct format is {_IOPS}")
    return {"Path": path, "Rate": int(rate)}


def weight_device(given: str) -> dict[str, Any]:
    """Read `/dev/sda:500`."""
    path, weight = _of_device(given)
    if not weight.isdecimal() or (int(weight) and not 10 <= int(weight) <= 1000):
        raise ValueError(f"invalid weight for device: {given}")
    return {"Path": path, "Weight": int(weight)}


_BPS = "<device-path>:<number>[<unit>]. Number must be a positive integer. Unit is optional"
_IOPS = "<device-path>:<number>. Number must be a positive integer"


def _of_device(given: str) -> tuple[str, str]:
    path, colon, value = given.partition(":")
    if not colon or not value:
        raise ValueError(f"bad format: {given}")
    if not path.startswith("/dev/"):
        raise ValueError(f"bad format for device path: {given}")
    return path, value
