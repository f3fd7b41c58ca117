"""Frames: what the stream between daemon and agent is cut into. Pure.

A frame is a head of 16 bytes, little-endian (length of the payload 4, channel 2, kind 1, flags 1,
offset 8), and a payload of at most 65,536.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from heft.guest.protocol import (
    FIN,
    MORE,
    MOST_MESSAGE,
    MOST_PAYLOAD,
    NONCE_SIZE,
    VERSION,
    Kind,
    ProtocolError,
    Tag,
)
from heft.guest.records import Fields

_HEAD = struct.Struct("<IHBBQ")
HEAD_SIZE = _HEAD.size
_TAKEN = struct.Struct("<Q")


class Frame(NamedTuple):
    """One frame that came in."""

    kind: int
    channel: int
    flags: int
    offset: int
    payload: bytes


def frame(kind: Kind, payload: bytes = b"", *, channel: int = 0, offset: int = 0) -> bytes:
    """Give a frame that is not DATA."""
    return _HEAD.pack(len(payload), channel, kind, 0, offset) + payload


def data_head(channel: int, offset: int, size: int, *, fin: bool = False) -> bytes:
    """Give the head of a DATA frame, whose `size` bytes are to come after it."""
    return _HEAD.pack(size, channel, Kind.DATA, FIN if fin else 0, offset)


def window(channel: int, taken: int, limit: int) -> bytes:
    """Give a WINDOW frame."""
    return _HEAD.pack(_TAKEN.size, channel, Kind.WINDOW, 0, limit) + _TAKEN.pack(taken)


def taken(payload: bytes) -> int:
    """Read the payload of a WINDOW frame. Raises `ProtocolError`."""
    if len(payload) != _TAKEN.size:
        raise ProtocolError("a window of a wrong length")
    value: int = _TAKEN.unpack(payload)[0]
    return value


def hello(token: bytes, nonce: bytes, following: bytes) -> bytes:
    """Give what opens a session: the token that is expected, and HELLO with the next one."""
    fields = Fields().number(Tag.VERSION, VERSION).data(Tag.NONCE, nonce)
    return token + frame(Kind.HELLO, fields.data(Tag.TOKEN, following).encode())


def message_frames(data: bytes) -> bytes:
    """Give the frames of a message. Raises `ValueError` for one that is too long."""
    if len(data) > MOST_MESSAGE:
        raise ValueError(f"a message of {len(data)} bytes")
    parts: list[bytes] = []
    for start in range(0, len(data), MOST_PAYLOAD):
        part = data[start : start + MOST_PAYLOAD]
        more = MORE if start + MOST_PAYLOAD < len(data) else 0
        parts += (_HEAD.pack(len(part), 0, Kind.MESSAGE, more, 0), part)
    return b"".join(parts)


class Deframer:
    """Takes what comes in apart. It keeps at most one frame and what was fed last.

    Until the nonce has come, everything is thrown away.
    """

    __slots__ = ("_at", "_data", "_nonce")

    def __init__(self, nonce: bytes = b"") -> None:
        self._data = b""
        self._at = 0
        self._nonce = nonce

    def feed(self, data: bytes) -> None:
        """Take what has come."""
        rest = self._data[self._at :]
        self._data = rest + data if rest else data
        self._at = 0

    @property
    def waiting(self) -> int:
        """How many bytes have come and were not given so far."""
        return len(self._data) - self._at

    def next(self) -> Frame | None:
        """Give the next frame; None until more has come. Raises `ProtocolError`."""
        if self._nonce and not self._find_nonce():
            return None
        data, at = self._data, self._at
        if len(data) - at < _HEAD.size:
            return None
        length, channel, kind, flags, offset = _HEAD.unpack_from(data, at)
        if length > MOST_PAYLOAD:
            raise ProtocolError(f"a frame of {length} bytes")
        start = at + _HEAD.size
        if len(data) - start < length:
            return None
        self._at = start + length
        return Frame(kind, channel, flags, offset, data[start : self._at])

    def _find_nonce(self) -> bool:
        found = self._data.find(self._nonce, self._at)
        if found < 0:
            self._at = max(self._at, len(self._data) - NONCE_SIZE + 1)
            return False
        self._at = found + NONCE_SIZE
        self._nonce = b""
        return True
