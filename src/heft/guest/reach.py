"""A heavy machine's files: `heft.weights.abilities.Filing`, through a guest's agent.

For a machine that does not run a guest is started with its disk and its volumes and without its
workload: the host never mounts a disk that a guest has written. The engine sees to it that nobody
else starts the machine meanwhile. A daemon that is killed leaves such a guest to the next one's
sweep; what was acknowledged is on the disk by then.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from heft.guest.filing import GuestFiles
from heft.guest.protocol import Operation

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from contextlib import AbstractAsyncContextManager

    from heft.guest.run import GuestRun
    from heft.model.files import Change, FileStatus, Landing
    from heft.weights.base import Launch


class Reach:
    """What a weight needs to reach its machines' files; what is not implemented is its own."""

    def _running(self, machine_id: str) -> GuestRun | None:
        """Give the run of a machine whose guest is there."""
        raise NotImplementedError

    def _serving(self, launch: Launch) -> AbstractAsyncContextManager[GuestRun]:
        """Start a guest without the workload, and end it again."""
        raise NotImplementedError

    @contextlib.asynccontextmanager
    async def _files(self, launch: Launch) -> AsyncIterator[GuestFiles]:
        if (run := self._running(launch.id)) is not None:
            yield GuestFiles(run.transfers, launch.name)
            return
        async with self._serving(launch) as run:
            yield GuestFiles(run.transfers, launch.name)

    async def file_status(self, launch: Launch, path: str) -> FileStatus:
        """Say what is at a path."""
        async with self._files(launch) as files:
            return await files.status(path)

    @contextlib.asynccontextmanager
    async def pack(
        self, launch: Launch, path: str
    ) -> AsyncIterator[tuple[FileStatus, AsyncIterator[bytes]]]:
        """Give what is at a path as a tar."""
        async with self._files(launch) as files, files.pack(path) as packed:
            yield packed

    async def unpack(
        self, launch: Launch, path: str, tar: AsyncIterator[bytes], landing: Landing
    ) -> None:
        """Put a tar into a directory."""
        async with self._files(launch) as files:
            await files.unpack(path, tar, landing)

    async def changes(self, launch: Launch) -> tuple[Change, ...]:
        """Give what the machine has changed of its image."""
        async with self._files(launch) as files:
            return await files.changes()

    @contextlib.asynccontextmanager
    async def pack_layer(self, launch: Launch) -> AsyncIterator[AsyncIterator[bytes]]:
        """Give its changes as the tar of a layer."""
        async with self._files(launch) as files, files.given(Operation.PACK_LAYER) as blocks:
            yield blocks

    @contextlib.asynccontextmanager
    async def pack_root(self, launch: Launch) -> AsyncIterator[AsyncIterator[bytes]]:
        """Give its whole root, without what is mounted in it."""
        async with self._files(launch) as files, files.pack_root() as blocks:
            yield blocks
