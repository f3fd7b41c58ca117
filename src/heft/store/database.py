"""The store: what is acknowledged, in one SQLite file.

Each kind of thing has a table of documents (msgspec's JSON) under an id and an optional unique
name. A write is one transaction and is done when the call returns. WAL with `synchronous=NORMAL`
(sqlite.org/wal.html) keeps every committed transaction when any process is killed; a loss of power
may cost the last moments, never the file.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
from typing import TYPE_CHECKING, Generic, TypeVar

import msgspec

from heft.errors import Conflict, HostError, NoSpace

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

T = TypeVar("T", bound=msgspec.Struct)

SCHEMA_VERSION = 1
RESERVED = 8 << 20
"""Bytes of the log: twice what SQLite lets it have before it folds it into the file."""


class Database:
    """One connection to the store, used by the daemon's one thread."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            self.execute("PRAGMA journal_mode=WAL")
            self.execute("PRAGMA synchronous=NORMAL")
            self._check_version()
            self._reserve()
        except sqlite3.Error as error:
            raise translate(error, path) from error

    def _check_version(self) -> None:
        (found,) = self.execute("PRAGMA user_version").fetchone()
        if found > SCHEMA_VERSION:
            raise HostError(
                f"the store {self.path} has format {found}, newer than {SCHEMA_VERSION}",
                hint="install the Heft that wrote it, or a newer one",
            )
        if found != SCHEMA_VERSION:
            self.execute(f"PRAGMA user_version={SCHEMA_VERSION}")

    def _reserve(self) -> None:
        """Take the log's room now, so that ends and removals can be recorded on a full disk.

        SQLite writes over its log from the beginning once all of it is in the file, and does not
        mind what is behind its last frame (sqlite.org/walformat.html).
        """
        with contextlib.suppress(OSError):  # so little is left that the next write says so
            wal = os.open(f"{self.path}-wal", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                os.posix_fallocate(wal, 0, RESERVED)
            finally:
                os.close(wal)

    def execute(self, statement: str, values: tuple[object, ...] = ()) -> sqlite3.Cursor:
        """Run one statement, as one transaction.

        Raises `Conflict` where a unique value is there already, `NoSpace` where the file system
        takes no writes, `HostError` for all else.
        """
        try:
            return self._connection.execute(statement, values)
        except sqlite3.Error as error:
            raise translate(error, self.path) from error

    def close(self) -> None:
        """Fold the log into the file and let go of it."""
        self._connection.close()


class Table(Generic[T]):
    """Documents of one type, under their ids."""

    def __init__(self, database: Database, name: str, kind: type[T]) -> None:
        self._database = database
        self._name = name
        self._decode = msgspec.json.Decoder(kind).decode
        database.execute(
            f"CREATE TABLE IF NOT EXISTS {name}"
            " (id TEXT PRIMARY KEY, name TEXT UNIQUE, document BLOB NOT NULL) WITHOUT ROWID"
        )

    def put(self, key: str, document: T, *, name: str | None = None) -> None:
        """Write the document under `key`, in place of what is there.

        `name` must be no other document's: `Conflict` otherwise.
        """
        self._database.execute(
            f"INSERT INTO {self._name} (id, name, document) VALUES (?, ?, ?)"  # noqa: S608 - the name is ours
            " ON CONFLICT (id) DO UPDATE SET name = excluded.name, document = excluded.document",
            (key, name, msgspec.json.encode(document)),
        )

    def delete(self, key: str) -> None:
        """Remove the document; no harm if there is none."""
        self._database.execute(f"DELETE FROM {self._name} WHERE id = ?", (key,))  # noqa: S608 - the name is ours

    def get(self, key: str) -> T | None:
        """Give the document under `key`, or None."""
        statement = f"SELECT document FROM {self._name} WHERE id = ?"  # noqa: S608 - the name is ours
        row = self._database.execute(statement, (key,)).fetchone()
        return None if row is None else self._decode(row[0])

    def __iter__(self) -> Iterator[T]:
        rows = self._database.execute(f"SELECT document FROM {self._name}").fetchall()  # noqa: S608 - the name is ours
        return (self._decode(document) for (document,) in rows)


def translate(error: sqlite3.Error, path: Path) -> Exception:
    """Say in Heft's words what SQLite says (result codes: sqlite.org/rescode.html)."""
    code = getattr(error, "sqlite_errorcode", None)
    if isinstance(error, sqlite3.IntegrityError):
        return Conflict(f"the store has this already: {error}")
    if code is not None and code & 0xFF == sqlite3.SQLITE_FULL:
        return NoSpace(
            f"cannot write the store {path}: no space left on device",
            hint="free space on this disk",
        )
    if (code is not None and code & 0xFF == sqlite3.SQLITE_READONLY) or _is_read_only(path):
        return NoSpace(
            f"cannot write the store {path}: read-only file system",
            hint="the kernel's log says why, if you did not",
        )
    return HostError(f"cannot use the store {path}: {error}")


def _is_read_only(path: Path) -> bool:
    """Say whether the file system takes no writes any more, which SQLite calls an I/O error."""
    try:
        os.utime(path)
    except OSError as error:
        return error.errno == errno.EROFS
    return False
