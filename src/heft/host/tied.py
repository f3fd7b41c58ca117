"""Bounds of a child process that works on what somebody else has made."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys

MEMORY = 1 << 30
"""Bytes of address space a child may have, whatever it is fed."""
_PR_SET_PDEATHSIG = 1


def end_with_daemon(number: int = signal.SIGKILL) -> None:
    """Get a signal when the daemon ends: a stream that breaks off must not pass for a whole one.

    One that has ended before this was asked for counts too (`heft.host.processes.own_program`).
    """
    end_with_parent(number)
    daemon = sys._xoptions.get("parent")
    if daemon is not None and int(daemon) != os.getppid():
        signal.raise_signal(number)


def end_with_parent(number: int = signal.SIGKILL) -> None:
    """Get a signal when the parent ends (prctl(2), PR_SET_PDEATHSIG)."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, ctypes.c_ulong(number))


def bound_memory() -> None:
    """Let requests for more than `MEMORY` fail."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
