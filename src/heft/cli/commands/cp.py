"""`heft cp`: files between a machine and the host (docs.docker.com, `docker container cp`)."""

from __future__ import annotations

import base64
import os
import stat
import sys
import time

from heft.cli import json_text
from heft.cli.client import path as place_of
from heft.cli.command import Command
from heft.cli.connection import file_blocks
from heft.cli.failures import BrokenOff, Failure, Refusal, Unreachable
from heft.cli.flags import switch
from heft.cli.frames import write_all
from heft.cli.human import size as human
from heft.cli.terminal import STDIN, STDOUT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from heft.cli.command import Invocation

ENDED_SECONDS = 1.0
"""How long a machine's end may take to be recorded."""
NOT_FOUND = 404
_HEADER = "x-docker-container-path-stat"
_GO_DIRECTORY, _GO_LINK = 1 << 31, 1 << 27


def split(argument: str) -> tuple[str, str]:
    """Give machine and path of an argument; no machine for a path of the host."""
    machine, colon, path = argument.partition(":")
    if not colon or argument.startswith((".", "/")):
        return "", argument
    return machine, path


def run(call: Invocation) -> int:
    """Copy."""
    (source, source_path), (target, target_path) = map(split, call.arguments)
    if source and target:
        raise Failure("copying between containers is not supported")
    if source:
        try:
            return _out(call, source, source_path, target_path)
        except (BrokenOff, Unreachable) as lost:
            raise _cut(call, source, lost) from lost
    if target:
        return _in(call, source_path, target, target_path)
    raise Failure("must specify at least one container source")


def _cut(call: Invocation, machine: str, lost: Failure) -> Failure:
    """Say why a copy was cut: a guest's line breaks before its machine is known to have ended."""
    deadline = time.monotonic() + ENDED_SECONDS
    while time.monotonic() < deadline:
        try:
            state = call.client.get(place_of("containers", machine, "json"))["State"]
        except Failure:
            return lost
        if not state["Running"]:
            why = f": {state['Error']}" if state["Error"] else ""
            return Failure(f"container {machine} ended while it was copied from{why}")
        time.sleep(0.05)
    return lost


def _asserts_directory(path: str) -> bool:
    return path.endswith(("/", "/.")) or path == "."


def _tell(call: Invocation, size: int, where: str) -> None:
    if not call.flags.on("quiet"):
        sys.stderr.write(f"Successfully copied {human(size)} to {where}\n")


# Out of a machine


def _look(call: Invocation, machine: str, path: str) -> dict[str, Any] | None:
    """Say what is at a path of a machine; None if there is nothing, or no such machine.

    A refusal has no words here, as the answer to HEAD has no body.
    """
    place = place_of("containers", machine, "archive")
    try:
        answer = call.client.open("HEAD", place, {"path": path})
    except Refusal as refusal:
        if refusal.status != NOT_FOUND:
            call.client.open("GET", place, {"path": path})  # is refused with words
        return None
    call.client.finish(answer)
    found: dict[str, Any] = json_text.loads(base64.b64decode(answer.headers[_HEADER]))
    return found


def _look_through(call: Invocation, machine: str, path: str) -> tuple[dict[str, Any] | None, str]:
    """Do so, and follow a link at the path's end; give where that leads too."""
    found = _look(call, machine, path)
    if found is not None and found["mode"] & _GO_LINK:
        path = str(found["linkTarget"])
        found = _look(call, machine, path)
    return found, path


def _out(call: Invocation, machine: str, path: str, target: str) -> int:
    if call.flags.on("follow-link"):
        _, path = _look_through(call, machine, path)
    place = place_of("containers", machine, "archive")
    answer = call.client.open("GET", place, {"path": path})
    if target == "-":
        for block in answer.blocks():
            write_all(STDOUT, block)
        return 0
    from heft.cli.copying import unpack

    found = json_text.loads(base64.b64decode(answer.headers[_HEADER]))
    is_directory = bool(found["mode"] & _GO_DIRECTORY)
    old = str(found["name"])
    directory, new = landing_place(old, target, is_directory=is_directory)

    def rename(name: str) -> str:
        rest = name.removeprefix(old).lstrip("/")
        return "/".join(part for part in (new, rest) if part) or "."

    blocks = answer.blocks()
    size = unpack(blocks, directory, rename, owners=call.flags.on("archive"))
    for _ in blocks:  # behind the tar's end; the daemon has let go of everything when it is over
        pass
    _tell(call, size, target)
    return 0


def landing_place(old: str, target: str, *, is_directory: bool) -> tuple[str, str]:
    """Give the directory of the host that a copy goes to, and what it is called there.

    `old` is the last part of the path that is copied; empty is no name of its own: what is in a
    directory goes to another. Raises `Failure`.
    """
    exists = os.path.lexists(target)
    if exists and os.path.isdir(target):
        return target, "" if old in (".", "/") else old
    if exists and (is_directory or _asserts_directory(target)):
        raise Failure("cannot copy directory" if is_directory else "not a directory")
    if not exists and _asserts_directory(target) and not is_directory:
        raise Failure("no such directory")
    above, name = os.path.split(target.removesuffix("/.").rstrip("/"))
    if not os.path.isdir(above or "."):
        raise Failure(f'invalid output path: directory "{above}" does not exist')
    return above or ".", name


# Into a machine


def _in(call: Invocation, source: str, machine: str, path: str) -> int:
    place = place_of("containers", machine, "archive")
    options = {"noOverwriteDirNonDir": "true", "copyUIDGID": call.flags.on("archive")}
    if source == "-":
        found, path = _look_through(call, machine, path)
        if found is not None and not found["mode"] & _GO_DIRECTORY:
            raise Failure(f'destination "{machine}:{path}" must be a directory')
        _put(call, place, {"path": path, **options}, file_blocks(STDIN))
        return 0
    from heft.cli.copying import pack

    follow = call.flags.on("follow-link")
    try:
        status = os.stat(source) if follow or source.endswith("/") else os.lstat(source)
    except OSError as error:
        raise Failure(f"{source}: {(error.strerror or '').lower()}") from None
    is_directory = stat.S_ISDIR(status.st_mode)
    if _asserts_directory(source) and not is_directory:
        raise Failure("not a directory")
    directory, name = _machine_place(call, machine, path, source, is_directory=is_directory)
    with pack(source, name, follow=follow or source.endswith("/")) as tar:
        _put(call, place, {"path": directory, **options}, tar)
    _tell(call, tar.size, f"{machine}:{path}")
    return 0


def _put(call: Invocation, place: str, parameters: dict[str, Any], blocks: Any) -> None:
    call.client.open("PUT", place, parameters, stream=blocks).read()


def _machine_place(
    call: Invocation, machine: str, path: str, source: str, *, is_directory: bool
) -> tuple[str, str]:
    """Give the directory of the machine that a copy goes to, and what it is called there."""
    contents = source.endswith("/.") or source in (".", "/")
    own = "." if contents else os.path.basename(os.path.abspath(source))
    found, target = _look_through(call, machine, path)
    if found is None:
        if _asserts_directory(path) and not is_directory:
            raise Failure("no such directory")
    elif found["mode"] & _GO_DIRECTORY:
        return target, own
    elif is_directory:
        raise Failure("cannot copy directory")
    elif _asserts_directory(path):
        raise Failure("not a directory")
    above, name = os.path.split(os.path.normpath("/" + target.lstrip("/")))
    return above, name


CP = Command(
    run,
    takes="MACHINE:SRC_PATH DEST_PATH|- | SRC_PATH|- MACHINE:DEST_PATH",
    flags=(
        switch("archive", "Archive mode (copy all uid/gid information)", "a"),
        switch("follow-link", "Always follow symbol link in SRC_PATH", "L"),
        switch("quiet", "Suppress progress output during copy", "q"),
    ),
    least=2,
    most=2,
)
