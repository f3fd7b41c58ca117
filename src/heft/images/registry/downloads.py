"""Blobs on their way in: files that grow, that are read meanwhile, and gone on with after a break.

A file is DIRECTORY/HEX.SIZE: of the digest and the bytes that it is to have. What is there when a
download ends early is where the next begins; a file that turns out to have another digest begins
again. What nobody went on with is swept.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import time
from typing import TYPE_CHECKING

from heft.errors import HostError, InvalidArgument, NotSupported
from heft.failures import translated
from heft.faults import reach
from heft.host.threads import in_own_thread
from heft.images.forward import write_all
from heft.images.registry.sharing import given_up

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable
    from pathlib import Path

    from heft.host.trash import Trash
    from heft.images.registry.client import Registry

AT_ONCE = 3
"""Blobs that are fetched at the same time, by one daemon (Docker's default)."""
BLOCK = 1 << 20
KEPT_SECONDS = 24 * 3600.0
"""How long a part of a blob waits for somebody to go on with it."""
MOST_BEGINNINGS = 3
"""How often a blob is fetched from its beginning before its registry is given up."""


class Downloads:
    """All downloads of one daemon."""

    def __init__(self, directory: Path, trash: Trash) -> None:
        self._directory = directory
        self._trash = trash
        self._running: dict[str, Download] = {}
        self.turns = asyncio.Semaphore(AT_ONCE)

    def start(self) -> None:
        """Make the directory."""
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.sweep()

    def sweep(self) -> None:
        """Throw away what nobody went on with for long."""
        oldest = time.time() - KEPT_SECONDS
        for entry in os.scandir(self._directory):
            if entry.name not in self._running and entry.stat().st_mtime < oldest:
                self._trash.throw(self._directory / entry.name)

    @contextlib.asynccontextmanager
    async def fetching(
        self, registry: Registry, digest: str, size: int, told: Callable[[str, int, int], None]
    ) -> AsyncIterator[Download]:
        """Have a blob fetched, by this or by whoever fetches it already; `told` how far it is."""
        name = f"{digest.removeprefix('sha256:')}.{size}"
        while (download := self._running.get(name)) is not None and not download.watchers:
            await download.stop()  # nobody wants it any more, and it is just ending
            self._forget(name, download)
        if download is None:
            download = Download(self, registry, self._directory / name, digest, size)
            self._running[name] = download
        download.watchers.append(told)
        refused = False
        try:
            yield download
        except (InvalidArgument, NotSupported):
            refused = True  # nobody will go on with what is no image
            raise
        finally:
            download.watchers.remove(told)
            if not download.watchers:
                await download.stop()
                if (refused or download.is_nothing) and self._running.get(name) is download:
                    self.discard(download.path)
                self._forget(name, download)

    def _forget(self, name: str, download: Download) -> None:
        if self._running.get(name) is download and not download.watchers:
            del self._running[name]

    def discard(self, path: Path) -> None:
        """Throw a file away."""
        self._trash.throw(path)


class Download:
    """One blob; `path` is its file until somebody takes that over."""

    def __init__(
        self, downloads: Downloads, registry: Registry, path: Path, digest: str, size: int
    ) -> None:
        self.path = path
        self.digest = digest
        self.size = size
        self.watchers: list[Callable[[str, int, int], None]] = []
        self.beginnings = 1
        self._downloads = downloads
        self._registry = registry
        self._have = 0
        self._grown = asyncio.Event()
        self._checking = asyncio.Lock()
        self._task = asyncio.create_task(self._fetch())

    @property
    def complete(self) -> bool:
        """Say whether all bytes are there."""
        return self._task.done() and not self._task.cancelled() and not self._task.exception()

    @property
    def is_nothing(self) -> bool:
        """Say whether there is not one byte of it that somebody could go on from."""
        try:
            return self.path.stat().st_size == 0
        except OSError:
            return False

    async def _fetch(self) -> None:
        self._tell("Waiting")
        async with self._downloads.turns:
            with translated(f"write {self.path}"):
                file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                if os.fstat(file).st_size > self.size:
                    os.ftruncate(file, 0)
                self._grow(os.lseek(file, 0, os.SEEK_END))
                await self._write(file)
            finally:
                os.close(file)
        reach("pull.fetched")
        self._tell("Download complete", finished=True)

    async def _write(self, file: int) -> None:
        waiting: list[bytes] = []
        blocks = self._registry.blob(self.digest, self.size, self._have)
        try:
            async with contextlib.aclosing(blocks):
                async for block in blocks:
                    waiting.append(block)
                    if sum(map(len, waiting)) >= BLOCK:
                        taken, waiting = waiting, []
                        await self._put(file, taken)
        except HostError:
            await self._put(file, waiting)  # whoever goes on with it has so much less to fetch
            raise
        await self._put(file, waiting)

    async def _put(self, file: int, blocks: list[bytes]) -> None:
        data = b"".join(blocks)
        with translated(f"write {self.path}"):
            await in_own_thread(lambda: write_all(file, data))
        reach("pull.part")
        self._grow(self._have + len(data))

    def _grow(self, have: int) -> None:
        self._have = have
        self._grown.set()
        self._grown = asyncio.Event()
        self._tell("Downloading")

    def _tell(self, status: str, *, finished: bool = False) -> None:
        for told in self.watchers:
            told(status, 0 if finished else self._have, 0 if finished else self.size)

    async def blocks(self) -> AsyncGenerator[bytes, None]:
        """Give the bytes as they come; they are not checked. Raises what the download does."""
        with self.path.open("rb", buffering=0) as file:
            at = 0
            while True:
                if block := await asyncio.to_thread(file.read, BLOCK):
                    at += len(block)
                    yield block
                elif self._task.done():
                    await self._task
                    if at >= self._have:
                        return
                else:
                    grown = asyncio.create_task(self._grown.wait())
                    await asyncio.wait({grown, self._task}, return_when="FIRST_COMPLETED")
                    grown.cancel()

    async def begun(self) -> None:
        """Return when there is a file. Raises what the download does, if it ends before."""
        while not self._have and not self._task.done():
            grown = asyncio.create_task(self._grown.wait())
            await asyncio.wait({grown, self._task}, return_when="FIRST_COMPLETED")
            grown.cancel()
        if self._task.done():
            await asyncio.shield(self._task)

    async def is_sound(self, beginning: int) -> bool:
        """Say whether the file is what was asked for; it is fetched again where it is not.

        `beginning` is which of the file's beginnings was read. Raises `InvalidArgument` when it was
        fetched often enough.
        """
        async with self._checking:
            if self.beginnings != beginning:
                return False
            await asyncio.shield(self._task)
            digest = await asyncio.to_thread(_digest, self.path)
            if digest == self.digest:
                return True
            self._downloads.discard(self.path)
            if self.beginnings == MOST_BEGINNINGS:
                raise InvalidArgument(
                    f"filesystem layer verification failed for digest {self.digest}:"
                    f" {self._registry.endpoint.host} gave {digest}"
                )
            self.beginnings += 1
            self._have = 0
            self._task = asyncio.create_task(self._fetch())
            return False

    async def stop(self) -> None:
        """End it, if it has not ended."""
        await given_up(self._task)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
