"""Processes of machines whose kernel is not the host's, as that kernel tells of them."""

from __future__ import annotations

import msgspec


class GuestProcess(msgspec.Struct, frozen=True, kw_only=True):
    """One process; numbers are those that the machine sees."""

    pid: int
    ppid: int
    uid: int
    user: str
    """Empty where the machine has no name for it."""
    state: str
    tty: str
    """As in /dev, without that; empty: none."""
    started: int
    """Nanoseconds since 1970."""
    cpu: int
    """Nanoseconds of processor time."""
    vsize: int
    rss: int
    """Bytes, as `vsize`."""
    name: str
    command: str
    """Its arguments with blanks between them; empty: a thread of the kernel, or a zombie."""
