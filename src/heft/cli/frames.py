"""Standard output and error on one connection, told apart.

A frame is the stream's number, three zeros, the length as a big-endian 32-bit number, and the data
(docs.docker.com/reference/api/engine, "Attach to a container", "Stream format").
"""

from __future__ import annotations

import os

from heft.cli.failures import Unreachable

STDOUT, STDERR = 1, 2
HEADER = 8
MULTIPLEXED = "application/vnd.docker.multiplexed-stream"


class Demultiplexer:
    """Takes pieces of the connection's bytes; gives the data of each stream."""

    def __init__(self) -> None:
        self._held = bytearray()
        self._stream = 0
        self._left = 0

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        """Give what a piece holds, as streams' numbers and data. Raises `Unreachable`."""
        self._held += data
        pieces: list[tuple[int, bytes]] = []
        at = 0
        while at < len(self._held):
            if not self._left:
                if len(self._held) - at < HEADER:
                    break
                self._stream = self._held[at]
                self._left = int.from_bytes(self._held[at + 4 : at + HEADER], "big")
                if self._stream > 3 or any(self._held[at + 1 : at + 4]):
                    raise Unreachable(f"unrecognized stream in the answer: {self._stream}")
                at += HEADER
                continue
            piece = bytes(self._held[at : at + self._left])
            at += len(piece)
            self._left -= len(piece)
            pieces.append((self._stream, piece))
        del self._held[:at]
        return pieces


class Output:
    """This process's standard output and error, as the place where a stream goes."""

    def __init__(self, *, framed: bool) -> None:
        self._frames = Demultiplexer() if framed else None

    def write(self, data: bytes) -> None:
        """Write what came."""
        if self._frames is None:
            return write_all(STDOUT, data)
        for stream, piece in self._frames.feed(data):
            write_all(STDERR if stream >= STDERR else STDOUT, piece)
        return None


def write_all(descriptor: int, data: bytes) -> None:
    """Write all of it; a descriptor that others made non-blocking is waited for."""
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(descriptor, view) :]
        except BlockingIOError:
            import select

            select.select((), (descriptor,), ())
