"""An ext4 file system, read as a stream of entries, without the kernel.

It is what a guest has written, so every number in it may be a lie: whatever is read is checked
against the size of the file, no block of a directory or of a tree of extents is read more often
than there are blocks, and no directory is entered twice. Whoever reads so is confined besides
(`heft.uppers.reading`).

Read is what `heft.guest.disks` makes and a kernel writes there: blocks of 4 KiB, extents, group
descriptors of 32 bytes. The layout is that of Linux, Documentation/filesystems/ext4.
"""

from __future__ import annotations

import os
import stat
import struct
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from heft.uppers.entries import Damaged, Entry, Piece, is_kept, shown

if TYPE_CHECKING:
    from collections.abc import Iterator

BLOCK = 4096
_SUPERBLOCK_AT, _SUPERBLOCK_SIZE, _MAGIC = 1024, 1024, 0xEF53
_ROOT = 2
_RECOVER = 0x4
_KNOWN_FEATURES = 0x2 | 0x40 | 0x200
"""Incompatible ones: types in directories, extents, groups that lie together."""
_EXTENTS, _INLINE = 0x80000, 0x10000000
"""Flags of inodes."""
_EXTENT_MAGIC, _DEEPEST, _LONGEST_WRITTEN = 0xF30A, 5, 32768
_ATTRIBUTES_MAGIC = 0xEA020000
_OLD_INODE = 128
_PREFIXES = {1: "user.", 4: "trusted.", 6: "security.", 7: "system."}
_ACLS = {2: "system.posix_acl_access", 3: "system.posix_acl_default"}
_FAST_LINK = 60
_LONGEST_LINK = 4096


@dataclass(frozen=True, slots=True)
class Inode:
    """What is known of a file but for its data."""

    number: int
    raw: bytes
    mode: int
    uid: int
    gid: int
    size: int
    links: int
    flags: int
    atime: int
    mtime: int


class FileSystem:
    """The file system in an open file. Methods raise `Damaged`, `OSError`."""

    def __init__(self, file: int) -> None:
        self._file = file
        block = os.pread(file, _SUPERBLOCK_SIZE, _SUPERBLOCK_AT)
        if len(block) < _SUPERBLOCK_SIZE or _u16(block, 0x38) != _MAGIC:
            raise Damaged("it is no ext4")
        features = _u32(block, 0x60)
        if features & _RECOVER:
            raise Damaged("its journal has yet to be replayed")
        if features & ~_KNOWN_FEATURES or _u32(block, 0x18) != 2 or _u32(block, 0x14):
            raise Damaged(f"it is of a kind that Heft does not make (features {features:#x})")
        self._inodes, self._blocks = _u32(block, 0x0), _u32(block, 0x4)
        self._inode_size, self._per_group = _u16(block, 0x58), _u32(block, 0x28)
        if not _OLD_INODE < self._inode_size <= BLOCK or not self._per_group:
            raise Damaged("its superblock is damaged")
        if self._blocks * BLOCK > os.fstat(file).st_size:
            raise Damaged("its file is too short")
        self._left = self._blocks
        self._block = lru_cache(maxsize=256)(self._read_block)

    def entries(self, name: bytes) -> Iterator[Entry | None]:
        """Give all that is under a directory of the root, itself first."""
        try:
            yield from self._entries(name)
        except (struct.error, IndexError) as error:
            raise Damaged("what leads to its files is damaged") from error

    def _entries(self, name: bytes) -> Iterator[Entry | None]:
        root = self._inode(_ROOT)
        number = next((found for each, found in self._names(root) if each == name), 0)
        top = self._inode(number) if number else root
        if not number or not stat.S_ISDIR(top.mode):
            raise Damaged(f"it has no directory {shown(name)}")
        entered = {number}
        yield self._entry(b".", top)
        below = [self._names(top)]
        while below:
            each = next(below[-1], None)
            if each is None:
                below.pop()
                yield None
                continue
            inode = self._inode(each[1])
            yield self._entry(each[0], inode)
            if stat.S_ISDIR(inode.mode):
                if inode.number in entered:
                    raise Damaged(f"the directory {shown(each[0])} is in two places")
                entered.add(inode.number)
                below.append(self._names(inode))

    def _entry(self, name: bytes, inode: Inode) -> Entry:
        mode = inode.mode
        is_file, is_directory = stat.S_ISREG(mode), stat.S_ISDIR(mode)
        is_device = stat.S_ISCHR(mode) or stat.S_ISBLK(mode)
        return Entry(
            name=name,
            mode=mode,
            uid=inode.uid,
            gid=inode.gid,
            atime=inode.atime,
            mtime=inode.mtime,
            identity=inode.number if inode.links > 1 and not is_directory else 0,
            device=_device(inode.raw) if is_device else 0,
            size=inode.size if is_file else 0,
            target=self._target(inode) if stat.S_ISLNK(mode) else b"",
            attributes=tuple(self._attributes(inode)),
            pieces=tuple(self._pieces(inode)) if is_file else (),
        )

    # Inodes

    def _inode(self, number: int) -> Inode:
        if not 0 < number <= self._inodes:
            raise Damaged(f"it has an inode {number}, of {self._inodes}")
        group, index = divmod(number - 1, self._per_group)
        block, place = divmod(BLOCK + group * 32, BLOCK)
        table = _u32(self._block(block), place + 8)
        block, place = divmod(table * BLOCK + index * self._inode_size, BLOCK)
        raw = self._block(block)[place : place + self._inode_size]
        extra = _u16(raw, 0x80)
        later = extra >= 0x10
        return Inode(
            number=number,
            raw=raw,
            mode=_u16(raw, 0x0),
            uid=_u16(raw, 0x2) | _u16(raw, 0x78) << 16,
            gid=_u16(raw, 0x18) | _u16(raw, 0x7A) << 16,
            size=_u32(raw, 0x4) | _u32(raw, 0x6C) << 32,
            links=_u16(raw, 0x1A),
            flags=_u32(raw, 0x20),
            atime=_time(_u32(raw, 0x8), _u32(raw, 0x8C) if later else 0),
            mtime=_time(_u32(raw, 0x10), _u32(raw, 0x88) if later else 0),
        )

    def _target(self, inode: Inode) -> bytes:
        if inode.size >= _LONGEST_LINK:
            raise Damaged("it has a link that is too long")
        if not inode.flags & _EXTENTS and inode.size < _FAST_LINK:
            return inode.raw[0x28 : 0x28 + inode.size]
        piece = next(self._pieces(inode), None)
        if piece is None or piece.to or piece.length < inode.size:
            raise Damaged("it has a link that leads nowhere")
        return os.pread(self._file, inode.size, piece.at)

    # Blocks

    def _read_block(self, number: int) -> bytes:
        data = os.pread(self._file, BLOCK, number * BLOCK) if number < self._blocks else b""
        if len(data) < BLOCK:
            raise Damaged(f"it has a block {number}, of {self._blocks}")
        return data

    def _count(self, blocks: int) -> None:
        """Hear that so many blocks more are read as what leads to others."""
        self._left -= blocks
        if self._left < 0:
            raise Damaged("it goes in circles")

    def _pieces(self, inode: Inode) -> Iterator[Piece]:
        """Give where the data of a file are, up to its size."""
        if not inode.size:
            return
        if inode.flags & _INLINE or not inode.flags & _EXTENTS:
            raise Damaged("it has a file that is not made of extents")
        end = 0
        for first, noted, at in self._extents(inode.raw[0x28:0x64], _DEEPEST + 1):
            written = noted <= _LONGEST_WRITTEN
            length = noted if written else noted - _LONGEST_WRITTEN
            if first < end or not length or at + length > self._blocks:
                raise Damaged("it has a file whose extents are damaged")
            end = first + length
            size = min(length * BLOCK, inode.size - first * BLOCK)
            if written and size > 0:
                yield Piece(first * BLOCK, at * BLOCK, size)

    def _extents(self, node: bytes, above: int) -> Iterator[tuple[int, int, int]]:
        """Give block of the file, length as it is written down, and block of the file system."""
        magic, count, _, depth = struct.unpack_from("<HHHH", node)
        if magic != _EXTENT_MAGIC or depth >= above or 12 + count * 12 > len(node):
            raise Damaged("it has a file whose extents are damaged")
        for number in range(count):
            if not depth:
                first, length, high, low = struct.unpack_from("<IHHI", node, 12 + number * 12)
                yield first, length, high << 32 | low
                continue
            _, low, high = struct.unpack_from("<IIH", node, 12 + number * 12)
            self._count(1)
            yield from self._extents(self._read_block(high << 32 | low), depth)

    # Directories

    def _names(self, directory: Inode) -> Iterator[tuple[bytes, int]]:
        for piece in self._pieces(directory):
            self._count(-(-piece.length // BLOCK))
            for at in range(piece.at, piece.at + piece.length, BLOCK):
                yield from _in_block(self._read_block(at // BLOCK))

    # Extended attributes

    def _attributes(self, inode: Inode) -> Iterator[tuple[str, bytes]]:
        start = _OLD_INODE + _u16(inode.raw, 0x80)
        if start + 4 <= len(inode.raw) and _u32(inode.raw, start) == _ATTRIBUTES_MAGIC:
            yield from _attributes(inode.raw, start + 4, start + 4)
        if block := _u32(inode.raw, 0x68) | _u16(inode.raw, 0x76) << 32:
            data = self._block(block)
            if _u32(data, 0) != _ATTRIBUTES_MAGIC:
                raise Damaged("it has a file whose attributes are damaged")
            yield from _attributes(data, 32, 0)


def _in_block(block: bytes) -> Iterator[tuple[bytes, int]]:
    """Give the names in a block of a directory; those of an index look like empty ones."""
    at = 0
    while at < BLOCK:
        number, step, length = struct.unpack_from("<IHB", block, at)
        if step < 8 or step % 4 or at + step > BLOCK or 8 + length > step:
            raise Damaged("it has a directory that is damaged")
        name = block[at + 8 : at + 8 + length]
        if number and name not in (b".", b".."):
            yield name, number
        at += step


def _attributes(data: bytes, at: int, values: int) -> Iterator[tuple[str, bytes]]:
    """Give the attributes in a list; `values` is what their places are counted from."""
    while at + 4 <= len(data) and _u32(data, at):
        length, prefix, place, elsewhere, size = struct.unpack_from("<BBHII", data, at)
        name = data[at + 16 : at + 16 + length]
        value = data[values + place : values + place + size] if size else b""
        if elsewhere or len(name) < length or len(value) < size:
            raise Damaged("it has a file whose attributes are damaged")
        at += (16 + length + 3) & ~3
        if prefix in _ACLS:
            yield _ACLS[prefix], _acl(value)
        elif prefix in _PREFIXES:
            text = _PREFIXES[prefix] + os.fsdecode(name)
            if is_kept(text, value):
                yield text, value


def _acl(value: bytes) -> bytes:
    """Give an access list as setxattr(2) takes it: all entries of eight bytes."""
    if len(value) < 4 or _u32(value, 0) != 1:
        raise Damaged("it has an access list that is damaged")
    found, at = struct.pack("<I", 2), 4
    while at < len(value):
        tag, permissions = struct.unpack_from("<HH", value, at)
        at += 4
        who = 0xFFFFFFFF
        if tag in (0x02, 0x08):  # a user, a group
            who = _u32(value, at)
            at += 4
        found += struct.pack("<HHI", tag, permissions, who)
    return found


def _device(raw: bytes) -> int:
    if old := _u32(raw, 0x28):
        return os.makedev(old >> 8 & 0xFF, old & 0xFF)
    new = _u32(raw, 0x2C)
    return os.makedev(new >> 8 & 0xFFF, new & 0xFF | new >> 12 & 0xFFF00)


def _time(seconds: int, extra: int) -> int:
    signed = seconds - (1 << 32) if seconds >> 31 else seconds
    nanoseconds = min(extra >> 2, 999_999_999)
    return (signed + ((extra & 3) << 32)) * 1_000_000_000 + nanoseconds


def _u16(data: bytes, at: int) -> int:
    return int(struct.unpack_from("<H", data, at)[0])


def _u32(data: bytes, at: int) -> int:
    return int(struct.unpack_from("<I", data, at)[0])
