"""What a child process that takes in bytes tells the daemon at its end: one line of JSON."""

from __future__ import annotations

import errno
import json
import os
from typing import TYPE_CHECKING, Any

from heft.errors import HeftError, HostError, InvalidArgument, NoSpace, plain
from heft.host import tied
from heft.images.compression import Broken
from heft.images.entries import Malformed
from heft.images.forward import Truncated

if TYPE_CHECKING:
    from collections.abc import Callable

NICE = 5
"""The daemon, which others wait for, goes first."""

KINDS: dict[str, type[HeftError]] = {
    "invalid": InvalidArgument,
    "space": NoSpace,
    "host": HostError,
}
_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
_HOST = (errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM)


def deliver(work: Callable[[], dict[str, Any]]) -> int:
    """Run the child's work, write the verdict to standard output, give the exit status."""
    tied.end_with_daemon()
    tied.bound_memory()
    os.nice(NICE)
    os.umask(0)
    try:
        verdict: dict[str, Any] = {"result": work()}
    except Exception as error:
        # Whatever it is, the daemon must be told.
        kind, message = explain(error)
        verdict = {"error": kind, "message": plain(message)}
    text = json.dumps(verdict).encode("ascii")
    while text:
        text = text[os.write(1, text) :]
    return 0 if "result" in verdict else 1


def explain(error: Exception) -> tuple[str, str]:
    """Give the kind of an error, a key of `KINDS`, and what it says."""
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        text = f"{where}{(error.strerror or str(error)).lower()}"
        if error.errno in _SPACE:
            return "space", text
        return ("host" if error.errno in _HOST else "invalid"), text
    if isinstance(error, MemoryError):
        return "invalid", "it needs too much memory"
    if isinstance(error, (Malformed, Truncated, Broken, ValueError, OverflowError)):
        return "invalid", str(error)
    if isinstance(error, HeftError):
        return "host", str(error)
    return "host", f"{type(error).__name__}: {error}"


def read(text: bytes, what: str) -> dict[str, Any]:
    """Read a verdict: give the result, or raise what `what` failed with."""
    try:
        verdict = json.loads(text)
    except ValueError as error:
        raise HostError(f"{what}: the process that did it was killed") from error
    if "error" in verdict:
        raise KINDS[verdict["error"]](f"{what}: {verdict['message']}")
    result: dict[str, Any] = verdict["result"]
    return result
