"""The entries of a tar stream, parsed by the standard library, checked as hostile input needs it.

`tarfile.TarFile` takes damage in the middle for the end; here it is an error, as is everything its
parser stumbles over. Formats: ustar, GNU (long names, sparse files), pax, star.
"""

from __future__ import annotations

import re
import tarfile
from typing import TYPE_CHECKING

from heft.images.forward import Truncated
from heft.tars.headers import BLOCK, total

if TYPE_CHECKING:
    from collections.abc import Iterator

    from heft.images.forward import Forward

VOLUME_LABEL = b"V"
XATTR = "SCHILY.xattr."
_NANO = 10**9
_NUMBERS = re.compile(
    rb"([0-7]{7})[\0 ]([0-7]{7})[\0 ]([0-7]{7})[\0 ]([0-7]{11})[\0 ]([0-7]{11})[\0 ]"
    rb"([0-7]{6})\0 ([0125])"
)
"""A header from byte 100 on, as it is usually written: mode, user, group, size, time, the sum, and
the type of a file, a link or a directory."""
_DEVICE = re.compile(rb"(?:\0{8}|[0-7]{7}\0){2}")
"""From byte 329 on: a device's numbers, which also what is no device has."""
_MAGICS = (b"ustar\00000", b"ustar  \0")
"""POSIX' and GNU's."""


class Malformed(ValueError):
    """The tar breaks its format."""


class _Parser:
    """What `tarfile.TarInfo.fromtarfile` wants of a TarFile."""

    encoding = "utf-8"
    errors = "surrogateescape"

    def __init__(self, stream: Forward) -> None:
        self.fileobj = stream
        self.pax_headers: dict[str, str] = {}
        self.offset = 0

    def next(self) -> tarfile.TarInfo | None:
        """Give the next entry; the stream then stands at its data. None at the end."""
        self.fileobj.seek(self.offset)
        if not self.pax_headers and (entry := plain(self.fileobj.ahead(BLOCK))) is not None:
            self.fileobj.seek(self.offset + BLOCK)
            stored = entry.size if entry.type == tarfile.REGTYPE else 0
            self.offset += BLOCK + stored + -stored % BLOCK
            return entry
        try:
            return tarfile.TarInfo.fromtarfile(self)  # type: ignore[arg-type]
        except (tarfile.EOFHeaderError, tarfile.EmptyHeaderError):  # type: ignore[attr-defined]
            return None
        except tarfile.TruncatedHeaderError as error:  # type: ignore[attr-defined]
            raise Truncated("unexpected end of the tar") from error
        except (Truncated, OSError, MemoryError):
            raise
        except (tarfile.TarError, RecursionError, ArithmeticError, LookupError) as error:
            raise Malformed(f"invalid tar header: {error}") from error
        except ValueError as error:
            raise _unless_broken(error) from error


def plain(head: bytes) -> tarfile.TarInfo | None:
    """Read the header of a file, directory or link that needs no more than ustar has.

    It is what most of a tar's headers are, and takes `tarfile` ten times as long. None for all
    else, and for what is written in any other way than it usually is: that is the parser's matter.
    """
    numbers = _NUMBERS.match(head, 100)
    if numbers is None or head[257:265] not in _MAGICS or len(head) < BLOCK:
        return None
    if _DEVICE.match(head, 329) is None:
        return None
    *fields, kind = numbers.groups()
    mode, uid, gid, size, mtime, checksum = (int(field, 8) for field in fields)
    if checksum != total(head[:148] + b" " * 8 + head[156:]):
        return None
    try:
        name, link, prefix = (
            head[start : start + length].partition(b"\0")[0].decode()
            for start, length in ((0, 100), (157, 100), (345, 155))
        )
    except UnicodeDecodeError:
        return None
    name = name.rstrip("/") if kind == tarfile.DIRTYPE else name
    entry = tarfile.TarInfo(f"{prefix}/{name}" if prefix else name)
    entry.mode, entry.uid, entry.gid, entry.size, entry.mtime = mode, uid, gid, size, mtime
    entry.type, entry.linkname = kind, link
    return entry


def _unless_broken(error: ValueError) -> ValueError:
    """Keep what the stream itself raised; the parser's own are a malformed header."""
    if type(error) in (ValueError, UnicodeDecodeError, UnicodeEncodeError):
        return Malformed(f"invalid tar header: {error}")
    return error


def entries(stream: Forward) -> Iterator[tarfile.TarInfo]:
    """Give the entries one by one. Raises `Malformed` and `Truncated`."""
    parser = _Parser(stream)
    while (entry := parser.next()) is not None:
        if entry.type == VOLUME_LABEL:
            continue
        if entry.size < 0 or entry.uid < 0 or entry.gid < 0:
            raise Malformed(f"invalid tar header: a negative number at {entry.name!r}")
        yield entry


def modified(entry: tarfile.TarInfo) -> int:
    """Give the time of the last change, nanoseconds since 1970, to the digit."""
    text = entry.pax_headers.get("mtime", "")
    whole, dot, fraction = text.partition(".")
    try:
        if not dot:
            return int(whole or entry.mtime) * _NANO
        part = int(fraction[:9].ljust(9, "0")) if fraction else 0
        return int(whole) * _NANO + (-part if whole.startswith("-") else part)
    except (ValueError, OverflowError) as error:
        raise Malformed(f"invalid time at {entry.name!r}") from error


def attributes(entry: tarfile.TarInfo) -> dict[str, bytes]:
    """Give the extended attributes that pax headers carry (star's `SCHILY.xattr.NAME`)."""
    return {
        key[len(XATTR) :]: value.encode("utf-8", "surrogateescape")
        for key, value in entry.pax_headers.items()
        if key.startswith(XATTR)
    }


def extents(entry: tarfile.TarInfo) -> list[tuple[int, int]]:
    """Give where the data of a regular file belongs: offset and length of each stretch."""
    sparse: list[tuple[int, int]] | None = entry.sparse  # type: ignore[assignment]
    if sparse is None:
        return [(0, entry.size)]
    for offset, length in sparse:
        if offset < 0 or length < 0 or offset + length > entry.size:
            raise Malformed(f"invalid map of a sparse file at {entry.name!r}")
    return sparse
