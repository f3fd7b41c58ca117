"""A file system that a guest has written, read where it can do no harm.

The process that reads it can read this one open file and write its findings to a pipe. It is
nobody, has no other descriptor, and makes no system call but those that such work takes: what falls
for the guest's bytes has nothing in its hands.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from heft.host import denied_calls, tied
from heft.uppers import entries
from heft.uppers.ext4 import FileSystem

if TYPE_CHECKING:
    from collections.abc import Iterator

    from heft.uppers.entries import Entry

NOBODY = 65534
NEEDED = (
    *("read", "write", "pread64", "lseek", "fstat", "newfstatat", "close", "brk", "mmap", "munmap"),
    *("mremap", "mprotect", "madvise", "futex", "rt_sigreturn", "rt_sigaction", "rt_sigprocmask"),
    *("sigaltstack", "getrandom", "clock_gettime", "restart_syscall", "exit", "exit_group"),
)
"""What Python does where it but computes, reads and writes."""


@contextlib.contextmanager
def reading(file: int, name: bytes) -> Iterator[Iterator[Entry | None]]:
    """Give the entries under a directory of the file system's root, from a process of their own."""
    denied_calls.load()
    outgoing, incoming = os.pipe()
    child = os.fork()
    if not child:
        _read(file, incoming, name)
    os.close(incoming)
    try:
        with open(outgoing, "rb", buffering=1 << 18) as stream:
            yield entries.read(stream)
    finally:
        os.waitpid(child, 0)  # it ends when nobody reads any more


def _read(file: int, out: int, name: bytes) -> None:
    """Be that process."""
    try:
        os.dup2(file, 3)
        os.dup2(out, 4)
        os.closerange(0, 3)
        os.closerange(5, 1 << 16)
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
        tied.end_with_parent()  # forgotten with the old credentials
        denied_calls.allow_only(NEEDED)
        with open(4, "wb", buffering=1 << 18, closefd=False) as stream:
            entries.write(stream, _entries(name))
    finally:
        os._exit(0)


def _entries(name: bytes) -> Iterator[Entry | None]:
    yield from FileSystem(3).entries(name)
