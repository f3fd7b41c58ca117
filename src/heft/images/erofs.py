"""EROFS as it is on a disk: superblock, inodes, directories, extended attributes.

Pure. Sources: Linux 6.1, fs/erofs/erofs_fs.h and Documentation/filesystems/erofs.rst. Of the format
this is the oldest and simplest part, which every kernel with EROFS reads: nothing is compressed,
all inodes are of the extended kind, which has room for owners, times and sizes in full. Numbers are
little-endian. An inode is known by its *nid*, its place in the metadata in units of `SLOT` bytes.
"""

from __future__ import annotations

import stat
import struct
from typing import TYPE_CHECKING, NamedTuple

from heft.host.crc32c import crc32c

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

BLOCK = 4096
SLOT = 32
INODE_SIZE = 64
MOST_BLOCKS = 1 << 32
LAST_ROOT = 0xFFFF
"""The largest nid that the root directory can have."""
LONGEST_ATTRIBUTES = 4 * 0xFFFF

_MAGIC = 0xE0F5E1E2
_SUPERBLOCK_AT = 1024
_CHECKSUM, _MTIME = 0x1, 0x2
"""Features: the superblock has a checksum; inodes have their files' times of change."""
_EXTENDED = 1
_PLAIN, _INLINE = 0 << 1, 2 << 1
"""Where content is: in blocks of its own, or right behind its inode."""

_SUPERBLOCK = struct.Struct("<IIIBBHQQIIII16s16sI44x")
_INODE = struct.Struct("<HHH2xQIIIIqII16x")
_LINKS_AT = 44
_DIRENT = struct.Struct("<QHBx")
_ATTRIBUTE = struct.Struct("<BBH")
_ATTRIBUTES_HEADER = bytes(12)

_PREFIXES = {
    "user.": 1,
    "system.posix_acl_access": 2,
    "system.posix_acl_default": 3,
    "trusted.": 4,
    "security.": 6,
}
"""Beginnings of names of extended attributes, and the numbers that stand for them."""

FILE_TYPES = {
    stat.S_IFREG: 1,
    stat.S_IFDIR: 2,
    stat.S_IFCHR: 3,
    stat.S_IFBLK: 4,
    stat.S_IFIFO: 5,
    stat.S_IFSOCK: 6,
    stat.S_IFLNK: 7,
}
"""What a directory says of an entry's kind (include/linux/fs_types.h, `FT_*`)."""

Child = tuple[bytes, int, int]
"""An entry of a directory: name, nid, file type."""


class Unfit(ValueError):
    """Something that EROFS cannot hold."""


class Node(NamedTuple):
    """What an inode says of a file. `where`: its first block, or the number of its device."""

    mode: int
    uid: int
    gid: int
    size: int
    modified: int
    links: int
    where: int
    inline: bool


def superblock(root: int, inodes: int, blocks: int, metadata: int, uuid: bytes) -> bytes:
    """Give the first block. `root` is a nid, `metadata` the block where nid 0 is."""

    def filled(checksum: int) -> bytes:
        return _SUPERBLOCK.pack(
            *(_MAGIC, checksum, _CHECKSUM | _MTIME, BLOCK.bit_length() - 1, 0, root, inodes),
            *(0, 0, blocks, metadata, 0, uuid, b"heft-base", 0),
        ).ljust(BLOCK - _SUPERBLOCK_AT, b"\0")

    return bytes(_SUPERBLOCK_AT) + filled(crc32c(filled(0)))


def inode(node: Node, number: int, attributes: int) -> bytes:
    """Give an inode; `attributes` is the size of what `pack_attributes` gave."""
    seconds, nanoseconds = divmod(node.modified, 1_000_000_000)
    return _INODE.pack(
        _EXTENDED | (_INLINE if node.inline else _PLAIN),
        (attributes - len(_ATTRIBUTES_HEADER)) // 4 + 1 if attributes else 0,
        node.mode,
        node.size,
        node.where,
        number,
        node.uid,
        node.gid,
        seconds,
        nanoseconds,
        node.links,
    )


def links(count: int) -> tuple[int, bytes]:
    """Give where in an inode the number of its names stands, and what."""
    return _LINKS_AT, struct.pack("<I", count)


def device(major: int, minor: int) -> int:
    """Give the number of a device (Linux, include/linux/kdev_t.h, `new_encode_dev`)."""
    return (minor & 0xFF) | major << 8 | (minor & ~0xFF) << 12


def pack_attributes(attributes: Mapping[str, bytes]) -> bytes:
    """Give what stands behind an inode that has extended attributes. Raises `Unfit`."""
    if not attributes:
        return b""
    packed = bytearray(_ATTRIBUTES_HEADER)
    for name, value in sorted(attributes.items()):
        prefix = next((each for each in _PREFIXES if name.startswith(each)), None)
        if prefix is None:
            raise Unfit(f"extended attribute {name}")
        rest = name.removeprefix(prefix).encode("utf-8", "surrogateescape")
        packed += _ATTRIBUTE.pack(len(rest), _PREFIXES[prefix], len(value)) + rest + value
        packed += bytes(-len(packed) % 4)
    if len(packed) > LONGEST_ATTRIBUTES:
        raise Unfit(f"{len(packed)} bytes of extended attributes")
    return bytes(packed)


def directory_size(names: Iterable[bytes]) -> int:
    """Give the bytes of a directory of these names (sorted, with `.` and `..`)."""
    blocks = used = 0
    for name in names:
        needed = _DIRENT.size + len(name)
        if used + needed > BLOCK:
            blocks += 1
            used = 0
        used += needed
    return blocks * BLOCK + used


def pack_directory(children: Sequence[Child]) -> bytes:
    """Give the content of a directory; its entries are sorted by name, and `.` and `..` there.

    In every block the entries come first, then their names; a name ends where the next begins.
    """
    packed = bytearray()
    first = used = 0
    for at, (name, _, _) in enumerate(children):
        needed = _DIRENT.size + len(name)
        if used + needed > BLOCK:
            packed += _pack_block(children[first:at]).ljust(BLOCK, b"\0")
            first, used = at, 0
        used += needed
    return bytes(packed + _pack_block(children[first:]))


def _pack_block(children: Sequence[Child]) -> bytes:
    entries, names = bytearray(), bytearray()
    begin = _DIRENT.size * len(children)
    for name, nid, file_type in children:
        entries += _DIRENT.pack(nid, begin + len(names), file_type)
        names += name
    return bytes(entries + names)
