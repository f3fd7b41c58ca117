"""The process that works on a machine's files: it packs, unpacks, looks, compares.

    python -m MODULE PLAN [< TAR] [> TAR]

PLAN is a `heft.files.plan.Plan` as JSON. What is given goes to standard output: for `status` and
`pack` first a line of JSON, the `FileStatus`. How it ended goes to standard error, one line of
JSON: `{}` or what `verdict` writes of an error. SIGTERM takes an unpacking back.
"""

from __future__ import annotations

import json
import os
import posixpath
import resource
import signal
import stat
import sys
from typing import TYPE_CHECKING, NoReturn

import msgspec

from heft.files import place
from heft.files.plan import Plan, Task
from heft.files.upper import Upper
from heft.host import paths
from heft.images import verdict
from heft.model.files import FileStatus
from heft.tars.packing import Packer

if TYPE_CHECKING:
    from collections.abc import Callable

    LookUp = Callable[[int, str], tuple[int, int]]
    """Gives user and group of `user[:group]` in the tree of a descriptor."""

_OUT = 1
_MOST_LINKS = 40
_MISSING = "missing"
_FORBIDDEN = "forbidden"


class Stopped(Exception):
    """The daemon has no more use for the work, or is gone."""


def main(look_up: LookUp) -> int:
    """Run the process; the plan is the first argument."""
    signal.signal(signal.SIGTERM, _stop)
    verdict.end_with_parent(signal.SIGTERM)
    resource.setrlimit(resource.RLIMIT_AS, (verdict.MEMORY, verdict.MEMORY))
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    os.umask(0)
    ending: dict[str, str] = {}
    try:
        _work(msgspec.json.decode(sys.argv[1], type=Plan), look_up)
    except BrokenPipeError:
        return 1  # nobody reads any more
    except Exception as error:
        kind, message = _explain(error)
        ending = {"error": kind, "message": message}
    os.write(2, json.dumps(ending).encode("ascii"))
    return 1 if ending else 0


def _stop(*_: object) -> NoReturn:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise Stopped("it was stopped")


def _explain(error: Exception) -> tuple[str, str]:
    if isinstance(error, FileNotFoundError):
        return _MISSING, str(error.filename or "")
    if isinstance(error, PermissionError) and error.errno is None:
        return _FORBIDDEN, str(error)
    return verdict.explain(error)


def _work(plan: Plan, look_up: LookUp) -> None:
    if plan.task in (Task.CHANGES, Task.LAYER):
        upper = os.path.join(plan.tree.upper, "diff")
        diff = os.open(upper, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        changed = Upper(diff, place.open_lower(plan.tree), frozenset(plan.skip))
        if plan.task is Task.LAYER:
            changed.pack(Packer(_OUT))
        else:
            _write_changes(changed)
        return
    root = place.open_tree(plan.tree)
    if plan.task is Task.ROOT:
        packer = Packer(_OUT)
        packer.tree(os.open(".", os.O_RDONLY | os.O_DIRECTORY, dir_fd=root), ".")
        packer.finish()
    elif plan.task is Task.UNPACK:
        from heft.files.unpacking import unpack

        unpack(root, plan, look_up)
    else:
        _read(root, plan.path, pack=plan.task is Task.PACK)


def _write_changes(changed: Upper) -> None:
    encode = msgspec.json.Encoder().encode
    lines = bytearray()
    for change in changed.changes():
        path = change.path.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
        lines += encode([path, change.kind]) + b"\n"
    left = memoryview(lines)
    while left:
        left = left[os.write(_OUT, left) :]


# One path


def _read(root: int, path: str, *, pack: bool) -> None:
    """Say what is at a path, and give it as a tar whose names begin with the path's last part."""
    clean = posixpath.normpath("/" + path.lstrip("/"))
    ends = path.rstrip("/").endswith("/.") or path.endswith("/") or path == "."
    shown = "." if path.rstrip("/").endswith("/.") else posixpath.basename(clean) or "/"
    if ends or clean == "/":
        opened = paths.open_in_root(root, clean, os.O_RDONLY | os.O_DIRECTORY)
        _tell(root, clean, shown, os.fstat(opened))
        if pack:
            packer = Packer(_OUT)
            packer.tree(opened, shown)
            packer.finish()
        return
    above, name = posixpath.split(clean)
    directory = paths.open_in_root(root, above, os.O_RDONLY | os.O_DIRECTORY)
    try:
        status = os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError as error:
        error.filename = path
        raise
    _tell(root, clean, shown, status)
    if pack:
        packer = Packer(_OUT)
        packer.add(directory, name, shown)
        packer.finish()


def _tell(root: int, path: str, name: str, status: os.stat_result) -> None:
    told = FileStatus(
        name=_text(name),
        mode=status.st_mode,
        size=status.st_size,
        modified=status.st_mtime_ns,
        link_target=_text(resolve(root, path)) if stat.S_ISLNK(status.st_mode) else "",
    )
    os.write(_OUT, msgspec.json.encode(told) + b"\n")


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
