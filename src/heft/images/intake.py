"""Bytes that come in: kept, hashed and decompressed in a thread while another takes them apart.

hashlib, the decompressors, read(2) and write(2) let go of Python's lock, so that both threads get
on at once. The queue between them is short: whoever is faster waits.
"""

from __future__ import annotations

import hashlib
import os
import queue
import threading
from typing import TYPE_CHECKING, NamedTuple

from heft.images.compression import LONGEST_MAGIC, Broken, Compression, detect
from heft.images.decompression import decompress
from heft.images.disk import Growing
from heft.images.forward import Forward, Truncated, write_all

if TYPE_CHECKING:
    from collections.abc import Iterator

BLOCK = 1 << 20
WAITING_BLOCKS = 16

STORABLE = (Compression.NONE, Compression.GZIP, Compression.ZSTD)
"""What an OCI layer can be compressed with; a stream in another format is kept decompressed."""


class Taken(NamedTuple):
    """What came in: digest and bytes of what was kept, and of the decompressed stream."""

    digest: str
    size: int
    plain_digest: str
    plain_size: int
    compression: Compression


class Intake(Forward):
    """Reads a descriptor to its end; what is decompressed is read from the `Intake`, forwards.

    `keep` is a descriptor that what comes in is written to, or None; without `digest` nothing is
    hashed, and the digests mean nothing; a digest that is `known` of what comes in is believed.
    `beginning` was read from the descriptor already.
    """

    def __init__(
        self,
        source: int,
        keep: int | None,
        *,
        digest: bool = True,
        known: str = "",
        beginning: bytes = b"",
    ) -> None:
        super().__init__()
        self._source = source
        self._beginning = beginning
        self._keep = keep
        self._digest = digest
        self._known = known
        self._queue: queue.Queue[bytes | BaseException | None] = queue.Queue(WAITING_BLOCKS)
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
        beginning = self._beginning
        while len(beginning) < LONGEST_MAGIC and (more := os.read(self._source, BLOCK)):
            beginning += more
        kind = detect(beginning)
        if kind is Compression.NONE:
            kept = plain = self._tally(self._keep, self._known)
            for block in self._blocks(beginning):
                plain.add(block)
                self._queue.put(block)
        else:
            storable = kind in STORABLE
            kept = self._tally(self._keep if storable else None, self._known)
            plain = self._tally(None if storable else self._keep)
            for block in decompress(kind, map(kept.pass_on, self._blocks(beginning))):
                plain.add(block)
                self._queue.put(block)
            kept, kind = (kept, kind) if storable else (plain, Compression.NONE)
        return Taken(kept.digest, kept.size, plain.digest, plain.size, kind)

    def _tally(self, keep: int | None, known: str = "") -> _Tally:
        return _Tally(keep, known, digest=self._digest and not known)

    def _blocks(self, beginning: bytes) -> Iterator[bytes]:
        if beginning:
            yield beginning
        while block := os.read(self._source, BLOCK):
            yield block

    # For the reader

    def _next(self) -> bytes:
        if self._taken is not None and self._queue.empty():
            return b""
        block = self._queue.get()
        if block is None:
            self._thread.join()
            return b""
        if isinstance(block, BaseException):
            raise block
        return block

    def finish(self) -> Taken:
        """Read to the end; say what came in. Raises `Broken` if the end has no end."""
        self.read_end()
        assert self._taken is not None
        return self._taken


class _Tally:
    """Counts, hashes and keeps what passes."""

    def __init__(self, keep: int | None, known: str, *, digest: bool) -> None:
        self._keep = None if keep is None else Growing(keep)
        self._known = known
        self._digests = digest
        self._hash = hashlib.sha256()
        self.size = 0

    def add(self, block: bytes) -> None:
        if self._digests:
            self._hash.update(block)
        self.size += len(block)
        if self._keep is not None:
            self._keep.write(block)

    def pass_on(self, block: bytes) -> bytes:
        self.add(block)
        return block

    @property
    def digest(self) -> str:
        return self._known or f"sha256:{self._hash.hexdigest()}"


__all__ = ["Broken", "Intake", "Taken", "Truncated", "write_all"]
