"""Standard output and error on one connection.

A frame is the stream's number, three zeros, the length as a big-endian 32-bit number, and the data
(docs.docker.com/reference/api/engine, "Attach to a container", "Stream format").
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from heft.model.machine import Stream

RAW = "application/vnd.docker.raw-stream"
MULTIPLEXED = "application/vnd.docker.multiplexed-stream"

_header = struct.Struct(">BxxxL").pack


def frame(stream: Stream, data: bytes) -> bytes:
    """Give the data of one stream as a frame."""
    return _header(stream, len(data)) + data
