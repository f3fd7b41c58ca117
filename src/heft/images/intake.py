"""Bytes that come in: kept, hashed and decompressed in a thread while another takes them apart.

hashlib, the decompressors, read(2) and write(2) let go of Python's lock, so that both threads get
on at once. The queue between them is short: whoever is faster waits.
"""

from __future__ import annotations

import hashlib
import os
import queue
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from heft.images.compression import LONGEST_MAGIC, Broken, Compression, decompress, detect

if TYPE_CHECKING:
    from collections.abc import Iterator

BLOCK = 1 << 20
WAITING_BLOCKS = 16
LONGEST_HEADER = 1 << 20
"""Bytes of one header record (a long name, extended attributes), as Go's archive/tar has it."""
LONGEST_END = 64 << 20
"""Bytes of padding behind a tar's last entry: more of it is no padding, but a bomb."""

STORABLE = (Compression.NONE, Compression.GZIP, Compression.ZSTD)
"""What an OCI layer can be compressed with; a stream in another format is kept decompressed."""


class Truncated(ValueError):
    """The stream ends where there should be more."""


@dataclass(frozen=True, slots=True)
class Taken:
    """What came in: digest and bytes of what was kept, and of the decompressed stream."""

    digest: str
    size: int
    plain_digest: str
    plain_size: int
    compression: Compression


class Intake:
    """Reads a descriptor to its end; what is decompressed is read from the `Intake`, forwards.

    `keep` is a descriptor that what comes in is written to, or None; without `digest` nothing is
    hashed, and the digests mean nothing. The methods `read`, `tell` and
    `seek` are those that the standard library's tar parser needs.
    """

    def __init__(self, source: int, keep: int | None, *, digest: bool = True) -> None:
        self._source = source
        self._keep = keep
        self._digest = digest
        self._queue: queue.Queue[bytes | BaseException | None] = queue.Queue(WAITING_BLOCKS)
        self._block = memoryview(b"")
        self._at = 0
        self._position = 0
        self._taken: Taken | None = None
        self._thread = threading.Thread(target=self._take, daemon=True)
        self._thread.start()

    # In the thread

    def _take(self) -> None:
        try:
            self._taken = self._take_all()
        except BaseException as error:  # raised again by whoever reads
            self._queue.put(error)
        else:
            self._queue.put(None)

    def _take_all(self) -> Taken:
        beginning = b""
        while len(beginning) < LONGEST_MAGIC and (more := os.read(self._source, BLOCK)):
            beginning += more
        kind = detect(beginning)
        kept, plain = self._tally(self._keep), self._tally(self._keep)
        if kind is Compression.NONE:
            for block in self._blocks(beginning):
                plain.add(block)
                self._queue.put(block)
            kept = plain
        else:
            storable = kind in STORABLE
            kept = self._tally(self._keep if storable else None)
            plain = self._tally(None if storable else self._keep)
            for block in decompress(kind, map(kept.pass_on, self._blocks(beginning))):
                plain.add(block)
                self._queue.put(block)
            kept, kind = (kept, kind) if storable else (plain, Compression.NONE)
        return Taken(kept.digest, kept.size, plain.digest, plain.size, kind)

    def _tally(self, keep: int | None) -> _Tally:
        return _Tally(keep, digest=self._digest)

    def _blocks(self, beginning: bytes) -> Iterator[bytes]:
        if beginning:
            yield beginning
        while block := os.read(self._source, BLOCK):
            yield block

    # For the reader

    def _next_block(self) -> bool:
        """Take the next block; False at the end."""
        if self._taken is not None and self._queue.empty():
            return False
        block = self._queue.get()
        if block is None:
            self._thread.join()
            return False
        if isinstance(block, BaseException):
            raise block
        self._block, self._at = memoryview(block), 0
        return True

    def tell(self) -> int:
        """Give the bytes read so far."""
        return self._position

    def read(self, size: int) -> bytes:
        """Read a part of a header: so many bytes, or fewer at the end of the stream."""
        if size > LONGEST_HEADER or size < 0:
            raise Truncated(f"a header of {size} bytes")
        end = self._at + size
        if end <= len(self._block):
            data = bytes(self._block[self._at : end])
            self._at = end
            self._position += size
            return data
        return b"".join(self.pieces(size, short=True))

    def seek(self, position: int) -> None:
        """Skip to a position ahead. Raises `Truncated` if the stream does not go so far."""
        if position < self._position:
            raise Truncated("a header points backwards")
        for _ in self.pieces(position - self._position):
            pass

    def pieces(self, size: int, *, short: bool = False) -> Iterator[memoryview]:
        """Give the next `size` bytes; `Truncated` if the stream ends before, unless `short`."""
        while size:
            if self._at >= len(self._block) and not self._next_block():
                if short:
                    return
                raise Truncated("unexpected end of the tar")
            piece = self._block[self._at : self._at + size]
            self._at += len(piece)
            self._position += len(piece)
            size -= len(piece)
            yield piece

    def finish(self) -> Taken:
        """Read to the end; say what came in. Raises `Broken` if the end has no end."""
        behind = 0
        while self._next_block():
            behind += len(self._block)
            if behind > LONGEST_END:
                raise Broken(f"more than {LONGEST_END >> 20} MiB behind the end of the tar")
        assert self._taken is not None
        return self._taken


class _Tally:
    """Counts, hashes and keeps what passes."""

    def __init__(self, keep: int | None, *, digest: bool) -> None:
        self._keep = keep
        self._digests = digest
        self._hash = hashlib.sha256()
        self.size = 0

    def add(self, block: bytes) -> None:
        if self._digests:
            self._hash.update(block)
        self.size += len(block)
        if self._keep is not None:
            write_all(self._keep, block)

    def pass_on(self, block: bytes) -> bytes:
        self.add(block)
        return block

    @property
    def digest(self) -> str:
        return f"sha256:{self._hash.hexdigest()}"


def write_all(descriptor: int, data: bytes | memoryview) -> None:
    """Write all of it, however many calls that takes."""
    written = os.write(descriptor, data)
    while written < len(data):
        data = memoryview(data)[written:]
        written = os.write(descriptor, data)


__all__ = ["Broken", "Intake", "Taken", "Truncated", "write_all"]
