"""The host's clock: told when it is set, and when the host comes back from suspend."""

from __future__ import annotations

import asyncio
import ctypes
import errno
import os
import time

from heft.host.descriptors import readable
from heft.host.syscalls import checked, libc

_ABSOLUTE_AND_CANCELLED = 1 | 2
"""TFD_TIMER_ABSTIME and TFD_TIMER_CANCEL_ON_SET of timerfd_settime(2)."""
_FAR = (1 << 62) // 10**9
"""Seconds since 1970: this timer never ends."""


class _Setting(ctypes.Structure):
    """struct itimerspec: interval and first end, both seconds and nanoseconds."""

    _fields_ = (
        ("interval", ctypes.c_long * 2),
        ("first", ctypes.c_long * 2),
    )


class Changes:
    """Watches the clock with a timer that the kernel cancels when it jumps (timerfd_create(2))."""

    def __init__(self) -> None:
        flags = os.O_NONBLOCK | os.O_CLOEXEC
        self._timer = checked(libc.timerfd_create(time.CLOCK_REALTIME, flags))
        self._arm()

    def _arm(self) -> None:
        setting = _Setting((0, 0), (_FAR, 0))
        flags = _ABSOLUTE_AND_CANCELLED
        checked(libc.timerfd_settime(self._timer, flags, ctypes.byref(setting), None))

    async def wait(self, seconds: float) -> bool:
        """Return when the clock was set, or after some time; say whether it was set."""
        try:
            async with asyncio.timeout(seconds):
                await readable(self._timer)
        except TimeoutError:
            return False
        try:
            os.read(self._timer, 8)
        except OSError as error:
            if error.errno not in (errno.ECANCELED, errno.EAGAIN):
                raise
        self._arm()
        return True

    def close(self) -> None:
        """Let go of the timer."""
        os.close(self._timer)
