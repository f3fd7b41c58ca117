"""The content store: immutable files under the digest of what is in them.

A blob is written elsewhere, hashed on the way, and renamed into its place; it is on the disk before
anything is recorded that needs it (`Store.settle`). Whatever is read is hashed again: a damaged
blob is an error, and never content.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from typing import TYPE_CHECKING

import zstandard

from heft.errors import HostError, NotFound
from heft.failures import translated
from heft.images.decompression import LARGEST_WINDOW
from heft.images.reference import is_digest

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable, Iterator
    from pathlib import Path

    from heft.host.trash import Trash

BLOCK = 1 << 20
SECTOR = 512
"""Bytes of a block as stat(2) counts them."""


class Blobs:
    """Files ROOT/sha256/HEX; `place` is a directory on the same disk for what is being written."""

    def __init__(self, root: Path, place: Path, trash: Trash) -> None:
        self._directory = root / "sha256"
        self._place = place
        self._trash = trash
        self.unsettled = False
        """Whether there are blobs that might not be on the disk yet."""

    def start(self) -> None:
        """Make the directory."""
        self._directory.mkdir(parents=True, exist_ok=True)

    def path(self, digest: str) -> Path:
        """Give where a blob is, or would be."""
        assert is_digest(digest), digest
        return self._directory / digest.removeprefix("sha256:")

    def size(self, digest: str) -> int:
        """Give its bytes. Raises `NotFound`."""
        try:
            return self.path(digest).stat().st_size
        except FileNotFoundError:
            raise NotFound(f"blob {digest} is missing from the store") from None

    def sizes(self, digests: Iterable[str]) -> dict[str, int]:
        """Give the bytes of blobs; 0 of those that are lost."""
        paths = {digest: self.path(digest) for digest in digests}
        return {each: path.stat().st_size if path.exists() else 0 for each, path in paths.items()}

    def taken(self, digest: str) -> int:
        """Give the bytes that it takes on the disk; 0 if there is none."""
        try:
            return self.path(digest).stat().st_blocks * SECTOR
        except FileNotFoundError:
            return 0

    def __contains__(self, digest: str) -> bool:
        return self.path(digest).exists()

    def __iter__(self) -> Iterator[str]:
        return (f"sha256:{entry.name}" for entry in self._directory.iterdir())

    def adopt(self, file: Path, digest: str) -> None:
        """Take over a file that has this digest; no harm if it is there."""
        if digest in self:
            # To replace it would free the old one's blocks while everybody waits.
            self._trash.throw(file)
            return
        with translated(f"store blob {digest}"):
            file.rename(self.path(digest))
        self.unsettled = True

    async def add(self, content: bytes) -> str:
        """Store a small blob; give its digest."""
        digest = digest_of(content)
        if digest not in self:
            file = self._place / secrets.token_hex(8)
            with translated(f"store blob {digest}"):
                await asyncio.to_thread(file.write_bytes, content)
            self.adopt(file, digest)
        return digest

    async def read(self, digest: str, limit: int) -> bytes:
        """Give the content of a blob of at most `limit` bytes, checked.

        Raises `NotFound`, and `HostError` if it is damaged or too large.
        """
        if self.size(digest) > limit:
            raise HostError(f"blob {digest} is larger than {limit} bytes")
        content = b""
        async for block in self.blocks(digest):
            content += block
        return content

    async def blocks(self, digest: str) -> AsyncGenerator[bytes, None]:
        """Give the content in blocks; `NotFound`, or at the end `HostError` if it is damaged."""
        self.size(digest)
        hashed = hashlib.sha256()
        with self.path(digest).open("rb", buffering=0) as file:
            while block := await asyncio.to_thread(file.read, BLOCK):
                await asyncio.to_thread(hashed.update, block)
                yield block
        if f"sha256:{hashed.hexdigest()}" != digest:
            raise _damaged(digest)

    async def undone(self, digest: str, plain: str) -> AsyncGenerator[bytes, None]:
        """Give the content of a blob that zstd has compressed, in blocks; `plain`: its digest.

        However much a few bytes of it stand for, a block has no more than `BLOCK`. Otherwise as
        `blocks`.
        """
        self.size(digest)
        hashed = hashlib.sha256()

        def next_block() -> bytes:
            block: bytes = reader.read(BLOCK)
            hashed.update(block)
            return block

        undoing = zstandard.ZstdDecompressor(max_window_size=LARGEST_WINDOW)
        try:
            with (
                self.path(digest).open("rb") as file,
                undoing.stream_reader(file, read_across_frames=True) as reader,
            ):
                while block := await asyncio.to_thread(next_block):
                    yield block
        except zstandard.ZstdError as error:
            raise _damaged(digest) from error
        if f"sha256:{hashed.hexdigest()}" != plain:
            raise _damaged(digest)

    def delete(self, digest: str) -> int:
        """Remove a blob, give the bytes that it took; no harm if there is none."""
        taken = self.taken(digest)
        self._trash.throw(self.path(digest))
        return taken


def digest_of(content: bytes) -> str:
    """Give the digest of some bytes."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def _damaged(digest: str) -> HostError:
    return HostError(
        f"blob {digest} is damaged on the disk", hint="heft fsck --repair mends what can be"
    )
