"""A kernel's modules as a disk, for machines that load some themselves: an ext4 in a file.

Initial file systems hold what a guest needs to come up. A machine that boots a whole system, or is
privileged, gets the rest too, at /lib/modules: file systems, networks, devices that are made of
other devices. Drivers of hardware that is not found behind QEMU are left out: more than half.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from typing import TYPE_CHECKING

from heft.failures import translated
from heft.host.processes import run

if TYPE_CHECKING:
    from pathlib import Path

HARDWARE = (
    "sound",
    *(f"drivers/{name}" for name in ("comedi", "gpu", "hid", "hwmon", "iio", "infiniband")),
    *(f"drivers/{name}" for name in ("input", "isdn", "media", "mtd", "platform", "staging")),
    *(f"drivers/{name}" for name in ("usb", "video", "net/ethernet", "net/wireless")),
)
"""Directories of modules, under `kernel`."""
_FEATURES = "none,ext_attr,dir_index,filetype,extent,large_file,dir_nlink,extra_isize"
_BLOCK = 4096
_ROOM = 16 << 20
"""Bytes for what the file system keeps of its own,"""
_INODES = 16
"""besides a part of the whole for its table of files, in what mke2fs.conf(5) takes for small."""
_SECONDS = 120.0


async def make(tree: Path, path: Path) -> None:
    """Make the disk of the modules in `…/lib/modules/RELEASE`, which loses those of hardware.

    Raises `NotSupported` without the tools, `HostError`.
    """
    with translated(f"make {path}"):
        size = await asyncio.to_thread(_strip, tree)
    await run("depmod", "-b", str(tree.parents[2]), tree.name, seconds=_SECONDS)
    with translated(f"make {path}"), path.open("xb") as file:
        file.truncate(size + _ROOM + size // _INODES)
    await run(
        *("mkfs.ext4", "-q", "-F", "-b", str(_BLOCK), "-m", "0", "-O", _FEATURES),
        *("-E", "nodiscard,root_owner=0:0", "-d", str(tree), str(path)),
        seconds=_SECONDS,
    )


def _strip(tree: Path) -> int:
    """Remove what is not wanted; give the bytes that the rest takes in blocks."""
    for name in HARDWARE:
        shutil.rmtree(tree / "kernel" / name, ignore_errors=True)
    for link in ("build", "source"):
        (tree / link).unlink(missing_ok=True)
    size = 0
    for place, directories, files in os.walk(tree):
        size += _BLOCK * len(directories)
        sizes = (os.lstat(os.path.join(place, name)).st_size for name in files)
        size += sum(-(-each // _BLOCK) * _BLOCK for each in sizes)
    return size
