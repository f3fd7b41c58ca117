"""What a machine wrote, as a stream of entries: how it goes from one form of upper to another.

A directory comes before what is in it, and an end after that (`None`). The first entry is the root
of the upper, which ends last. A file's data are not in the stream: an entry says where they are in
the file that they are copied from.

Between two processes a stream is frames: one byte of `Kind`, four of length (big-endian), then the
entry as MessagePack, or text. A frame `WHOLE` is the last of a stream that was not broken off.
"""

from __future__ import annotations

import enum
import os
import struct
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

OVERLAYS = "trusted.overlay."
OPAQUE = OVERLAYS + "opaque"
NESTED = OVERLAYS + "overlay."
"""Of an overlay that the machine itself has made in its root (Linux 6.7, `OVL_XATTR_ESCAPE`)."""
LONGEST_NAME = 255
LARGEST_FRAME = 1 << 26
_HEAD = struct.Struct(">BI")


class Damaged(Exception):
    """What is read is no upper that a kernel has written. The text says what is wrong."""


class Piece(msgspec.Struct, frozen=True, array_like=True):
    """A part of a file that has data; what is in no piece is a hole. Bytes."""

    to: int
    """Where it is in the file."""
    at: int
    """Where it is to be read."""
    length: int


class Entry(msgspec.Struct, frozen=True, array_like=True):
    """One name. Times are nanoseconds since 1970."""

    name: bytes
    mode: int
    uid: int
    gid: int
    atime: int
    mtime: int
    identity: int = 0
    """The same for all names of one file that has several; 0: it has but this."""
    device: int = 0
    size: int = 0
    target: bytes = b""
    """Of a symbolic link."""
    attributes: tuple[tuple[str, bytes], ...] = ()
    pieces: tuple[Piece, ...] = ()


class Kind(enum.IntEnum):
    """What a frame is."""

    ENTRY = 1
    END = 2
    """Of the directory that was begun last."""
    WHOLE = 3
    BROKEN = 4
    """The reader gave up; text says why."""


def is_kept(attribute: str, value: bytes) -> bool:
    """Say whether an extended attribute goes along.

    Of overlayfs's own only the mark of an opaque directory does: the others tell of the file system
    that the layers were on (`origin`), or would let an upper name what is not its own (`redirect`).
    """
    if attribute == OPAQUE:
        return value == b"y"
    return not attribute.startswith(OVERLAYS) or attribute.startswith(NESTED)


def is_name(name: bytes) -> bool:
    """Say whether a directory can have an entry of this name."""
    return 0 < len(name) <= LONGEST_NAME and not (
        b"/" in name or b"\0" in name or name in (b".", b"..")
    )


def write(stream: BinaryIO, entries: Iterator[Entry | None]) -> None:
    """Write a stream, also of a reader that gives up."""
    encode = msgspec.msgpack.Encoder().encode
    try:
        for entry in entries:
            data = b"" if entry is None else encode(entry)
            stream.write(_HEAD.pack(Kind.END if entry is None else Kind.ENTRY, len(data)) + data)
    except (Damaged, OSError, MemoryError) as error:
        text = str(error).encode(errors="replace") or type(error).__name__.encode()
        stream.write(_HEAD.pack(Kind.BROKEN, len(text)) + text)
    else:
        stream.write(_HEAD.pack(Kind.WHOLE, 0))
    stream.flush()


def read(stream: BinaryIO) -> Iterator[Entry | None]:
    """Read a stream that nobody vouches for. Raises `Damaged`."""
    decoder = msgspec.msgpack.Decoder(Entry)
    while True:
        head = stream.read(_HEAD.size)
        if len(head) < _HEAD.size:
            raise Damaged("the process that read it was killed")
        kind, length = _HEAD.unpack(head)
        if length > LARGEST_FRAME:
            raise Damaged("it has an entry that is too large")
        data = stream.read(length)
        if kind == Kind.WHOLE:
            return
        if kind == Kind.BROKEN:
            raise Damaged(data.decode(errors="replace"))
        if kind == Kind.END:
            yield None
            continue
        try:
            yield decoder.decode(data)
        except msgspec.MsgspecError as error:
            raise Damaged(f"it has an entry that is none: {error}") from error


def shown(name: bytes) -> str:
    """Give a name as people read it."""
    return os.fsdecode(name).encode(errors="replace").decode()
