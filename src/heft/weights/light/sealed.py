"""A program in memory that nobody can write to any more.

A runtime that could be written to through a machine's `/proc/PID/exe` (CVE-2019-5736) makes such a
copy of itself at every start, and begins again from there: some 2 ms. It leaves that out where it
finds that it is one (crun and runc, `is_self_cloned`: the seals must be these very ones).
"""

from __future__ import annotations

import contextlib
import fcntl
import os

_SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
_MFD_EXEC = 0x10
"""Since Linux 6.3, where a host may let memory files be executed by this wish only."""


class SealedProgram:
    """A copy of the program at a path, for as long as this process runs."""

    def __init__(self, original: str) -> None:
        self._original = original
        self._descriptor = -1
        self._copied: tuple[int, ...] = ()

    def path(self) -> str:
        """Give the path to execute: that of the copy, or the original's where none can be made.

        A program that was replaced on the disk is copied again, under the same path.
        """
        try:
            found = os.stat(self._original)
            version = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)
            if version != self._copied:
                self._copy()
                self._copied = version
        except OSError:
            return self._original
        return f"/proc/{os.getpid()}/fd/{self._descriptor}"

    def _copy(self) -> None:
        with open(self._original, "rb") as file:
            content = file.read()
        made = _memory_file(os.path.basename(self._original))
        try:
            with open(made, "wb", closefd=False) as copy:
                copy.write(content)
            fcntl.fcntl(made, fcntl.F_ADD_SEALS, _SEALS)
            _check_executable(made)
            if self._descriptor < 0:
                self._descriptor, made = made, -1
            else:
                os.dup2(made, self._descriptor, inheritable=False)
        finally:
            if made >= 0:
                os.close(made)

    def close(self) -> None:
        """Let go of the copy; what was started from it goes on."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
        self._copied = ()


def _memory_file(name: str) -> int:
    flags = os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING
    with contextlib.suppress(OSError):
        return os.memfd_create(name, flags | _MFD_EXEC)
    return os.memfd_create(name, flags)


def _check_executable(descriptor: int) -> None:
    """Raise `PermissionError` where this host lets no memory file be executed."""
    if not os.access(f"/proc/self/fd/{descriptor}", os.X_OK):
        raise PermissionError(f"memory file {descriptor} cannot be executed")
