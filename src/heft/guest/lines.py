"""Output as lines of a log, in the format that the container runtime interface has for them. Pure.

`2016-10-06T00:17:09.669794202Z stdout F text`; F: a full line, P: a part of one, which the next
entry of its stream goes on with (kubernetes, design proposal "CRI: log management").
"""

from __future__ import annotations

import time

from heft.model.machine import Stream

_NAMES = {Stream.STDOUT: b"stdout", Stream.STDERR: b"stderr"}
_SECOND = 10**9


def logged(stream: Stream, data: bytes, now: int) -> bytes:
    """Give the lines for what came at once, at `now` (nanoseconds since 1970)."""
    start = moment(now) + b" " + _NAMES[stream]
    full, newline, rest = data.rpartition(b"\n")
    text = b""
    if newline:
        full_start = start + b" F "
        text = full_start + full.replace(b"\n", b"\n" + full_start) + b"\n"
    return text + start + b" P " + rest + b"\n" if rest else text


def moment(now: int) -> bytes:
    """Give a time as RFC 3339 has it, in UTC."""
    seconds, nanoseconds = divmod(now, _SECOND)
    date = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    return f"{date}.{nanoseconds:09d}Z".encode("ascii")
