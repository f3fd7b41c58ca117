"""The process that reads a disk image (`python -m heft.images.disks.reading TARGET FORM < FILE`).

    reading TARGET FORM      FILE is a disk, TARGET becomes its blob; FORM: its format, or `-`
    reading - MEDIA-TYPE     FILE is a blob of this media type

The verdict's result is what both are: `format`, `virtual_size`, digest and bytes of the file
(`file_digest`, `file_size`) and of the blob (`digest`, `size`).
"""

from __future__ import annotations

import hashlib
import os
import sys
from typing import TYPE_CHECKING, Any

import zstandard

from heft.images import verdict
from heft.images.compression import Compression
from heft.images.decompression import decompress
from heft.images.disk import check_room
from heft.images.disks import formats
from heft.images.disks.artifact import MEDIA_TYPES
from heft.tars.holes import Sparse

if TYPE_CHECKING:
    from collections.abc import Iterator

BLOCK = 1 << 20
LEVEL = 3
"""Of zstd's: what its own program takes."""


class _Tally:
    """Counts and hashes what passes."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self.size = 0

    def passing(self, blocks: Iterator[bytes]) -> Iterator[bytes]:
        """Give blocks on."""
        for block in blocks:
            self._hash.update(block)
            self.size += len(block)
            yield block

    @property
    def digest(self) -> str:
        return f"sha256:{self._hash.hexdigest()}"


def take(target: str, form: str) -> dict[str, Any]:
    """Make the blob of the disk on standard input."""
    os.chdir(os.path.dirname(target))
    file = blob = _Tally()
    head, blocks = _begun(file.passing(_input()))
    # What ends the head of a raw disk cannot be judged before its end is seen.
    known = formats.examine(head, formats.SECTOR, form)
    if known.form == formats.RAW:
        blob = _Tally()
        blocks = blob.passing(_compressed(blocks))
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb", 0):
        written = Sparse(descriptor)
        for block in blocks:
            check_room(len(block), target)
            written.write(block)
        written.finish()
        os.fsync(descriptor)
    disk = formats.examine(head, file.size, known.form)
    return _result(disk, file, blob)


def check(media_type: str) -> dict[str, Any]:
    """Read the blob on standard input."""
    file = blob = _Tally()
    (form,) = (name for name, known in MEDIA_TYPES.items() if known == media_type)
    stream = _input()
    if form == formats.RAW:
        blob = _Tally()
        stream = decompress(Compression.ZSTD, blob.passing(stream))
    head, blocks = _begun(file.passing(stream))
    for _ in blocks:
        if file.size > formats.LARGEST:
            raise formats.Refused(f"a disk of more than {formats.LARGEST} bytes")
    os.fsync(0)
    return _result(formats.examine(head, file.size, form), file, blob)


def _result(disk: formats.Disk, file: _Tally, blob: _Tally) -> dict[str, Any]:
    return {
        "format": disk.form,
        "virtual_size": disk.virtual_size,
        "file_digest": file.digest,
        "file_size": file.size,
        "digest": blob.digest,
        "size": blob.size,
    }


def _input() -> Iterator[bytes]:
    while block := os.read(0, BLOCK):
        yield block


def _begun(blocks: Iterator[bytes]) -> tuple[bytes, Iterator[bytes]]:
    """Give the first bytes of a stream, and all of it."""
    first: list[bytes] = []
    while sum(map(len, first)) < formats.HEAD and (block := next(blocks, b"")):
        first.append(block)

    def everything() -> Iterator[bytes]:
        yield from first
        yield from blocks

    return b"".join(first)[: formats.HEAD], everything()


def _compressed(blocks: Iterator[bytes]) -> Iterator[bytes]:
    packer = zstandard.ZstdCompressor(level=LEVEL, write_checksum=True).compressobj()
    for block in blocks:
        if piece := packer.compress(block):
            yield piece
    yield packer.flush()


def main() -> int:
    """Run the process."""
    target, form = sys.argv[1:]
    if target == "-":
        return verdict.deliver(lambda: check(form))
    return verdict.deliver(lambda: take(target, "" if form == "-" else form))


if __name__ == "__main__":
    sys.exit(main())
