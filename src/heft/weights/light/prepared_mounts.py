"""Mounts that are made on the host before the runtime shows them in the machine.

A part of a volume is looked up here, without ever leaving the volume: links in it are whoever's
wrote to it, and the runtime would follow them. Shared memory that other machines may join is a
file system of the run's own. All is under the run's `mounts/`, and goes with the run.
"""

from __future__ import annotations

import os
import stat
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from heft.errors import HostError
from heft.host import mounts
from heft.host.sources import open_source
from heft.model.machine import MountKind, MountPoint
from heft.weights.light import roots

if TYPE_CHECKING:
    from heft.weights.base import Launch
    from heft.weights.light.record import RunDirectory

_NOSUID, _NODEV, _NOEXEC = 0x2, 0x4, 0x8


def make(launch: Launch, run: RunDirectory) -> Launch:
    """Make what is needed; give the launch with the mounts' sources as they are to be shown."""
    if launch.namespaces.ipc == "shareable":
        _make_shared_memory(launch, run.shared_memory)
    with roots.user_namespace(launch) as owners:
        points = tuple(
            _suited(_shown(point, run.mounts / str(number), owners))
            for number, point in enumerate(launch.mounts)
        )
    return replace(launch, mounts=points)


def _suited(point: MountPoint) -> MountPoint:
    """Ask for nothing below a file: crun takes what is read-only below for a directory."""
    if point.read_only and point.kind is not MountKind.TMPFS and not os.path.isdir(point.source):
        return msgspec.structs.replace(point, read_only_below=False)
    return point


def _make_shared_memory(launch: Launch, place: Path) -> None:
    place.mkdir(parents=True)
    uid, gid = launch.ids.root if launch.ids else (0, 0)
    options = ("mode=1777", f"size={launch.shm_size}", f"uid={uid}", f"gid={gid}")
    mounts.mount("tmpfs", place, source="shm", flags=_NOSUID | _NODEV | _NOEXEC, options=options)


def _shown(point: MountPoint, place: Path, owners: int | None) -> MountPoint:
    """Mount at `place` what cannot be shown as it is: a part of a volume, owners of other ids.

    A directory of the host's has the host's owners, as Docker has it: by it, what a machine does
    as root would be done as the host's root.
    """
    ours = (point.kind is MountKind.VOLUME and not point.elsewhere) or point.generated
    if point.subpath or (ours and owners is not None):
        return _part(point, place, owners if ours else None)
    return point


def _part(point: MountPoint, place: Path, owners: int | None) -> MountPoint:
    """Mount a volume, or a part of it, at `place`."""
    part = open_source(point.source, point.subpath)
    try:
        if stat.S_ISDIR(os.fstat(part).st_mode):
            place.mkdir(parents=True)
        else:
            place.parent.mkdir(exist_ok=True)
            place.touch()
        mounts.bind(Path(f"/proc/self/fd/{part}"), place, user_namespace=owners)
    finally:
        os.close(part)
    return msgspec.structs.replace(point, source=str(place), subpath="")


def clear(run: RunDirectory) -> None:
    """Unmount all of it, and remove what it was mounted on; never the other way round."""
    if not run.mounts.exists():
        return
    for place in mounts.mounted_under(run.mounts):
        mounts.unmount(place)
    try:
        for entry in run.mounts.iterdir():
            # What is still mounted on cannot be removed, and what is in it is not the run's.
            entry.rmdir() if entry.is_dir() else entry.unlink()
        run.mounts.rmdir()
    except OSError as error:
        raise HostError(f"cannot remove {error.filename}: {error.strerror}") from error
