"""An EROFS as it grows in a file: contents from the beginning on, the metadata behind them.

The metadata is collected in a file of its own, as nobody knows where it will begin before the last
content is there.
"""

from __future__ import annotations

import errno
import os

from heft.images import erofs
from heft.images.erofs import BLOCK, INODE_SIZE, SLOT, Node, Unfit

PAGE = 64 << 10
"""The largest page that a guest's kernel has (that of ppc64le). It reads whole ones, the last too,
and one that was restored from a template does not know that the disk ends within it."""
_PIECE = 1 << 20
_LOOK_EVERY = 8 << 20
"""Bytes after which it is looked whether the disk has room left."""


class Growing:
    """A file that is written from one end to the other, but for places that were left free."""

    def __init__(self, file: int, begin: int) -> None:
        self._file = file
        self._begin = begin
        self._buffer = bytearray()
        self._looked = -_LOOK_EVERY
        """Where the end was when it was last looked whether there is room."""

    @property
    def end(self) -> int:
        """Where the next byte goes."""
        return self._begin + len(self._buffer)

    def add(self, data: bytes) -> None:
        """Write something at the end."""
        self._buffer += data
        if len(self._buffer) >= _PIECE:
            self.flush()

    def align(self, size: int) -> None:
        """Let the end be at a multiple of `size`."""
        self.add(bytes(-self.end % size))

    def put(self, position: int, data: bytes) -> None:
        """Fill a place before the end."""
        if position >= self._begin:
            at = position - self._begin
            self._buffer[at : at + len(data)] = data
        else:
            _write(self._file, data, position)

    def flush(self) -> None:
        """Write what is waiting."""
        _write(self._file, bytes(self._buffer), self._begin)
        self._begin += len(self._buffer)
        self._buffer.clear()
        self._look()

    def copy(self, source: int, position: int, size: int) -> None:
        """Write a part of another file at the end; the kernel copies, or shares the blocks."""
        self.flush()
        while size:
            count = _copy(source, position, self._file, self._begin, min(size, _LOOK_EVERY))
            if not count:
                raise Unfit("a file that gets shorter")
            position, size = position + count, size - count
            self._begin += count
            self._look()

    def skip(self, size: int) -> None:
        """Leave a hole."""
        if len(self._buffer) + size < BLOCK:
            self.add(bytes(size))
        else:
            self.flush()
            self._begin += size

    def _look(self) -> None:
        """Fail before the disk's last hundredth is taken, which the store may need."""
        if self._begin - self._looked < _LOOK_EVERY:
            return
        self._looked = self._begin
        space = os.fstatvfs(self._file)
        if space.f_bavail < space.f_blocks // 100:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _write(target: int, data: bytes, position: int) -> None:
    left = memoryview(data)
    while left:
        count = os.pwrite(target, left, position)
        position, left = position + count, left[count:]


def _copy(source: int, position: int, target: int, begin: int, size: int) -> int:
    try:
        return os.copy_file_range(source, target, size, position, begin)
    except OSError as error:
        if error.errno not in (errno.EXDEV, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS):
            raise
    os.lseek(target, begin, os.SEEK_SET)
    return os.sendfile(target, source, position, size)


class ErofsFile:
    """The file system. Inodes are added one by one; `finish` makes it whole."""

    def __init__(self, file: int, metadata: int) -> None:
        self._file = file
        self._metadata_file = metadata
        self.content = Growing(file, BLOCK)
        self._metadata = Growing(metadata, 0)
        self._count = 0

    def inline_room(self, attributes: bytes) -> int:
        """Give how many bytes of content can stand behind an inode."""
        return max(BLOCK - INODE_SIZE - len(attributes), 0)

    def add(self, node: Node, attributes: bytes, inline: bytes | int = b"") -> int:
        """Add an inode; give its nid. `inline`: the content behind it, or room to leave for it."""
        room = inline if isinstance(inline, int) else len(inline)
        size = INODE_SIZE + len(attributes) + room
        self._metadata.align(SLOT)
        if self._metadata.end % BLOCK + size > BLOCK:
            self._metadata.align(BLOCK)
        nid = self._metadata.end // SLOT
        self._count += 1
        self._metadata.add(erofs.inode(node, self._count, len(attributes)) + attributes)
        self._metadata.add(bytes(room) if isinstance(inline, int) else inline)
        return nid

    def fill(self, nid: int, attributes: bytes, inline: bytes) -> None:
        """Write the content behind an inode, where room was left for it."""
        self._metadata.put(nid * SLOT + INODE_SIZE + len(attributes), inline)

    def set_links(self, nid: int, count: int) -> None:
        """Say how many names an inode has."""
        at, data = erofs.links(count)
        self._metadata.put(nid * SLOT + at, data)

    def finish(self, root: int, uuid: bytes) -> None:
        """Put the metadata behind the contents, and the superblock before them."""
        self.content.align(BLOCK)
        begin = self.content.end
        self._metadata.add(bytes(SLOT))  # fsck.erofs(1) looks behind every inode, the last too
        self._metadata.align(BLOCK)
        self._metadata.flush()
        self.content.copy(self._metadata_file, 0, self._metadata.end)
        blocks = self.content.end // BLOCK
        if blocks >= erofs.MOST_BLOCKS or root > erofs.LAST_ROOT:
            raise Unfit(f"a file system of {blocks} blocks")
        first = erofs.superblock(root, self._count, blocks, begin // BLOCK, uuid)
        _write(self._file, first, 0)
        os.ftruncate(self._file, self.content.end + -self.content.end % PAGE)
