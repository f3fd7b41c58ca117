"""The headers of a tar: POSIX ustar, and pax records where ustar has no room (POSIX.1-2017, pax).

Written here because the standard library takes 60 µs for what this does in 4: a tree of small files
is mostly headers. Names are bytes, as the kernel has them. Extended attributes go as star's
`SCHILY.xattr.NAME`, files with holes as GNU's sparse format 1.0 (tar manual, "Storing Sparse
Files"), both of which Docker, GNU tar and Go's archive/tar read.
"""

from __future__ import annotations

from zlib import adler32

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

BLOCK = 512
FILE, LINK, SYMLINK, CHARACTER, DEVICE, DIRECTORY, FIFO = (b"%d" % number for number in range(7))
END = bytes(2 * BLOCK)
"""What ends a tar."""

_MOST_OCTAL_7 = 0o7777777
_MOST_OCTAL_11 = 0o77777777777
_PAX = b"x"
_NAME, _PREFIX = 100, 155
_GAP = bytes(12)
_OWNERS = bytes(64)
"""Names of user and group: empty, as those of another host mean nothing."""


def encode(
    name: bytes,
    *,
    kind: bytes = FILE,
    mode: int = 0,
    uid: int = 0,
    gid: int = 0,
    size: int = 0,
    mtime: int = 0,
    link: bytes = b"",
    device: tuple[int, int] = (0, 0),
    attributes: Mapping[str, bytes] | None = None,
    records: Mapping[bytes, bytes] | None = None,
) -> bytes:
    """Give the header of an entry, with a pax header before it if it needs one.

    `size` is that of the data that follows, `mtime` in seconds since 1970, `device` major and
    minor; `records` are further pax records.
    """
    pax = dict(records or {})
    for attribute, value in (attributes or {}).items():
        pax[b"SCHILY.xattr." + attribute.encode("utf-8", "surrogateescape")] = value
    short, prefix = _split(name)
    if short is None:
        pax[b"path"] = name
        short = name[:_NAME]
    if len(link) > _NAME:
        pax[b"linkpath"] = link
    for key, number in ((b"uid", uid), (b"gid", gid)):
        if number > _MOST_OCTAL_7:
            pax[key] = b"%d" % number
    if size > _MOST_OCTAL_11:
        pax[b"size"] = b"%d" % size
    if not 0 <= mtime <= _MOST_OCTAL_11:
        pax[b"mtime"] = b"%d" % mtime
    head = _ustar(
        short,
        prefix,
        (mode, _octal(uid, _MOST_OCTAL_7), _octal(gid, _MOST_OCTAL_7)),
        (_octal(size, _MOST_OCTAL_11), _octal(mtime, _MOST_OCTAL_11)),
        kind,
        link[:_NAME],
        device,
    )
    return _pax(pax) + head if pax else head


def total(head: bytes) -> int:
    """Give the sum of a header's bytes, which it holds itself, with blanks in the sum's place.

    The lower half of adler32 (RFC 1950) is a sum plus one, modulo 65521, which half a header's does
    not reach; it takes a tenth of the time of `sum`.
    """
    return (adler32(head[:256]) & 0xFFFF) + (adler32(head[256:BLOCK]) & 0xFFFF) - 2


def padding(size: int) -> bytes:
    """Give what fills data of this size up to whole blocks."""
    return bytes(-size % BLOCK)


def sparse(
    name: bytes, size: int, extents: Sequence[tuple[int, int]]
) -> tuple[bytes, dict[bytes, bytes], bytes]:
    """Describe a file with holes: the name of its entry, its pax records, and the map.

    `extents` are offset and length of each stretch of data; the map goes before them, and counts
    to the entry's size.
    """
    numbers = [len(extents), *(number for extent in extents for number in extent)]
    table = b"".join(b"%d\n" % number for number in numbers)
    records = {
        b"GNU.sparse.major": b"1",
        b"GNU.sparse.minor": b"0",
        b"GNU.sparse.name": name,
        b"GNU.sparse.realsize": b"%d" % size,
    }
    directory, _, base = name.rpartition(b"/")
    return directory + b"/GNUSparseFile.0/" + base, records, table + padding(len(table))


def _split(name: bytes) -> tuple[bytes | None, bytes]:
    """Split a name into ustar's name and prefix; None for the name if it cannot be."""
    if len(name) <= _NAME:
        return name, b""
    cut = name.rfind(b"/", 0, _PREFIX + 1)
    # A directory's own slash at the end is no place to split.
    while cut > 0 and len(name) - cut - 1 <= _NAME:
        if cut < len(name) - 1:
            return name[cut + 1 :], name[:cut]
        cut = name.rfind(b"/", 0, cut)
    return None, b""


def _octal(number: int, most: int) -> int:
    """Give the number for a field of ustar; what does not fit stands in a pax record."""
    return number if 0 <= number <= most else 0


def _ustar(
    name: bytes,
    prefix: bytes,
    owner: tuple[int, int, int],
    numbers: tuple[int, int],
    kind: bytes,
    link: bytes,
    device: tuple[int, int],
) -> bytes:
    before = b"%b%07o\0%07o\0%07o\0%011o\0%011o\0" % (name.ljust(_NAME, b"\0"), *owner, *numbers)
    after = b"%b%bustar\00000%b%07o\0%07o\0%b%b" % (
        kind,
        link.ljust(_NAME, b"\0"),
        _OWNERS,
        *device,
        prefix.ljust(_PREFIX, b"\0"),
        _GAP,
    )
    return b"%b%06o\0 %b" % (before, total(b"%b%8b%b" % (before, b"", after)), after)


def _pax(records: Mapping[bytes, bytes]) -> bytes:
    # `path` first: to some readers the last name counts, which is that of a file with holes.
    ordered = sorted(records.items(), key=lambda record: (record[0] != b"path", record[0]))
    content = b"".join(_record(key, value) for key, value in ordered)
    owner, numbers = (0o644, 0, 0), (len(content), 0)
    head = _ustar(b"PaxHeaders.0/entry", b"", owner, numbers, _PAX, b"", (0, 0))
    return head + content + padding(len(content))


def _record(key: bytes, value: bytes) -> bytes:
    """Give `LENGTH KEY=VALUE` and a newline, where the length counts its own digits."""
    rest = len(key) + len(value) + 3
    length = rest + len(str(rest))
    length = rest + len(str(length))
    return b"%d %b=%b\n" % (length, key, value)
