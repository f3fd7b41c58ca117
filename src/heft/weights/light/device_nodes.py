"""/dev of a machine whose users are others on the host: made before it, by the host's root.

In a user namespace nobody can make device nodes. A runtime would show the host's own there, and
crun makes the workload's user the owner of what its standard input is, so of the host's /dev/null.
Here the machine gets nodes that are its own. (For other machines crun does the same by itself.)
"""

from __future__ import annotations

import os
import posixpath
import stat
from typing import TYPE_CHECKING

from heft.errors import StartFailed
from heft.host import mounts
from heft.host.credentials import files_owned_by
from heft.model.ids import outside
from heft.weights.light.devices import Device
from heft.weights.light.failures import REFUSED

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from heft.model.ids import IdMap, IdRange
    from heft.weights.base import Launch

USUAL = tuple(
    Device(f"/dev/{name}", "c", major, minor, 0o666, 0, 0)
    for name, major, minor in (
        *(("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9)),
        ("tty", 5, 0),
    )
)
"""What every machine has (OCI runtime specification, config-linux.md, Default Devices)."""
_LINKS = {
    "fd": "/proc/self/fd",
    "stdin": "/proc/self/fd/0",
    "stdout": "/proc/self/fd/1",
    "stderr": "/proc/self/fd/2",
    "core": "/proc/kcore",
    "ptmx": "pts/ptmx",
}
_POINTS = ("pts", "shm", "mqueue")
_NOSUID, _NOEXEC = 0x2, 0x8


def make(launch: Launch, ids: IdMap, place: Path, devices: Sequence[Device]) -> None:
    """Mount a small file system at `place`, and make in it what the machine has in /dev.

    Raises `StartFailed` for what cannot be with user namespaces, `HostError`.
    """
    _check_mounts(launch)
    place.mkdir(parents=True)
    options = ("mode=755", "size=65536k")
    mounts.mount("tmpfs", place, source="tmpfs", flags=_NOSUID | _NOEXEC, options=options)
    with files_owned_by(*ids.root):
        os.chown(place, *ids.root)
        for name in _POINTS:
            (place / name).mkdir(mode=0o755)
        for name, target in _LINKS.items():
            (place / name).symlink_to(target)
        if launch.process.tty:
            (place / "console").touch(mode=0o600)  # for the terminal to be shown at
        for device in (*USUAL, *devices):
            _make_node(device, ids, place)


def _make_node(device: Device, ids: IdMap, place: Path) -> None:
    path = posixpath.normpath(device.path)
    if not path.startswith("/dev/"):
        raise StartFailed(
            f"device {device.path} is not under /dev, which it must be with user namespaces",
            exit_code=REFUSED,
            hint="name a place under /dev, or use --userns=host",
        )
    node = place / path.removeprefix("/dev/")
    node.parent.mkdir(parents=True, exist_ok=True)
    node.unlink(missing_ok=True)
    kind = stat.S_IFBLK if device.kind == "b" else stat.S_IFCHR
    os.mknod(node, kind | device.mode, os.makedev(device.major, device.minor))
    os.chown(node, _owner(ids.users, device.uid), _owner(ids.groups, device.gid))
    node.chmod(device.mode)


def _owner(ranges: tuple[IdRange, ...], inside: int) -> int:
    """Give the owner as the machine is to see it; an id that it does not have is root's."""
    try:
        return outside(ranges, inside)
    except KeyError:
        return outside(ranges, 0)


def _check_mounts(launch: Launch) -> None:
    ours = {"/dev", *(device.path for device in USUAL)}
    for point in launch.mounts:
        if point.target in ours:
            raise StartFailed(
                f"nothing can be mounted over {point.target} with user namespaces",
                exit_code=REFUSED,
                hint="use --device, or --userns=host",
            )
