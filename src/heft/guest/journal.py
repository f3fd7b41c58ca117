"""A workload's output in the host's journal, beside its log.

The protocol is journald's own: a datagram an entry, of fields `NAME=value`, or `NAME`, a newline,
the length in 8 bytes, the value and a newline where there may be newlines in it
(systemd.io/JOURNAL_NATIVE_PROTOCOL). Fields are those that conmon writes. Entries get there at
least once: those on their way when the daemon is killed may come a second time.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from typing import TYPE_CHECKING

from heft.host.descriptors import writable
from heft.model.machine import Stream

if TYPE_CHECKING:
    from collections.abc import Iterator

log = logging.getLogger(__name__)

SOCKET = "/run/systemd/journal/socket"
LONGEST_ENTRY = 1 << 14
"""Bytes of a line's part that are one entry, as Docker splits them."""
WAIT_SECONDS = 5.0
"""How long the journal may take nothing before output passes it by."""
_PRIORITIES = {Stream.STDOUT: b"6", Stream.STDERR: b"3"}
"""LOG_INFO and LOG_ERR of syslog(3)."""


def entries(stream: Stream, data: bytes, fields: bytes) -> Iterator[bytes]:
    """Give the entries for what came at once; `fields` are those that all have."""
    start = b"PRIORITY=" + _PRIORITIES[stream] + b"\n" + fields
    lines = data.split(b"\n")
    last = lines.pop()
    for line in lines:
        yield from _parts(line, start, whole=True)
    if last:
        yield from _parts(last, start, whole=False)


def _parts(line: bytes, start: bytes, *, whole: bool) -> Iterator[bytes]:
    for at in range(0, max(len(line), 1), LONGEST_ENTRY):
        partial = not whole or at + LONGEST_ENTRY < len(line)
        mark = b"CONTAINER_PARTIAL_MESSAGE=true\n" if partial else b""
        yield start + mark + b"MESSAGE=" + line[at : at + LONGEST_ENTRY] + b"\n"


def common_fields(machine_id: str, name: str, tag: str) -> bytes:
    """Give the fields that all entries of a machine have."""
    values = {
        "CONTAINER_ID": machine_id[:12],
        "CONTAINER_ID_FULL": machine_id,
        "CONTAINER_NAME": name,
        "CONTAINER_TAG": tag or machine_id[:12],
        "SYSLOG_IDENTIFIER": tag or machine_id[:12],
    }
    lines = (f"{key}={value.replace(chr(10), ' ')}\n" for key, value in values.items())
    return "".join(lines).encode("utf-8", "replace")


class Journal:
    """A way to the journal for one machine's output."""

    def __init__(self, fields: bytes, path: str = SOCKET) -> None:
        self._fields = fields
        self._path = path
        self._socket: socket.socket | None = None
        self._complained = False

    async def write(self, stream: Stream, data: bytes) -> None:
        """Send what came at once; what the journal does not take is left out."""
        try:
            for entry in entries(stream, data, self._fields):
                async with asyncio.timeout(WAIT_SECONDS):
                    await self._send(entry)
        except (OSError, TimeoutError) as error:
            self.close()
            if not self._complained:
                log.warning("output is not in the journal: %s", error or "it takes nothing")
            self._complained = True

    async def _send(self, entry: bytes) -> None:
        if self._socket is None:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
            self._socket.connect(self._path)
        while True:
            with contextlib.suppress(BlockingIOError):
                self._socket.send(entry)
                return
            await writable(self._socket.fileno())

    def close(self) -> None:
        """Let go; harmless when repeated."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
