"""A guest's files, as `heft.weights.abilities.Filing` has them, through its agent.

The guest does the work, sees its own files only, and is believed in nothing: what it gives is a
stream of bytes for the client, or for what takes in layers from anywhere.
"""

from __future__ import annotations

import asyncio
import contextlib
import struct
from typing import TYPE_CHECKING

from heft.errors import HostError, InvalidArgument, NotFound
from heft.guest.outgoing import Outgoing
from heft.guest.protocol import Operation, ProtocolError, Tag
from heft.guest.records import Fields, Record
from heft.images.compression import LONGEST_MAGIC, Broken, Compression, detect
from heft.images.decompression import Decompressor
from heft.model.files import Change, ChangeKind, FileStatus, called, check_changes, missing

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from heft.guest.transfers import Transfers
    from heft.model.files import Landing

_LONGEST_CHANGE = 16 << 10
_FIELD = struct.Struct("<HHI")
_SIGN = 1 << 63
_MOST_MODE = 0xFFFF
"""Type and permissions are 16 bits."""


class GuestFiles:
    """The files of one machine whose guest has been set up. `name` is the machine's, for errors."""

    def __init__(self, transfers: Transfers, name: str) -> None:
        self._transfers = transfers
        self._name = name

    async def status(self, path: str) -> FileStatus:
        """Say what is at a path."""
        with self._found(path):
            return _status(await self._transfers.status(path), path)

    @contextlib.asynccontextmanager
    async def pack(self, path: str) -> AsyncIterator[tuple[FileStatus, AsyncIterator[bytes]]]:
        """Give what is at a path as a tar."""
        async with contextlib.AsyncExitStack() as stack:
            fields = Fields().text(Tag.PATH, path)
            with self._found(path):
                given = self._transfers.given(Operation.PACK, fields)
                answer, blocks = await stack.enter_async_context(given)
            yield _status(answer, path), _looked_at(blocks, called(path))

    async def unpack(self, path: str, tar: AsyncIterator[bytes], landing: Landing) -> None:
        """Put a tar into a directory."""
        fields = Fields().text(Tag.PATH, path).text(Tag.USER, landing.owner)
        fields.flag(Tag.NO_OVERWRITE_DIR, landing.same_kind)
        with self._found(path):
            try:
                await self._transfers.take(fields, _plain(tar))
            except Broken as error:
                raise InvalidArgument(str(error)) from error

    async def changes(self) -> tuple[Change, ...]:
        """Give what the machine has changed of its image."""
        found: list[Change] = []
        text, told = bytearray(), 0
        async with self.given(Operation.CHANGES) as blocks:
            async for block in blocks:
                text += block
                told += len(block)
                found += await asyncio.to_thread(list, _taken(text))
                check_changes(len(found), told, self._name)
        if text:
            raise HostError(f"the guest of {self._name} broke its list of changes off")
        return tuple(found)

    @contextlib.asynccontextmanager
    async def pack_root(self) -> AsyncIterator[AsyncIterator[bytes]]:
        """Give the whole root as a tar."""
        async with self.given(Operation.PACK_ROOT) as blocks:
            yield _looked_at(blocks, "/")

    @contextlib.asynccontextmanager
    async def given(self, operation: Operation) -> AsyncIterator[AsyncIterator[bytes]]:
        """Give the stream of an operation that takes nothing."""
        async with self._transfers.given(operation, Fields()) as (_, blocks):
            yield blocks

    @contextlib.contextmanager
    def _found(self, path: str) -> Iterator[None]:
        try:
            yield
        except NotFound as error:
            raise missing(path, self._name) from error


def _status(answer: Record, path: str) -> FileStatus:
    """Read what is at a path. Raises `HostError` for what no file system has."""
    try:
        modified, mode, size = map(answer.number, (Tag.MTIME, Tag.MODE, Tag.SIZE))
    except ProtocolError as error:
        raise HostError(f"the guest told of a file that is none: {error}") from error
    if mode > _MOST_MODE or size >= _SIGN:
        raise HostError("the guest told of a file that is none")
    return FileStatus(
        name=called(path),
        mode=mode,
        size=size,
        modified=modified - 2 * _SIGN if modified >= _SIGN else modified,
        link_target=answer.text(Tag.LINK),
    )


def _taken(text: bytearray) -> Iterator[Change]:
    """Take the changes that are whole from the beginning of a stream. Raises `HostError`."""
    at = 0
    while len(text) - at >= _FIELD.size:
        tag, _, length = _FIELD.unpack_from(text, at)
        if length > _LONGEST_CHANGE:
            raise HostError("the guest told of a change that is too long")
        if len(text) - at - _FIELD.size < length:
            break
        at += _FIELD.size + length
        if tag == Tag.ROW:
            yield _change(bytes(text[at - length : at]))
    del text[:at]


def _change(data: bytes) -> Change:
    try:
        record = Record(data)
        return Change(record.text(Tag.PATH), ChangeKind(record.number(Tag.KIND)))
    except (ProtocolError, ValueError) as error:
        raise HostError(f"the guest told of a change that is none: {error}") from error


async def _looked_at(blocks: AsyncIterator[bytes], name: str) -> AsyncIterator[bytes]:
    """Give a tar of the guest's, as far as a client can do with it no more than was asked for."""
    outgoing = Outgoing(name)
    async for block in blocks:
        if not outgoing.is_data(block):
            await asyncio.to_thread(outgoing.feed, block)
        else:
            outgoing.feed(block)
        yield block
    outgoing.end()


async def _plain(source: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Give a stream decompressed, if it is compressed: a bounded piece at a time, in threads.

    No thread waits for the client. Raises `Broken`.
    """
    beginning = b""
    async for block in source:
        beginning += block
        if len(beginning) >= LONGEST_MAGIC:
            break
    kind = detect(beginning)
    if kind is Compression.NONE:
        yield beginning
        async for block in source:
            yield block
        return
    undone, block = Decompressor(kind), beginning
    while block:
        pieces = undone.feed(block)
        while piece := await asyncio.to_thread(next, pieces, b""):
            yield piece
        block = await anext(source, b"")
    undone.end()
