"""A tar that a guest gives, looked at on its way to a client.

Docker's client unpacks it as the user who runs it, and follows links that it has just made: a guest
could write anywhere on the host. Nothing passes here but what the agent makes (heft.tars.headers),
of the names that were asked for, and nothing through a link. Whatever is not whole is not passed on
far enough to be used.
"""

from __future__ import annotations

import posixpath

from heft.errors import HostError
from heft.tars import reading
from heft.tars.headers import BLOCK
from heft.tars.landing import Refused

MOST_LINKS = 64 << 20
"""Bytes of the names of symbolic links that are remembered."""
_MAGIC = b"ustar\00000"
_STAR = b"tar\0"
_KINDS = b"0123456"
_PAX = b"x"
_KNOWN = frozenset({"path", "linkpath", "uid", "gid", "size", "mtime"})
_SPARSE = frozenset(f"GNU.sparse.{each}" for each in ("major", "minor", "name", "realsize"))
_ATTRIBUTE = "SCHILY.xattr."


class Outgoing:
    """Is fed the tar of what is called `name`, block by block, before each is passed on."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._part = b""
        self._wanted = BLOCK
        self._records: dict[str, bytes] = {}
        self._in_records = False
        self._record_size = 0
        self._left = 0
        """Bytes of data, and what fills them up, that come next."""
        self._over = False
        self._links: set[str] = set()
        self._bytes = 0

    def is_data(self, block: bytes) -> bool:
        """Say whether all of a block is data, which there is nothing to be seen in."""
        return self._over or self._left >= len(block)

    def feed(self, block: bytes) -> None:
        """Look at what comes next. Raises `HostError`."""
        at = 0
        try:
            while at < len(block) and not self._over:
                size = min(self._left or self._wanted - len(self._part), len(block) - at)
                if self._left:
                    self._left -= size
                else:
                    self._part += block[at : at + size]
                    if len(self._part) == self._wanted:
                        part, self._part, self._wanted = self._part, b"", BLOCK
                        self._take(part)
                at += size
        except Refused as error:
            raise HostError(f"the guest gave a tar that is none: {error}") from error

    def _take(self, part: bytes) -> None:
        if self._in_records:
            self._in_records = False
            self._records = reading.records(part[: self._record_size])
            _check_records(self._records)
        elif not part.strip(b"\0"):
            self._over = True
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
        entry = reading.Entry(head, records)
        entry.name = _decoded(records.get("GNU.sparse.name")) or entry.name
        if "size" not in records and kind != b"0" and size:
            raise Refused(f"{entry.name[:100]!r} has content")
        self._check(entry)
        self._left = entry.size + -entry.size % BLOCK if kind == b"0" else 0

    def _check(self, entry: reading.Entry) -> None:
        path = self._inside(entry.name)
        if entry.islnk():
            self._inside(entry.linkname)
        if entry.issym():
            self._links.add(path)
            self._bytes += len(path)
            if self._bytes > MOST_LINKS:
                raise Refused("too many links")

    def _inside(self, name: str) -> str:
        """Give a path that is part of what was asked for, and leads through no link."""
        path = posixpath.normpath(name.lstrip("/"))
        shown = repr(name[:100])
        wanted = self._name.strip("/")
        if "\0" in name or ".." in name.split("/"):
            raise Refused(f"{shown} leads out of it")
        if wanted not in ("", ".") and not f"{_as_told(path)}/".startswith(f"{wanted}/"):
            raise Refused(f"{shown} was not asked for")
        above = path
        while above and self._links:
            if above in self._links:
                raise Refused(f"{shown} leads through a link")
            above = above.rpartition("/")[0]
        return path


def _check_records(records: dict[str, bytes]) -> None:
    for key in records:
        if key not in _KNOWN and key not in _SPARSE and not key.startswith(_ATTRIBUTE):
            raise Refused(f"an unknown extended header, {key[:100]!r}")


def _as_told(name: str) -> str:
    """Give a name as a guest's answers have it, without what is no UTF-8."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _decoded(name: bytes | None) -> str:
    return "" if name is None else name.decode("utf-8", "surrogateescape")
