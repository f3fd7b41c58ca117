"""Bounds of a child process that works on what somebody else has made."""

from __future__ import annotations

import ctypes
import resource
import signal

MEMORY = 1 << 30
"""Bytes of address space a child may have, whatever it is fed."""
_PR_SET_PDEATHSIG = 1


def end_with_parent(number: int = signal.SIGKILL) -> None:
    """Get a signal when the daemon ends: a stream that breaks off must not pass for a whole one."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, ctypes.c_ulong(number))


def bound_memory() -> None:
    """Let requests for more than `MEMORY` fail."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
