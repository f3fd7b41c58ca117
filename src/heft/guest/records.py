"""Records: sequences of tagged fields, which all messages are made of. Pure.

A field is a tag (2 bytes), two bytes of zeros, the length of its value (4), and the value; integers
are little-endian.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Self

from heft.guest.protocol import ANSWER, MOST_FIELDS, ProtocolError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from heft.guest.protocol import Tag

_FIELD = struct.Struct("<HHI")
_MESSAGE = struct.Struct("<HHI")
_LONGEST_NUMBER = 8


class Fields:
    """A record in the making; every method gives the record itself.

    What is zero or empty is left out by `number`, `flag` and `text`, as that is what a missing
    field means.
    """

    __slots__ = ("_parts",)

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def data(self, tag: Tag, value: bytes) -> Self:
        """Add a field, whatever is in it."""
        self._parts.append(_FIELD.pack(tag, 0, len(value)))
        self._parts.append(value)
        return self

    def number(self, tag: Tag, value: int) -> Self:
        """Add a number of 0 to 2^64-1."""
        if value:
            size = 4 if value < 1 << 32 else _LONGEST_NUMBER
            self.data(tag, value.to_bytes(size, "little"))
        return self

    def signed(self, tag: Tag, value: int) -> Self:
        """Add a number of 4 bytes that can be negative."""
        return self.data(tag, value.to_bytes(4, "little", signed=True)) if value else self

    def flag(self, tag: Tag, value: bool) -> Self:
        """Add a 1 if it is so."""
        return self.data(tag, b"\1") if value else self

    def text(self, tag: Tag, value: str) -> Self:
        """Add a text."""
        return self.data(tag, encoded(value)) if value else self

    def texts(self, tag: Tag, values: Iterable[str]) -> Self:
        """Add a list of texts; empty ones count."""
        for value in values:
            self.data(tag, encoded(value))
        return self

    def record(self, tag: Tag, value: Fields) -> Self:
        """Add a record as a field."""
        return self.data(tag, value.encode())

    def encode(self) -> bytes:
        """Give its bytes."""
        return b"".join(self._parts)


class Record:
    """A record that came in, with fields by tag; unknown ones do no harm.

    Raises `ProtocolError` for what is no record, or too long a one.
    """

    __slots__ = ("_fields",)

    def __init__(self, data: bytes) -> None:
        self._fields: dict[int, list[bytes]] = {}
        at, end, count = 0, len(data), 0
        while at < end:
            count += 1
            if end - at < _FIELD.size or count > MOST_FIELDS:
                raise ProtocolError("a record that is cut off, or has too many fields")
            tag, _, length = _FIELD.unpack_from(data, at)
            at += _FIELD.size
            if length > end - at:
                raise ProtocolError("a field that is longer than its record")
            self._fields.setdefault(tag, []).append(data[at : at + length])
            at += length

    def __contains__(self, tag: Tag) -> bool:
        return tag in self._fields

    def data(self, tag: Tag) -> bytes:
        """Give a field's bytes (of several, the last's); empty if it is missing."""
        values = self._fields.get(tag)
        return values[-1] if values else b""

    def every(self, tag: Tag) -> tuple[bytes, ...]:
        """Give the bytes of all fields with a tag."""
        return tuple(self._fields.get(tag, ()))

    def number(self, tag: Tag) -> int:
        """Give a number; 0 if it is missing. Raises `ProtocolError`."""
        value = self.data(tag)
        if len(value) > _LONGEST_NUMBER:
            raise ProtocolError(f"a number of {len(value)} bytes")
        return int.from_bytes(value, "little")

    def flag(self, tag: Tag) -> bool:
        """Say whether it is so."""
        return self.number(tag) != 0

    def text(self, tag: Tag) -> str:
        """Give a text to be shown; what is not UTF-8 in it is replaced."""
        return self.data(tag).decode("utf-8", "replace")

    def records(self, tag: Tag) -> tuple[Record, ...]:
        """Give all records with a tag. Raises `ProtocolError`."""
        return tuple(Record(value) for value in self._fields.get(tag, ()))


def encoded(text: str) -> bytes:
    """Give the bytes of a text, which may be the name of a file."""
    return text.encode("utf-8", "surrogateescape")


def message(operation: int, request: int, fields: Fields) -> bytes:
    """Give a message."""
    return _MESSAGE.pack(operation, 0, request) + fields.encode()


class Message:
    """A message that came in: an answer, or an event. Raises `ProtocolError`."""

    __slots__ = ("operation", "record", "request")

    def __init__(self, data: bytes) -> None:
        if len(data) < _MESSAGE.size:
            raise ProtocolError("a message without a head")
        self.operation, _, self.request = _MESSAGE.unpack_from(data)
        self.record = Record(data[_MESSAGE.size :])

    @property
    def is_answer(self) -> bool:
        """Say whether it answers a request."""
        return bool(self.operation & ANSWER)
