"""The formats of compressed streams, told by their first bytes."""

from __future__ import annotations

import enum


class Compression(enum.StrEnum):
    """The formats, by the names of the OCI media types' suffixes where they have one."""

    NONE = ""
    GZIP = "gzip"
    BZIP2 = "bzip2"
    XZ = "xz"
    ZSTD = "zstd"


MAGIC = {
    Compression.GZIP: b"\x1f\x8b",
    Compression.BZIP2: b"BZh",
    Compression.XZ: b"\xfd7zXZ\0",
    Compression.ZSTD: b"\x28\xb5\x2f\xfd",
}
LONGEST_MAGIC = max(map(len, MAGIC.values()))


class Broken(ValueError):
    """The compressed data is damaged, or ends too early."""


def detect(beginning: bytes) -> Compression:
    """Tell the format by the first bytes (`LONGEST_MAGIC` of them, or all there are)."""
    for kind, magic in MAGIC.items():
        if beginning.startswith(magic):
            return kind
    return Compression.NONE
