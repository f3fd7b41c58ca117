"""A line as a receiver of syslog reads it (RFC 3164, RFC 5424), as Docker writes it. Pure.

moby, daemon/logger/syslog/syslog.go, and RackSec/srslog, formatter.go and framer.go. But for this:
a line has the time at which the machine wrote it, not that at which it was sent.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from heft.engine.syslog.target import Format, Transport
from heft.model.machine import Stream

if TYPE_CHECKING:
    from heft.engine.syslog.target import Target
    from heft.model.request import LogLine

_ERROR, _INFORMATION = 3, 6
"""Severities (RFC 5424, 6.2.1) of what was written to standard error, and to standard output."""


@dataclass(frozen=True, slots=True)
class Sender:
    """Who a line comes from."""

    hostname: str
    tag: str
    pid: int
    """That of the daemon, as with Docker."""


def message(line: LogLine, target: Target, sender: Sender) -> bytes:
    """Give what is sent of a line; it ends with a newline, which ends it where a stream is sent."""
    severity = _ERROR if line.stream is Stream.STDERR else _INFORMATION
    head = _head(line.time, target.facility << 3 | severity, target.format, sender)
    text = head.encode(errors="surrogateescape") + line.data.rstrip(b"\n") + b"\n"
    if target.transport is Transport.TLS and target.format in _OF_5424:
        return b"%d %s" % (len(text), text)  # RFC 5425, 4.3
    return text


_OF_5424 = frozenset({Format.RFC5424, Format.RFC5424_MICRO})


def _head(moment: int, priority: int, kind: Format, sender: Sender) -> str:
    tag, pid = sender.tag, sender.pid
    if kind in _OF_5424:
        stamp = _rfc3339(moment, micro=kind is Format.RFC5424_MICRO)
        return f"<{priority}>1 {stamp} {sender.hostname} {tag} {pid} {tag} - "
    host = f"{sender.hostname} " if kind is Format.RFC3164 else ""
    return f"<{priority}>{_stamp(moment)} {host}{tag}[{pid}]: "


def _stamp(moment: int) -> str:
    """Give the host's time as `Jan _2 15:04:05`."""
    parts = time.localtime(moment // 10**9)
    return f"{_MONTHS[parts.tm_mon - 1]} {parts.tm_mday:2} {time.strftime('%H:%M:%S', parts)}"


_MONTHS = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split()
"""Whatever the daemon's language is."""


def _rfc3339(moment: int, *, micro: bool) -> str:
    parts = time.localtime(moment // 10**9)
    part = f".{moment % 10**9 // 1000:06}" if micro else ""
    minutes = parts.tm_gmtoff // 60
    zone = f"{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02}:{abs(minutes) % 60:02}"
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', parts)}{part}{zone if minutes else 'Z'}"
