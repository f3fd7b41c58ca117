"""What is at a path of a machine, and where a link there leads."""

from __future__ import annotations

import os
import posixpath
import stat

from heft.host import paths
from heft.model.files import FileStatus, called

_MOST_LINKS = 40
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY


class Place:
    """A path as it was asked for, found in the tree of a descriptor; close it.

    A path that ends with `/` or `/.` is a directory, and a link there is followed; else it is the
    thing itself, `name` in `directory`. Raises `OSError`: ENOENT, ENOTDIR.
    """

    def __init__(self, root: int, path: str) -> None:
        self._root = root
        self.clean = posixpath.normpath("/" + path.lstrip("/"))
        dotted = path.rstrip("/").endswith("/.")
        self.shown = called(path)
        """What it is called in a tar of it."""
        self.is_directory = dotted or path.endswith("/")
        if self.is_directory:
            self.directory, self.name = paths.open_in_root(root, self.clean, _DIRECTORY), ""
            self.status = os.fstat(self.directory)
            return
        above, self.name = posixpath.split(self.clean)
        self.directory = paths.open_in_root(root, above, _DIRECTORY)
        try:
            self.status = os.stat(self.name, dir_fd=self.directory, follow_symlinks=False)
        except OSError as error:
            os.close(self.directory)
            error.filename = path
            raise

    def tell(self) -> FileStatus:
        """Say what is there."""
        is_link = stat.S_ISLNK(self.status.st_mode)
        return FileStatus(
            name=_text(self.shown),
            mode=self.status.st_mode,
            size=self.status.st_size,
            modified=self.status.st_mtime_ns,
            link_target=_text(resolve(self._root, self.clean)) if is_link else "",
        )

    def close(self) -> None:
        """Let go of the directory."""
        os.close(self.directory)


def look(root: int, path: str) -> FileStatus:
    """Say what is at a path. Raises `OSError`."""
    place = Place(root, path)
    try:
        return place.tell()
    finally:
        place.close()


def _text(name: str) -> str:
    """Give a name as JSON can have it."""
    return os.fsencode(name).decode("utf-8", "replace")


def resolve(root: int, path: str) -> str:
    """Give the path that a path leads to in the tree, as far as there is something.

    It is only told, and never used: by then the links may be others.
    """
    waiting = path.split("/")[::-1]
    done: list[str] = []
    links = 0
    while waiting:
        name = waiting.pop()
        if name in ("", "."):
            continue
        if name == "..":
            done = done[:-1]
            continue
        target = _link(root, "/".join(done), name)
        links += target is not None
        if target is None or links > _MOST_LINKS:
            done.append(name)
            continue
        if target.startswith("/"):
            done = []
        waiting.extend(target.split("/")[::-1])
    return "/" + "/".join(done)


def _link(root: int, directory: str, name: str) -> str | None:
    """Read a symbolic link; None for anything else, and nothing."""
    try:
        opened = paths.open_in_root(root, directory, os.O_PATH | os.O_DIRECTORY)
        try:
            return os.readlink(name, dir_fd=opened)
        finally:
            os.close(opened)
    except OSError:
        return None
