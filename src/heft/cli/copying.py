"""Local files into a tar and out of one: the host's side of `heft cp`."""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading

from heft.cli.connection import Piped
from heft.cli.failures import Failure
from heft.tars.landing import Landing, Refused
from heft.tars.packing import Packer
from heft.tars.reading import Reader

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_BLOCK = 1 << 20
"""Bytes that wait between the two threads (pipe(7); what a user without privileges may have)."""
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


@contextlib.contextmanager
def pack(path: str, shown: str, *, follow: bool) -> Iterator[Piped]:
    """Give a file, or a directory with all in it, as a tar in which it is called `shown`.

    With `follow`, a symbolic link is taken for what it leads to. Raises `Failure`, as its end.
    """
    reading, writing = os.pipe()
    with contextlib.suppress(PermissionError):
        fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, _BLOCK)
    failed: list[OSError] = []

    def work() -> None:
        try:
            _pack(writing, path, shown, follow=follow)
        except BrokenPipeError:
            return  # nobody wants it any more
        except OSError as error:
            failed.append(error)
        finally:
            os.close(writing)

    def check() -> None:
        if failed:
            raise Failure(f"{failed[0].filename or path}: {failed[0].strerror}")

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        yield Piped(reading, check)
    finally:
        os.close(reading)
        thread.join()


def _pack(target: int, path: str, shown: str, *, follow: bool) -> None:
    packer = Packer(target)
    path = os.path.realpath(path) if follow else path
    above, name = os.path.split(path.rstrip("/") or "/")
    if not name or name in (".", ".."):
        packer.tree(os.open(path, _DIRECTORY), shown)
    else:
        directory = os.open(above or ".", _DIRECTORY)
        try:
            packer.add(directory, name, shown)
        finally:
            os.close(directory)
    packer.finish()


def unpack(
    blocks: Iterator[bytes], place: str, rename: Callable[[str], str], *, owners: bool
) -> int:
    """Put a tar's entries into a directory; give the bytes of its files.

    `rename` gives each name in the tar the one that it is to have. Without `owners` everything is
    the user's who does it. What was new is removed if it fails. Raises `Failure`.
    """
    root = os.open(place, _DIRECTORY)
    landing = Landing(_opener(root), owner=_owner(owners), as_root=os.geteuid() == 0)
    reader = Reader(blocks)
    size = 0
    try:
        for entry, moment in reader.entries():
            entry.name = rename(entry.name)
            if entry.islnk():
                entry.linkname = rename(entry.linkname)
            landing.add(entry, entry.extents, reader.pour, entry.attributes(), moment)
            size += entry.size
        landing.finish()
    except BaseException as error:
        landing.undo()
        if isinstance(error, OSError):
            raise Failure(f"{error.filename}: {error.strerror}") from None
        if isinstance(error, Refused):
            raise Failure(str(error)) from None
        raise
    finally:
        os.close(root)
    return size


def _owner(owners: bool) -> tuple[int, int] | None:
    return None if owners else (os.geteuid(), os.getegid())


def _opener(root: int) -> Callable[[str], int]:
    """Open directories below one, and follow no link on the way: the machine may have made it."""

    def open_directory(path: str) -> int:
        found = os.dup(root)
        for name in path.split("/"):
            above = found
            try:
                found = os.open(name, _DIRECTORY | os.O_NOFOLLOW, dir_fd=above)
            finally:
                with contextlib.suppress(OSError):
                    os.close(above)
        return found

    return open_directory
