"""Mounts: what `--volume`, `--mount` and `--tmpfs` mean."""

from __future__ import annotations

import os

from heft.cli.values.environment import mapping
from heft.cli.values.sizes import size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

ALONE = ("readonly", "ro", "volume-nocopy", "bind-nonrecursive", "bind-create-src")
"""Fields of `--mount` that mean true where they have no value."""
ALIASES = {"src": "source", "destination": "target", "dst": "target", "ro": "readonly"}


def binds(given: Iterable[str]) -> tuple[list[str], dict[str, dict[str, Any]]]:
    """Give the binds, paths that start with a dot made absolute, and the anonymous volumes."""
    bound: list[str] = []
    anonymous: dict[str, dict[str, Any]] = {}
    for each in given:
        source, colon, rest = each.partition(":")
        if not colon:
            anonymous[each] = {}
            continue
        if source.startswith("."):
            source = os.path.abspath(source)
        bound.append(f"{source}:{rest}")
    return bound, anonymous


def tmpfs(given: Iterable[str]) -> dict[str, str]:
    """Give options by path."""
    return {path: options for path, _, options in (each.partition(":") for each in given)}


def mount(given: str) -> dict[str, Any]:
    """Read `type=bind,source=/a,target=/b,readonly`. Raises `ValueError` in Docker's words."""
    fields = _fields(given)
    kind = fields.pop("type", "volume").lower()
    result: dict[str, Any] = {"Type": kind}
    for name, value in fields.items():
        if name in _PLAIN:
            result[_PLAIN[name]] = value
        elif name == "readonly":
            result["ReadOnly"] = _truth(name, value)
        elif name.startswith(("bind-", "volume-", "tmpfs-")):
            family = name.partition("-")[0]
            if family != kind:
                raise ValueError(f"cannot mix '{family}-*' options with mount type '{kind}'")
            _SPECIAL[family](result.setdefault(f"{family.capitalize()}Options", {}), name, value)
        else:
            raise ValueError(f"unexpected key '{name}' in '{name}={value}'")
    if not result.get("Target"):
        raise ValueError("target is required")
    if kind == "bind" and not result.get("Source"):
        raise ValueError("source is required when specifying mounts of type 'bind'")
    source = result.get("Source", "")
    if source == "." or source.startswith(("./", "../")):
        result["Source"] = os.path.abspath(source)
    return result


_PLAIN = {"source": "Source", "target": "Target", "consistency": "Consistency"}


def _fields(given: str) -> dict[str, Any]:
    """Split the text, a line of CSV; what can be given several times is a list."""
    import csv

    fields: dict[str, Any] = {}
    for part in next(csv.reader([given]), []):
        name, equals, value = part.strip().partition("=")
        name = name.lower()
        if not equals:
            if name not in ALONE:
                raise ValueError(f"invalid field '{part}' must be a key=value pair")
            value = "true"
        name = ALIASES.get(name, name)
        if name in ("volume-label", "volume-opt"):
            fields.setdefault(name, []).append(value)
        else:
            fields[name] = value
    return fields


def _truth(name: str, value: str) -> bool:
    if value.lower() in ("1", "true", "t"):
        return True
    if value.lower() in ("0", "false", "f"):
        return False
    raise ValueError(f"invalid value for {name}: {value}")


def _bind(options: dict[str, Any], name: str, value: str) -> None:
    if name == "bind-propagation":
        options["Propagation"] = value.lower()
    elif name == "bind-nonrecursive":
        options["NonRecursive"] = _truth(name, value)
    elif name == "bind-create-src":
        options["CreateMountpoint"] = _truth(name, value)
    elif name == "bind-recursive":
        if value not in _RECURSIVE:
            raise ValueError(
                f"invalid value for {name}: {value} (must be 'enabled', 'disabled', 'writable', or"
                " 'readonly')"
            )
        options.update(_RECURSIVE[value])
    else:
        raise ValueError(f"unexpected key '{name}' in '{name}={value}'")


_RECURSIVE: dict[str, dict[str, bool]] = {
    "enabled": {},
    "disabled": {"NonRecursive": True},
    "writable": {"ReadOnlyNonRecursive": True},
    "readonly": {"ReadOnlyForceRecursive": True},
}


def _volume(options: dict[str, Any], name: str, value: Any) -> None:
    if name == "volume-nocopy":
        options["NoCopy"] = _truth(name, value)
    elif name == "volume-subpath":
        options["Subpath"] = value
    elif name == "volume-label":
        options["Labels"] = mapping(value)
    elif name == "volume-driver":
        options.setdefault("DriverConfig", {})["Name"] = value
    elif name == "volume-opt":
        options.setdefault("DriverConfig", {})["Options"] = mapping(value)
    else:
        raise ValueError(f"unexpected key '{name}' in '{name}={value}'")


def _tmpfs(options: dict[str, Any], name: str, value: str) -> None:
    try:
        if name == "tmpfs-size":
            options["SizeBytes"] = size(value)
        elif name == "tmpfs-mode":
            options["Mode"] = int(value, 8)
        else:
            raise KeyError(name)
    except ValueError:
        raise ValueError(f"invalid value for {name}: {value}") from None
    except KeyError:
        raise ValueError(f"unexpected key '{name}' in '{name}={value}'") from None


_SPECIAL = {"bind": _bind, "volume": _volume, "tmpfs": _tmpfs}
