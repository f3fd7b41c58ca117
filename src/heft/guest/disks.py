"""The upper of a machine with a kernel of its own: an ext4 in a sparse file.

At its root are `upper/` and `work/`, which the guest joins with the base by overlayfs.

**The host never mounts it.** A guest can write anything into it, and a kernel's ext4 is no judge of
a file system that was made to harm it. What is in it is read and written by guests only; the host
looks at its superblock here, and lets e2fsck(8) work on it in a process that can do no more than
change this one file.

What it is made with, and why (measured on Debian 12 with 10 GiB; the default options take three
times as long and leave the guest to write 160 MiB of inode tables):

- `metadata_csum` stays: block groups that nothing was written to need no bitmaps then, so that the
  file begins with 128 KiB, made in 4 ms;
- a journal, by which a crash of the guest or the host leaves the file system whole: 64 MiB of 10
  GiB (with 8 MiB, a guest wrote large files 4 % slower). What was never written takes no space;
- `assume_storage_prezeroed`: the file is all holes, so that nobody has to zero inode tables;
- `packed_meta_blocks`, no `resize_inode`: what is read to mount it lies together at the beginning;
  of the superblock there are two copies elsewhere, for e2fsck(8);
- features that Linux 6.1 knows, given one by one, whatever /etc/mke2fs.conf of the host says.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import shutil
import stat
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from heft.errors import HostError, InvalidArgument, NoSpace
from heft.failures import translated
from heft.host import kept_files
from heft.host.crc32c import crc32c
from heft.host.processes import own_program, run

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from heft.weights.base import Root

NAME = "disk.ext4"
"""Of the file, in the directory of a machine's upper."""
DEFAULT_SIZE = 10 << 30
"""Bytes, as Docker's device mapper gave by default."""
LEAST_SIZE = 32 << 20
LEAST_NET = 9 << 20
"""Of a disk whose size is what can be written to it."""
MOST_SIZE = 16 << 40
"""Bytes: what ext4 can address with blocks of 4 KiB and 32 bits."""
SMALL = 512 << 20
"""Bytes below which mke2fs(8) calls a file system small."""
LABEL = "heft-upper"
_LEAST_JOURNAL, _MOST_JOURNAL, _JOURNAL_PART = 8, 64, 128
"""MiB, and of how many parts of the whole it is one."""
_MIB = 1 << 20
_SUPERBLOCK_AT = _SUPERBLOCK_SIZE = 1024
_BLOCK_SIZE = 4096
_MAGIC = 0xEF53
_HAS_ERRORS = 0x2
_NEEDS_RECOVERY = 0x4
FSCK_SECONDS = 600.0
FOUND_BY_GUEST = "a guest found errors in it"
_NOT_MOUNTED = "disk upper ("
"""How the agent begins to say that it cannot mount one (agent/setup.c)."""
_UNCORRECTED, _FAILED, _ANY_STATUS = 4, 8, 15
"""Bits of the exit status (e2fsck(8)); greater ones are of a wrong use, or of `setpriv`."""
_FEATURES = (
    *("none", "has_journal", "ext_attr", "dir_index", "filetype", "extent", "flex_bg"),
    *("sparse_super2", "large_file", "huge_file", "dir_nlink", "extra_isize", "metadata_csum"),
)
_EXTENDED = (
    "nodiscard",
    "assume_storage_prezeroed=1",
    "packed_meta_blocks=1",
    "num_backup_sb=2",
)


@dataclass(frozen=True, slots=True)
class Owner:
    """What the root directory of a new machine is like: that of its image's topmost layer."""

    uid: int = 0
    gid: int = 0
    mode: int = 0o755

    @classmethod
    def of(cls, layer: Path) -> Owner:
        """Make it like the root of a layer. Raises `HostError`."""
        with translated(f"look at {layer}"):
            status = layer.stat()
        return cls(status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode))


ROOT = Owner()


def of(root: Root) -> Path:
    """Say where a machine's own disk is."""
    return root.upper / NAME


async def provide(root: Root) -> None:
    """Make a machine's own disk, unless there is one. Raises as `make_upper`."""
    with translated(f"make {root.upper}"):
        root.upper.mkdir(mode=0o700, parents=True, exist_ok=True)
    owner = Owner.of(root.layers[-1]) if root.layers else ROOT
    await make_upper(of(root), root.size or DEFAULT_SIZE, owner)


async def make_upper(
    path: Path, size: int = DEFAULT_SIZE, owner: Owner = ROOT, *, net: bool = False
) -> None:
    """Make an empty upper of so many bytes, unless there is one; it appears whole.

    `owner` is what the machine's root directory is to be like. `net`: so much can be written to
    it; the file system's own data come on top. Raises `InvalidArgument` for the size,
    `NotSupported` without e2fsprogs, `NoSpace`, `HostError`; then nothing is left.
    """
    least = LEAST_NET if net else LEAST_SIZE
    if not least <= size <= MOST_SIZE:
        raise InvalidArgument(
            f"a disk of {size} bytes cannot be made",
            hint=f"from {least >> 20} MiB to {MOST_SIZE >> 40} TiB",
        )
    if path.exists():
        return
    new, tree = path.with_name(f"{path.name}.new"), path.with_name(f"{path.name}.tree")
    try:
        journal = journal_mib(size)
        total = size + journal * _MIB if net else size
        free = await _make(path, new, tree, total, owner, journal)
        if net:
            # What the file system takes of its own hardly depends on the size: now it is known.
            await _make(path, new, tree, total + size - free, owner, journal)
        with translated(f"make {path}"):
            await asyncio.to_thread(_finish, new, path)
    finally:
        await asyncio.to_thread(_clear, new, tree)


def journal_mib(size: int) -> int:
    """Give the MiB of the journal of a disk of so many bytes: about what mke2fs(8) gives it."""
    return min(max(size // _JOURNAL_PART // _MIB, _LEAST_JOURNAL), _MOST_JOURNAL)


async def _make(path: Path, new: Path, tree: Path, total: int, owner: Owner, journal: int) -> int:
    """Make the file system of a disk that is to be `path`; give the bytes that are free in it."""
    with translated(f"make {path}"):
        await asyncio.to_thread(_begin, new, tree, -(-total // _BLOCK_SIZE) * _BLOCK_SIZE, owner)
    done = await run(*command(new, tree, journal, small=total < SMALL), check=False)
    if done.status:
        raise _failed(path, done.stderr)
    block, _ = await asyncio.to_thread(_superblock, new)
    blocks, _, free = struct.unpack_from("<III", block, 0x4)
    # What a mounted one keeps back (Linux, fs/ext4/super.c, `ext4_calculate_resv_clusters`).
    return int(free - min(blocks // 50, 4096)) * _BLOCK_SIZE


def command(path: Path, tree: Path, journal: int, *, small: bool = False) -> tuple[str, ...]:
    """Give the command line that makes the file system in a file, with what is in a tree.

    The journal's size is in MiB. A small one has room for more files than its size would give it.
    """
    each = "4096" if small else "16384"
    return (
        *("mkfs.ext4", "-q", "-F", "-b", "4096", "-I", "256", "-i", each, "-m", "0"),
        *("-G", "128", "-J", f"size={journal}", "-e", "remount-ro", "-L", LABEL),
        *("-O", ",".join(_FEATURES), "-E", ",".join(_EXTENDED), "-d", str(tree), str(path)),
    )


def check(path: Path) -> str:
    """Say what is wrong with an upper, as far as its superblock tells; nothing if nothing is.

    Only reads, a page. One that the power was taken from is in order: its journal is replayed by
    the next guest. The layout is that of Linux, Documentation/filesystems/ext4/super.rst.
    """
    try:
        block, size = _superblock(path)
    except OSError as error:
        return (error.strerror or str(error)).lower()
    if len(block) < _SUPERBLOCK_SIZE:
        return f"it has {size} bytes, too few for a file system"
    (blocks,) = struct.unpack_from("<I", block, 0x4)
    magic, state = struct.unpack_from("<HH", block, 0x38)
    (checksum,) = struct.unpack_from("<I", block, 0x3FC)
    if magic != _MAGIC:
        return "its superblock is none of ext4's"
    if checksum != crc32c(block[:0x3FC]):
        return "its superblock is damaged"
    if blocks * _BLOCK_SIZE > size:
        return f"it has {size} bytes, its file system {blocks * _BLOCK_SIZE}"
    return FOUND_BY_GUEST if state & _HAS_ERRORS else ""


@contextlib.asynccontextmanager
async def guarded(path: Path, machine: str) -> AsyncIterator[int]:
    """Hold that a guest is only started with an upper that is whole, as far as can be seen.

    Gives its bytes, which a guest cannot change.
    What its last guest found is mended first, where that goes without loss. When what is done
    inside fails, and no guest has it any more, all of it is looked through: a kernel's word for
    damage is "invalid argument". Raises `HostError` that names the machine and its disk.
    """
    damage = await asyncio.to_thread(check, path)
    if damage == FOUND_BY_GUEST:
        with contextlib.suppress(HostError):
            await repair(path)
        damage = await asyncio.to_thread(check, path)
    if damage:
        raise _damaged(machine, damage)
    size = await asyncio.to_thread(_size, path)
    try:
        yield size
    except NoSpace:
        raise
    except HostError as error:
        damage = ""
        with contextlib.suppress(HostError):
            damage = await look_through(path)
        if not damage and _NOT_MOUNTED in error.message:
            damage = error.message
        if damage:
            raise _damaged(machine, damage) from error
        raise


def _size(path: Path) -> int:
    with translated(f"look at {path}"):
        return path.stat().st_size


def _damaged(machine: str, damage: str) -> HostError:
    return HostError(
        f"the disk of {machine} is damaged: {damage}",
        hint="`heft fsck --repair` mends what can be mended",
    )


async def look_through(path: Path) -> str:
    """Say what is wrong with an upper, after e2fsck(8) has read all of it; nothing if nothing is.

    Changes nothing. Of one whose journal has yet to be replayed it can tell no more than `check`.
    Raises `HostError` where it cannot be looked at.
    """
    if damage := await asyncio.to_thread(check, path):
        return damage
    if await asyncio.to_thread(is_in_use, path):
        return ""
    status = await _fsck(path, "-f", "-n")
    return "its file system has errors" if status & _UNCORRECTED else ""


async def repair(path: Path, *, thoroughly: bool = False) -> bool:
    """Let e2fsck(8) mend an upper that no guest has; say whether there was anything to mend.

    Only what can be mended without loss, unless `thoroughly`: then what cannot be told where it
    belongs goes to `lost+found`, and a lost superblock is replaced by a copy. Raises `HostError` if
    that is not enough.
    """
    status = await _fsck(path, "-f", "-y" if thoroughly else "-p")
    if status & (_UNCORRECTED | _FAILED):
        raise HostError(f"{path} is damaged, and cannot be mended without loss")
    return bool(status)


async def _fsck(path: Path, *options: str) -> int:
    """Run e2fsck apart from everything else (`heft.guest.fsck`); give its exit status."""
    command = own_program("heft.guest.fsck", str(path), *options)
    done = await run(*command, check=False, seconds=FSCK_SECONDS)
    if not 0 <= done.status <= _ANY_STATUS:
        why = done.stderr.decode(errors="replace").strip() or "e2fsck was killed"
        raise HostError(f"cannot look at {path}: {why}")
    return done.status


def usage(path: Path) -> int:
    """Give the bytes that an upper takes on the host's disk. Raises `HostError`."""
    with translated(f"look at {path}"):
        return path.stat().st_blocks * 512


def _superblock(path: Path) -> tuple[bytes, int]:
    with kept_files.opened(path) as file:
        return os.pread(file, _SUPERBLOCK_SIZE, _SUPERBLOCK_AT), os.fstat(file).st_size


def is_in_use(path: Path) -> bool:
    """Say whether a guest has it, or has not come to let go of it (`needs_recovery`)."""
    block, _ = _superblock(path)
    (features,) = struct.unpack_from("<I", block, 0x60)
    return bool(features & _NEEDS_RECOVERY)


def _begin(new: Path, tree: Path, size: int, owner: Owner) -> None:
    """Make the empty file, and the two directories that are to be in it."""
    _clear(new, tree)  # what a killed daemon left
    for name, of in (("upper", owner), ("work", Owner(mode=0o700))):
        (tree / name).mkdir(parents=True)
        os.chown(tree / name, of.uid, of.gid)
        os.chmod(tree / name, of.mode)
    with new.open("xb") as file:
        os.fchmod(file.fileno(), 0o600)
        file.truncate(size)


def _finish(new: Path, path: Path) -> None:
    with new.open("rb") as file:
        os.fsync(file.fileno())
    new.rename(path)


def _clear(new: Path, tree: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        new.unlink()
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(tree)


def _failed(path: Path, stderr: bytes) -> HostError:
    text = stderr.decode(errors="replace").strip()
    what = f"cannot make {path}: {text.splitlines()[-1] if text else 'mkfs.ext4 failed'}"
    if os.strerror(errno.ENOSPC) in text:
        return NoSpace(what, hint="free space on this disk")
    return HostError(what)
