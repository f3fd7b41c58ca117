"""The process that merges layers into one EROFS file (`python -m heft.images.merge`).

    merge FILE UUID VIEW [LAYER…]

FILE is what to make (FILE.metadata is left beside it), VIEW an empty directory, LAYER… the
directories of the layers from the lowest up. They are stacked on VIEW by overlayfs, which knows all
about whiteouts and opaque directories and shows none of its own marks, in a mount namespace that
goes with the process. The verdict (`heft.images.verdict`) is the file's `heft.host.seals.Seal`.

Why not mkfs.erofs(1)? That of Debian 12 (erofs-utils 1.5) takes 4.7 KB of memory for every file,
gigabytes for an image that was made to be so, cannot store names of 255 bytes, writes holes out,
and gives other bytes with every version. This takes as long.
"""

from __future__ import annotations

import os
import stat
import sys
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from heft.failures import NO_WRITES, refused
from heft.host import seals
from heft.images import attributes, below, erofs, verdict
from heft.images.erofs import BLOCK, FILE_TYPES, Node
from heft.images.erofs_file import ErofsFile

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
_BUFFERED = 64 << 10
"""Bytes up to which a file is read and written; larger ones are copied by the kernel."""


@dataclass(slots=True)
class Directory:
    """A directory that is being gone through; its inode is there, its content is not."""

    nid: int
    size: int
    attributes: bytes
    block: int | None
    """Where its content goes; None: behind its inode."""
    waiting: Iterator[os.DirEntry[bytes]]
    children: list[erofs.Child] = field(default_factory=list)


class Merger:
    """Goes through the tree at the working directory, and puts everything into the file."""

    def __init__(self, file: ErofsFile) -> None:
        self._file = file
        self._linked: dict[tuple[int, int], list[int]] = {}
        """Nid, and names so far, of files that have several; by device and inode number."""

    def tree(self) -> int:
        """Put in the whole tree; give the nid of its root."""
        status = os.stat(b".")
        root = self._enter(status, None)
        ways = [root]
        while ways:
            here = ways[-1]
            entry = next(here.waiting, None)
            if entry is None:
                self._leave(ways.pop())
                if ways:
                    os.chdir("..")
                continue
            status = entry.stat(follow_symlinks=False)
            if stat.S_ISDIR(status.st_mode):
                os.chdir(entry.name)
                ways.append(self._enter(status, here))
                nid = ways[-1].nid
            else:
                nid = self._one(entry.name, status)
            here.children.append((entry.name, nid, FILE_TYPES[stat.S_IFMT(status.st_mode)]))
        for nid, count in self._linked.values():
            self._file.set_links(nid, count)
        return root.nid

    def _enter(self, status: os.stat_result, parent: Directory | None) -> Directory:
        with os.scandir(b".") as entries:
            found = sorted(entries, key=lambda entry: entry.name)
        size = erofs.directory_size(sorted([b".", b"..", *(each.name for each in found)]))
        packed = _attributes(b".")
        block = None
        if size > self._file.inline_room(packed):
            block = self._file.content.end // BLOCK
            self._file.content.add(bytes(size + -size % BLOCK))
        folders = sum(each.is_dir(follow_symlinks=False) for each in found)
        node = _node(status, size=size, where=block, links=2 + folders)
        nid = self._file.add(node, packed, size if block is None else 0)
        here = Directory(nid, size, packed, block, iter(found))
        folder = FILE_TYPES[stat.S_IFDIR]
        above = here if parent is None else parent
        here.children += [(b".", nid, folder), (b"..", above.nid, folder)]
        return here

    def _leave(self, directory: Directory) -> None:
        content = erofs.pack_directory(sorted(directory.children))
        assert len(content) == directory.size
        if directory.block is None:
            self._file.fill(directory.nid, directory.attributes, content)
        else:
            self._file.content.put(directory.block * BLOCK, content)

    def _one(self, name: bytes, status: os.stat_result) -> int:
        """Put in what is no directory, unless it is there under another name."""
        if status.st_nlink == 1:
            return self._new(name, status)
        key = (status.st_dev, status.st_ino)
        known = self._linked.get(key)
        if known is None:
            known = self._linked[key] = [self._new(name, status), 0]
        known[1] += 1
        return known[0]

    def _new(self, name: bytes, status: os.stat_result) -> int:
        if stat.S_ISREG(status.st_mode):
            source = os.open(name, _READ)
            try:
                return self._regular(source, status)
            finally:
                os.close(source)
        packed = _attributes(name)
        if stat.S_ISLNK(status.st_mode):
            return self._small(status, packed, os.readlink(name))
        device = status.st_rdev
        where = erofs.device(os.major(device), os.minor(device))
        return self._file.add(_node(status, size=0, where=where), packed)

    def _regular(self, source: int, status: os.stat_result) -> int:
        packed, size = _attributes(source), status.st_size
        if size <= self._file.inline_room(packed):
            return self._small(status, packed, os.read(source, size) if size else b"")
        content = self._file.content
        where = content.end // BLOCK
        if status.st_blocks * 512 < size:
            for begin, end in _extents(source, size):
                content.skip(where * BLOCK + begin - content.end)
                content.copy(source, begin, end - begin)
            content.skip(where * BLOCK + size - content.end)
        elif size <= _BUFFERED:
            content.add(os.read(source, size))
        else:
            content.copy(source, 0, size)
        content.align(BLOCK)
        return self._file.add(_node(status, size=size, where=where), packed)

    def _small(self, status: os.stat_result, packed: bytes, content: bytes) -> int:
        """Put in something whose content fits behind its inode, if it does."""
        size = len(content)
        if size <= self._file.inline_room(packed):
            return self._file.add(_node(status, size=size, where=None), packed, content)
        where = self._file.content.end // BLOCK
        self._file.content.add(content)
        self._file.content.align(BLOCK)
        return self._file.add(_node(status, size=size, where=where), packed)


def _node(status: os.stat_result, *, size: int, where: int | None, links: int = 1) -> Node:
    """Describe a file; `where` is None for content behind the inode."""
    return Node(
        status.st_mode,
        status.st_uid,
        status.st_gid,
        size,
        status.st_mtime_ns,
        links,
        where or 0,
        where is None and size > 0,
    )


def _attributes(where: int | bytes) -> bytes:
    """Read the extended attributes that a layer may have, packed."""
    follow = isinstance(where, int)
    found = os.listxattr(where, follow_symlinks=follow)
    if not found:
        return b""
    return erofs.pack_attributes(
        {
            name: os.getxattr(where, name, follow_symlinks=follow)
            for name in found
            if attributes.is_allowed(name)
        }
    )


def _extents(source: int, size: int) -> Iterator[tuple[int, int]]:
    """Give where a file has data, begin and end."""
    end = 0
    while end < size:
        try:
            begin = os.lseek(source, end, os.SEEK_DATA)
        except OSError:
            return  # ENXIO: none behind here
        end = min(os.lseek(source, begin, os.SEEK_HOLE), size)
        yield begin, end


def merge(file: str, identity: str, view: str, layers: Sequence[str]) -> dict[str, Any]:
    """Make the file. Raises `OSError`, `HeftError`, `ValueError`."""
    target, metadata = os.open(file, _NEW, 0o600), os.open(f"{file}.metadata", _NEW, 0o600)
    if layers:
        below.open_view([Path(layer) for layer in layers], Path(view))
    os.chdir(view)
    made = ErofsFile(target, metadata)
    made.finish(Merger(made).tree(), uuid.UUID(identity).bytes)
    os.fchmod(target, 0o444)  # for whoever a mount lets to it: its directory is root's alone
    sealed: dict[str, Any] = msgspec.to_builtins(seals.seal(Path(file)))
    return sealed


def main() -> int:
    """Run the process."""
    file, identity, view, *layers = sys.argv[1:]

    def work() -> dict[str, Any]:
        try:
            return merge(file, identity, view, layers)
        except OSError as error:
            if error.errno in NO_WRITES:
                raise
            raise refused("merge the layers", error) from error

    return verdict.deliver(work)


if __name__ == "__main__":
    sys.exit(main())
