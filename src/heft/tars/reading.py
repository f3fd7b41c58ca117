"""The entries of a tar that a daemon gives: ustar, pax (with files with holes), GNU's long names.

Written here because `tarfile` takes longer to import than a small copy takes, and ten times as long
an entry. What it does not know it refuses. The other direction of `heft.tars.headers`.
"""

from __future__ import annotations

import os

from heft.tars.headers import BLOCK, total
from heft.tars.landing import Refused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

LARGEST_RECORDS = 1 << 20
"""Bytes of one extended header."""
LARGEST_FILE = (1 << 63) - 1
"""Bytes, of which the kernel can count no more."""
_LONGEST_LENGTH = 32
"""Bytes in which the length of a pax record must have ended."""
_NANO = 10**9
_ATTRIBUTE = "SCHILY.xattr."


class Entry:
    """One entry; numbers and names as in `tarfile.TarInfo`."""

    __slots__ = (
        "devmajor",
        "devminor",
        "extents",
        "gid",
        "linkname",
        "mode",
        "name",
        "records",
        "size",
        "sparse",
        "type",
        "uid",
    )

    def __init__(self, head: bytes, records: dict[str, bytes]) -> None:
        self.records = records
        self.type = head[156:157]
        self.name = self._text("path", _field(head, 0, 100))
        if head[257:263] == b"ustar\0" and (prefix := _field(head, 345, 155)):
            self.name = self.name if "path" in records else f"{decode(prefix)}/{self.name}"
        self.linkname = self._text("linkpath", _field(head, 157, 100))
        self.mode = number(head, 100, 8)
        self.uid = self._number("uid", number(head, 108, 8))
        self.gid = self._number("gid", number(head, 116, 8))
        self.size = self._number("size", number(head, 124, 12))
        is_node = self.type in b"34"
        self.devmajor = number(head, 329, 8) if is_node else 0
        self.devminor = number(head, 337, 8) if is_node else 0
        self.sparse: list[tuple[int, int]] | None = None
        self.extents = [(0, self.size)] if self.isreg() else []
        if not self.isreg() and self.size and not self.isdir():
            self.size = 0  # a link may tell the size of what it leads to

    def _text(self, key: str, field: bytes) -> str:
        return decode(self.records.get(key, field))

    def _number(self, key: str, field: int) -> int:
        return integer(self.records[key]) if key in self.records else field

    def isreg(self) -> bool:
        """Say whether it is a regular file."""
        return self.type in (b"0", b"\0", b"7")

    def islnk(self) -> bool:
        """Say whether it is one more name of an entry before."""
        return self.type == b"1"

    def issym(self) -> bool:
        """Say whether it is a symbolic link."""
        return self.type == b"2"

    def ischr(self) -> bool:
        """Say whether it is a character device."""
        return self.type == b"3"

    def isdev(self) -> bool:
        """Say whether it is a device or a FIFO."""
        return self.type in (b"3", b"4", b"6")

    def isdir(self) -> bool:
        """Say whether it is a directory."""
        return self.type == b"5"

    def isfifo(self) -> bool:
        """Say whether it is a FIFO."""
        return self.type == b"6"

    def attributes(self) -> dict[str, bytes]:
        """Give its extended attributes."""
        return {
            key[len(_ATTRIBUTE) :]: value
            for key, value in self.records.items()
            if key.startswith(_ATTRIBUTE)
        }

    def modified(self, head_time: int) -> int:
        """Give its time in nanoseconds since 1970; `head_time` is that of its header, in s."""
        text = self.records.get("mtime")
        if text is None:
            return head_time * _NANO
        sign = -1 if text.startswith(b"-") else 1
        whole, _, fraction = text.removeprefix(b"-").partition(b".")
        part = integer(fraction[:9].ljust(9, b"0")) if fraction else 0
        return sign * (integer(whole) * _NANO + part)


class Reader:
    """Reads a tar from blocks of bytes, forwards."""

    def __init__(self, blocks: Iterator[bytes]) -> None:
        self._blocks = blocks
        self._block = memoryview(b"")
        self._left = 0
        self._padding = 0

    def entries(self) -> Iterator[tuple[Entry, int]]:
        """Give every entry, and its time in nanoseconds. Raises `Refused`."""
        shared: dict[str, bytes] = {}
        own: dict[str, bytes] = {}
        while (head := self._exactly(BLOCK, first=True)) is not None:
            if not head.strip(b"\0"):
                for _ in self._blocks:
                    pass
                return
            check(head)
            kind, size = head[156:157], number(head, 124, 12)
            if kind in b"xgLK":
                content = self._record(size)
                if kind in b"LK":
                    own["path" if kind == b"L" else "linkpath"] = content.rstrip(b"\0")
                else:
                    (own if kind == b"x" else shared).update(records(content))
                continue
            entry = Entry(head, {**shared, **own})
            own = {}
            self._left, self._padding = entry.size, -entry.size % BLOCK
            if "GNU.sparse.major" in entry.records:
                self._sparse(entry)
            yield entry, entry.modified(number(head, 136, 12))
            for _ in self.pieces(self._left):
                pass
            self._skip(self._padding)

    def pieces(self, size: int) -> Iterator[memoryview]:
        """Give the next bytes of the entry at hand."""
        size = min(size, self._left)
        self._left -= size
        while size:
            if not self._block:
                block = next(self._blocks, None)
                if block is None:
                    raise Refused("unexpected end of the tar")
                self._block = memoryview(block)
            piece = self._block[:size]
            self._block = self._block[len(piece) :]
            size -= len(piece)
            yield piece

    def pour(self, size: int, descriptor: int) -> None:
        """Write the next bytes of the entry at hand to a file. Raises `Refused`, `OSError`."""
        for piece in self.pieces(size):
            left = piece
            while left:
                left = left[os.write(descriptor, left) :]

    def _exactly(self, size: int, *, first: bool = False) -> bytes | None:
        if len(self._block) >= size:
            data = bytes(self._block[:size])
            self._block = self._block[size:]
            return data
        if first and not self._block:
            block = next(self._blocks, None)
            if block is None:
                return None
            self._block = memoryview(block)
        left, self._left = self._left, size
        data = b"".join(self.pieces(size))
        self._left = left
        return data

    def _skip(self, size: int) -> None:
        if size:
            self._exactly(size)

    def _record(self, size: int) -> bytes:
        if size > LARGEST_RECORDS:
            raise Refused(f"a header of {size} bytes")
        content = self._exactly(size) or b""
        self._skip(-size % BLOCK)
        return content

    def _sparse(self, entry: Entry) -> None:
        """Read the map of a file with holes (GNU's format 1.0)."""
        if entry.records["GNU.sparse.major"] != b"1":
            raise Refused(f"an unknown format of a file with holes at {entry.name!r}")
        stored, text = entry.size, b""
        entry.size = integer(entry.records["GNU.sparse.realsize"])
        entry.name = decode(entry.records["GNU.sparse.name"])
        numbers: list[int] = []
        used = 0
        while not numbers or len(numbers) < 2 * numbers[0] + 1:
            if used + BLOCK > min(stored, LARGEST_RECORDS):
                raise Refused(f"invalid map of a file with holes at {entry.name!r}")
            text += b"".join(self.pieces(BLOCK))
            used += BLOCK
            *whole, text = text.split(b"\n")
            numbers += map(integer, whole)
        numbers = numbers[1 : 2 * numbers[0] + 1]
        entry.sparse = list(zip(numbers[::2], numbers[1::2], strict=True))
        if entry.size > LARGEST_FILE or any(
            offset + length > entry.size for offset, length in entry.sparse
        ):
            raise Refused(f"invalid map of a file with holes at {entry.name!r}")
        entry.extents = entry.sparse


def check(head: bytes) -> None:
    """Raise `Refused` for a header whose sum is wrong."""
    if total(b"%b%8b%b" % (head[:148], b"", head[156:])) != number(head, 148, 8):
        raise Refused("invalid tar header")


def _field(head: bytes, start: int, length: int) -> bytes:
    return head[start : start + length].partition(b"\0")[0]


def decode(name: bytes) -> str:
    """Read a name, of whatever bytes."""
    return name.decode("utf-8", "surrogateescape")


def integer(text: bytes) -> int:
    """Read a number of a record. Raises `Refused`."""
    if not text.isdigit() or len(text) > 20:
        raise Refused(f"invalid number in a tar header: {text[:20]!r}")
    return int(text)


def number(head: bytes, start: int, length: int) -> int:
    """Read a number: octal digits, or GNU's base 256."""
    field = head[start : start + length]
    if field[0] == 0x80:
        return int.from_bytes(field[1:], "big")
    digits = field.strip(b" \0") or b"0"
    if digits.strip(b"01234567"):
        raise Refused("invalid tar header")
    return int(digits, 8)


def records(content: bytes) -> dict[str, bytes]:
    """Read pax records: `LENGTH KEY=VALUE` and a newline each."""
    found: dict[str, bytes] = {}
    at = 0
    while at < len(content):
        digits = content[at : at + _LONGEST_LENGTH].partition(b" ")[0]
        length = integer(digits)
        if not len(digits) < length <= len(content) - at:
            raise Refused("invalid pax header")
        record = content[at + len(digits) + 1 : at + length - 1]
        key, equals, value = record.partition(b"=")
        if not equals:
            raise Refused("invalid pax header")
        found[decode(key)] = value
        at += length
    return found
