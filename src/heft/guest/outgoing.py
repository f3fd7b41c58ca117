"""A tar that a guest gives, looked at on its way to a client.

Docker's client unpacks it as the user who runs it, and follows links that it has just made, or had
made of another tar before: a guest could write anywhere on the host. Nothing passes here but what
the agent makes (heft.tars.headers), of the names that were asked for, each in a directory that was
given before it, and nothing through a link. Nor does what one reader takes for another name than
the next one does. Whatever is not whole is not passed on far enough to be used.
"""

from __future__ import annotations

import posixpath

from heft.errors import HostError
from heft.tars import reading
from heft.tars.headers import BLOCK
from heft.tars.landing import Refused

MOST_NAMES = 128 << 20
"""Bytes in which the names of directories and symbolic links are remembered."""
_OF_A_NAME = 100
"""Bytes that it takes to remember any name, besides its own."""
_MAGIC = b"ustar\00000"
_STAR = b"tar\0"
_FIELD = 100
"""Bytes of a name in a header."""
_MOST_OCTAL = 0o77777777777
"""The largest size that a header has room for."""
_KINDS = b"0123456"
_PAX = b"x"
_KNOWN = frozenset({"path", "linkpath", "uid", "gid", "size", "mtime"})
_SPARSE = frozenset(f"GNU.sparse.{each}" for each in ("major", "minor", "name", "realsize"))
_SPARSE_MAJOR, _SPARSE_MINOR = b"1", b"0"
_ATTRIBUTE = "SCHILY.xattr."


class Outgoing:
    """Is fed the tar of what is called `name`, block by block, before each is passed on."""

    def __init__(self, name: str) -> None:
        self._wanted_path = _normal(name)
        """Empty where all that there is was asked for."""
        self._part = bytearray()
        self._wanted = BLOCK
        self._records: dict[str, bytes] = {}
        self._in_records = False
        self._record_size = 0
        self._left = 0
        """Bytes of data, and what fills them up, that come next."""
        self._over = False
        self._directories: set[str] = {""}
        self._links: set[str] = set()
        self._bytes = 0

    def is_data(self, block: bytes) -> bool:
        """Say whether all of a block is data, which there is nothing to be seen in."""
        return self._left >= len(block)

    def feed(self, block: bytes) -> None:
        """Look at what comes next. Raises `HostError`."""
        at = 0
        try:
            while at < len(block):
                size = min(self._left or self._wanted - len(self._part), len(block) - at)
                if self._left:
                    self._left -= size
                else:
                    self._part += block[at : at + size]
                    if len(self._part) == self._wanted:
                        part, self._wanted = bytes(self._part), BLOCK
                        self._part.clear()
                        self._take(part)
                at += size
        except Refused as error:
            raise HostError(f"the guest gave a tar that is none: {error}") from error

    def end(self) -> None:
        """Hear that nothing more comes. Raises `HostError` where it is not whole."""
        if self._left or self._part or not self._over:
            raise HostError("the guest broke the tar off that it gave")

    def _take(self, part: bytes) -> None:
        if self._in_records:
            self._in_records = False
            self._records = reading.records(part[: self._record_size])
            _check_records(self._records)
        elif not part.strip(b"\0"):
            self._over = True
        elif self._over:
            raise Refused("something comes after its end")
        else:
            self._head(part)

    def _head(self, head: bytes) -> None:
        reading.check(head)
        kind, size = head[156:157], reading.number(head, 124, 12)
        if head[257:265] != _MAGIC or head[508:] == _STAR or kind not in _KINDS + _PAX:
            raise Refused("an entry of an unknown kind")
        if kind == _PAX:
            if self._records or not 0 < size <= reading.LARGEST_RECORDS:
                raise Refused("an extended header that belongs to nothing")
            self._in_records, self._record_size = True, size
            self._wanted = size + -size % BLOCK
            return
        records, self._records = self._records, {}
        _check_fields(head, records)
        entry = reading.Entry(head, records)
        if "size" not in records and kind != b"0" and size:
            raise Refused(f"{entry.name[:100]!r} has content")
        if not _SPARSE.isdisjoint(records):
            self._check_sparse(entry)
        self._check(entry)
        self._left = entry.size + -entry.size % BLOCK if kind == b"0" else 0

    def _check_sparse(self, entry: reading.Entry) -> None:
        """Give a file with holes the name that it is to have."""
        records = entry.records
        name = reading.decode(records.get("GNU.sparse.name", b""))
        above, _, last = name.rpartition("/")
        version = records.get("GNU.sparse.major"), records.get("GNU.sparse.minor")
        is_whole = records.keys() >= _SPARSE and version == (_SPARSE_MAJOR, _SPARSE_MINOR)
        # Who does not know of holes takes the other name.
        is_agents = entry.name == f"{above}/GNUSparseFile.0/{last}"
        if not (is_whole and is_agents and last and entry.isreg()):
            raise Refused(f"an unknown format of a file with holes at {name[:100]!r}")
        self._through_no_link(_normal(entry.name), name)
        entry.name = name

    def _check(self, entry: reading.Entry) -> None:
        path = self._inside(entry.name)
        if entry.islnk():
            self._inside(entry.linkname)
        if entry.issym():
            self._remember(self._links, path)
        if entry.isdir():
            self._remember(self._directories, path)
        else:
            self._directories.discard(path)

    def _inside(self, name: str) -> str:
        """Give a path that is part of what was asked for, where nothing but directories lead."""
        path, wanted, shown = _normal(name), self._wanted_path, repr(name[:100])
        if "\0" in name or ".." in name.split("/"):
            raise Refused(f"{shown} leads out of it")
        if wanted and not f"{_as_told(path)}/".startswith(f"{wanted}/"):
            raise Refused(f"{shown} was not asked for")
        self._through_no_link(path, name)
        # Else it could be a link that is there already, where it is unpacked.
        if path.rpartition("/")[0] not in self._directories:
            raise Refused(f"{shown} is in no directory that was given before")
        return path

    def _through_no_link(self, path: str, name: str) -> None:
        above = path
        while above and self._links:
            if above in self._links:
                raise Refused(f"{name[:100]!r} leads through a link")
            above = above.rpartition("/")[0]

    def _remember(self, names: set[str], path: str) -> None:
        if path not in names:
            names.add(path)
            self._bytes += len(path) + _OF_A_NAME
            if self._bytes > MOST_NAMES:
                raise Refused("too many links and directories")


def _normal(name: str) -> str:
    """Give a name without what means nothing in it; empty for all that there is."""
    path = posixpath.normpath(name.lstrip("/"))
    return "" if path == "." else path


def _check_records(records: dict[str, bytes]) -> None:
    for key, value in records.items():
        if key not in _KNOWN and key not in _SPARSE and not key.startswith(_ATTRIBUTE):
            raise Refused(f"an unknown extended header, {key[:100]!r}")
        if key in _KNOWN and not value:
            # To some readers it is what the header itself says then.
            raise Refused(f"an extended header without a value, {key!r}")


def _check_fields(head: bytes, records: dict[str, bytes]) -> None:
    """See that who does not read records takes an entry for what who does takes it for.

    A record stands for what the header has no room for, and has the beginning of.
    """
    for key, at in (("path", 0), ("linkpath", 157)):
        name = records.get(key)
        if name is None:
            continue
        field = head[at : at + _FIELD]
        if len(name) <= _FIELD or field != name[:_FIELD] or (key == "path" and head[345]):
            raise Refused(f"an entry with two names, {name[:100]!r}")
    if "size" in records and reading.integer(records["size"]) <= _MOST_OCTAL:
        raise Refused("an entry with two sizes")


def _as_told(name: str) -> str:
    """Give a name as a guest's answers have it, without what is no UTF-8."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
