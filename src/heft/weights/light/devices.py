"""Devices of the host that a machine gets, and the rules for what it may open."""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from heft.errors import InvalidArgument, StartFailed

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from heft.model.config import DeviceMapping

_REFUSED = 128
_RULE = re.compile(r"([acb]) ([0-9]+|\*):([0-9]+|\*) ([rwm]{1,3})")
_NOT_SHOWN = frozenset({"pts", "shm", "fd", "mqueue", ".lxc", ".lxd-mounts", ".udev"})
"""Directories of /dev that are made anew for every machine."""
_ALL_ACCESS = "rwm"


@dataclass(frozen=True, slots=True)
class Device:
    """One device node, as it shall be in the machine."""

    path: str
    kind: str
    """`c` or `b`."""
    major: int
    minor: int
    mode: int
    """Permission bits."""
    uid: int
    gid: int
    access: str = _ALL_ACCESS


@dataclass(frozen=True, slots=True)
class Rule:
    """What may be done with devices: `a` is any kind, None any number."""

    kind: str
    major: int | None
    minor: int | None
    access: str


def rule(text: str) -> Rule:
    """Read a rule of `--device-cgroup-rule`: `c 42:* rwm`. Raises `InvalidArgument`."""
    found = _RULE.fullmatch(text)
    if found is None:
        raise InvalidArgument(f"invalid device cgroup rule format: '{text}'")
    major, minor = (None if number == "*" else int(number) for number in found.group(2, 3))
    return Rule(found[1], major, minor, found[4])


def resolve(mappings: Sequence[DeviceMapping]) -> tuple[Device, ...]:
    """Look at the devices that were asked for; a directory stands for all devices under it.

    Raises `StartFailed` where there is no such device, in Docker's words.
    """
    return tuple(device for mapping in mappings for device in _resolve(mapping))


def _resolve(mapping: DeviceMapping) -> Iterator[Device]:
    source = Path(mapping.path_on_host)
    target = mapping.path_in_container or mapping.path_on_host
    access = mapping.cgroup_permissions or _ALL_ACCESS
    # A link is followed here, once; the device then has the name that was asked for.
    real = Path(os.path.realpath(source))
    try:
        status = real.stat()
        if stat.S_ISDIR(status.st_mode):
            found = [
                _device(path, os.path.join(target, path.relative_to(real)), access)
                for path in _devices_under(real)
            ]
        else:
            found = [_device(real, target, access)]
    except FileNotFoundError as error:
        raise _failed(mapping, "no such file or directory") from error
    except OSError as error:
        raise _failed(mapping, (error.strerror or str(error)).lower()) from error
    devices = [device for device in found if device is not None]
    if not devices:
        raise _failed(mapping, "not a device node")
    yield from devices


def _failed(mapping: DeviceMapping, why: str) -> StartFailed:
    what = f'adding custom device "{mapping.path_on_host}": {why}'
    return StartFailed(
        f"error gathering device information while {what}",
        exit_code=_REFUSED,
    )


def of_host(directory: Path = Path("/dev")) -> tuple[Device, ...]:
    """Give all devices of the host, as a privileged machine sees them."""
    found = (_device(path, str(path), _ALL_ACCESS) for path in _devices_under(directory))
    return tuple(device for device in found if device is not None)


def _devices_under(directory: Path) -> Iterator[Path]:
    for path, directories, files in os.walk(directory):
        directories[:] = [name for name in directories if name not in _NOT_SHOWN]
        for name in files:
            if name != "console":
                yield Path(path, name)


def _device(path: Path, target: str, access: str) -> Device | None:
    try:
        status = path.lstat()
    except FileNotFoundError:
        return None
    if stat.S_ISCHR(status.st_mode):
        kind = "c"
    elif stat.S_ISBLK(status.st_mode):
        kind = "b"
    else:
        return None
    number = status.st_rdev
    return Device(
        path=target,
        kind=kind,
        major=os.major(number),
        minor=os.minor(number),
        mode=stat.S_IMODE(status.st_mode),
        uid=status.st_uid,
        gid=status.st_gid,
        access=access,
    )


def numbers(path: str) -> tuple[int, int]:
    """Give major and minor number of a block device. Raises `StartFailed` if it is none."""
    try:
        status = os.stat(path)
    except OSError as error:
        raise StartFailed(
            f"{path}: {(error.strerror or '').lower()}", exit_code=_REFUSED
        ) from error
    if not stat.S_ISBLK(status.st_mode):
        raise StartFailed(f"{path}: not a block device", exit_code=_REFUSED)
    return os.major(status.st_rdev), os.minor(status.st_rdev)
